// code_module: which loaded file an address of code belongs to. The only place for the dynamic loader.
#pragma once

#include <cstdint>
#include <string_view>

namespace weft::inline v0::sched {

// code_module is the program itself, a shared library, or the kernel's vdso. The path is the loader's: it lasts as long as
// the module is loaded.
struct code_module {
  const char* path = nullptr;   // "" is the program
  std::uintptr_t bias = 0;      // what the loader adds to the addresses in the file
  const void* start = nullptr;  // where the file's first byte lies in memory
};

// find_module finds the module of an address; false if it is in none. Takes no lock, where there is glibc 2.35.
bool find_module(std::uintptr_t address, code_module& found) noexcept;

// walk_to_module is find_module with what older systems and other C libraries have: a walk over the loader's list, under its
// lock. In a signal handler that means: a thread that was interrupted in dlopen walks a list that is being changed (glibc's
// lock is recursive) or waits for itself (musl's); one that another thread keeps in dlopen waits for a constructor.
bool walk_to_module(std::uintptr_t address, code_module& found) noexcept;

// module_name is the last part of the path; of the program, of what it was called by.
std::string_view module_name(const code_module& module) noexcept;

// open_module opens the file of a module for reading; -1 if it has none, or not any more: a file that was put in its place
// has the same name and other symbols, and wrong names are worse than none.
int open_module(const code_module& module) noexcept;

}  // namespace weft::inline v0::sched
