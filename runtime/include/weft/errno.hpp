// errno and pthread_self() that are right wherever a fiber goes on.
//
// Both are calls of functions that glibc declares const: the same result at every call. For a thread that is so. A fiber that
// comes back from a wait on another thread, in the middle of a function that a compiler has optimised, is given what the
// first call returned: the errno, or the id, of the thread that it has left.
//
// This header is for code of your own that mentions errno, or asks who its thread is, in a function that also waits. It makes
// both macros, for the rest of the translation unit. Include it before every other header, since inline functions of the
// standard library use them as well (std::stol, std::this_thread::get_id); or give it to the compiler for each file:
//
//     target_compile_options(server PRIVATE "SHELL:-include weft/errno.hpp")
//
// Two things it can't do. A reference or address (`int& e = errno`) stays with the thread where it was taken. And within one
// expression the order is the compiler's: in `errno + read_more()`, errno may be found before the wait and read after it.
// weft's own calls don't need it: their errors are values, and errno means nothing after them. docs/thread-local.md has more.
#pragma once

#include <errno.h>
#include <pthread.h>

namespace weft::inline v0 {

// Redeclaring the functions without the attribute doesn't take it away (g++ 12, clang 14). To leave it out, or to declare
// them by another name, works until link-time optimisation meets another file that has it. What holds at every level is a
// call of a function that the compiler has lost sight of, for which it can assume nothing.

// errno_location returns the address of the calling thread's errno. Not to be kept across a wait. Thread-safe.
inline int* errno_location() noexcept {
  int* (*location)() noexcept = ::__errno_location;
  asm volatile("" : "+r"(location));
  return location();
}

// current_thread returns the calling thread's id, which is another one after a wait. Thread-safe.
inline ::pthread_t current_thread() noexcept {
  ::pthread_t (*self)() noexcept = ::pthread_self;
  asm volatile("" : "+r"(self));
  return self();
}

}  // namespace weft::inline v0

#undef errno
#define errno (*::weft::errno_location())
#define pthread_self() weft::current_thread()  // ::pthread_self() becomes ::weft::current_thread()
