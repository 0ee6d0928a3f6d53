// context: one suspended or running flow of control, and the switch between two.
//
// The only place for Boost.Context and for the sanitizers' fiber hooks.
#pragma once

#include "sanitizers.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(WEFT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(WEFT_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

// WEFT_REAL_STACK is for functions with locals that whoever is switched to reads. AddressSanitizer may keep locals on a fake
// stack, which is gone after the last switch from a fiber; functions that it doesn't instrument have theirs on the real one.
#if defined(WEFT_ASAN)
#define WEFT_REAL_STACK __attribute__((no_sanitize("address")))
#else
#define WEFT_REAL_STACK
#endif

namespace weft::inline v0::sched {

// exception_state is what the C++ runtime keeps per thread while exceptions are handled; the layout of the Itanium ABI's
// __cxa_eh_globals. Switched with each context, so that a fiber can suspend in a catch block or while it unwinds.
struct exception_state {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

// thread_exception_state returns the calling thread's. Never inlined: compilers take the address for constant.
[[gnu::noinline]] exception_state* thread_exception_state() noexcept;

// context is one flow of control: a fiber's, or a worker's on its own stack. Owned by whoever runs on it; while it is
// suspended, by whoever may resume it. The address of a context stays the same for its life.
struct context {
  boost::context::detail::fcontext_t suspended = nullptr;
  exception_state exceptions;
#if defined(WEFT_ASAN)
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  std::size_t stack_size = 0;
#endif
#if defined(WEFT_TSAN)
  void* tsan_fiber = nullptr;
#endif
};

// WEFT_OUTERMOST_FRAME, first in a function that nothing has called, tells unwinders so: what follows on the stack is none of
// a caller's, and what Boost leaves there has no description.
#if defined(__x86_64__)
#define WEFT_OUTERMOST_FRAME asm volatile(".cfi_undefined %rip")
#else
#define WEFT_OUTERMOST_FRAME static_cast<void>(0)
#endif

// What a switch hands to the context it arrives at.
using arrival = boost::context::detail::transfer_t;

// A departure is the note that a switch carries to whoever it arrives at.
struct departure {
  context* from;
  void* message;
};

// attach_thread makes c the context of the calling thread on its own stack.
void attach_thread(context& c) noexcept;

// prepare makes c a fresh context: its first arrival runs entry, on the stack [bottom, top).
void prepare(context& c, std::byte* bottom, std::byte* top, void (*entry)(arrival)) noexcept;

// dispose ends what prepare began. REQUIRES: nothing runs on c, and nothing will.
void dispose(context& c, std::byte* bottom, std::byte* top) noexcept;

// Sticky floating-point status flags make the switch's reload of MXCSR cost 60 ns instead of 4 (measured), so they don't
// survive a suspension.
inline void clear_floating_point_status() noexcept {
#if defined(__x86_64__)
  unsigned int status = _mm_getcsr();
  if ((status & 0x3fu) != 0) [[unlikely]] _mm_setcsr(status & ~0x3fu);
#endif
}

// saved_return_address is how far above what a switch has left the address lies at which the context will go on: Boost
// builds its switch in more than one way. 0: not known. Looks once; not for signal handlers.
std::size_t saved_return_address() noexcept;

// arrive completes the switch that led to `self`: the context that was left is whole from here on. Returns its message.
#if defined(WEFT_TSAN)
__attribute__((no_sanitize("thread")))
#endif
inline void*
arrive([[maybe_unused]] context& self, arrival t) noexcept {
#if defined(WEFT_ASAN)
  __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
#endif
  auto* left = static_cast<departure*>(t.data);
  left->from->suspended = t.fctx;
  return left->message;
}

enum class last { no, yes };

// switch_context leaves `from`, which is running, for `to`, and returns when somebody switches back: with the message of that
// switch, and maybe on another thread. `thread` is the calling thread's exception state. `last::yes`: `from` is never resumed.
#if defined(WEFT_TSAN)
// Not instrumented: the hook changes the shadow stack that instrumented code would push to and pop from.
__attribute__((no_sanitize("thread")))
#endif
WEFT_REAL_STACK inline void*
switch_context(context& from, context& to, exception_state* thread, void* message,
               [[maybe_unused]] last end = last::no) noexcept {
  // Word by word: as one 16-byte move it would wait for the two stores that wrote it last time.
  from.exceptions.caught = thread->caught;
  from.exceptions.uncaught = thread->uncaught;
  thread->caught = to.exceptions.caught;
  thread->uncaught = to.exceptions.uncaught;
  clear_floating_point_status();
  departure note{&from, message};
#if defined(WEFT_ASAN)
  __sanitizer_start_switch_fiber(end == last::yes ? nullptr : &from.fake_stack, to.stack_bottom, to.stack_size);
#endif
#if defined(WEFT_TSAN)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  return arrive(from, boost::context::detail::jump_fcontext(to.suspended, &note));
}

// A detour is a call of a function that runs on another stack, on the same thread: for code that needs more stack than there
// may be. It is no context: it never suspends, and the thread's exceptions stay with the thread.
struct detour {
  void (*function)(detour&) noexcept;
  boost::context::detail::fcontext_t way_back = nullptr;
#if defined(WEFT_ASAN)
  const void* stack_bottom = nullptr;
  std::size_t stack_size = 0;
#endif
#if defined(WEFT_TSAN)
  void* tsan_fiber = nullptr;
#endif
};

// take_detour runs d.function(d) on the stack [bottom, top) until it returns, or calls end_detour.
void take_detour(detour& d, std::byte* bottom, std::byte* top) noexcept;

// end_detour returns from take_detour at once, from any depth: what is on the other stack is left as it is, nothing is
// destroyed. It does not return. (No [[noreturn]]: AddressSanitizer would take it for the end of this thread's stack.)
void end_detour(detour& d) noexcept;

}  // namespace weft::inline v0::sched
