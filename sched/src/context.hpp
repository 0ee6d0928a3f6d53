// context: one suspended or running flow of control, and the switch between two.
//
// The only place for the sanitizers' fiber hooks.
#pragma once

#include "sanitizers.hpp"
#include "saved_context.hpp"

#include <cstddef>
#include <utility>

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
  saved_context suspended;
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

// attach_thread makes c the context of the calling thread on its own stack.
void attach_thread(context& c) noexcept;

// prepare makes c a fresh context: its first arrival runs entry, which calls arrive before anything else, on the stack
// [bottom, top).
inline void prepare(context& c, std::byte* bottom, std::byte* top, context_entry entry) noexcept {
  save_entry(c.suspended, bottom, top, entry);
  c.exceptions.caught = nullptr;
  c.exceptions.uncaught = 0;
#if defined(WEFT_ASAN)
  c.fake_stack = nullptr;
  c.stack_bottom = bottom;
  c.stack_size = static_cast<std::size_t>(top - bottom);
#endif
#if defined(WEFT_TSAN)
  c.tsan_fiber = __tsan_create_fiber(0);
#endif
}

// dispose ends what prepare began. REQUIRES: nothing runs on c, and nothing will.
void dispose(context& c, std::byte* bottom, std::byte* top) noexcept;

// arrive completes the switch that led to `self`, for the sanitizers.
WEFT_UNINSTRUMENTED inline void arrive([[maybe_unused]] context& self) noexcept {
#if defined(WEFT_ASAN)
  __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
#endif
}

enum class last { no, yes };

// switch_context leaves `from`, which is running, for `to`, and returns when somebody switches back: with the message of that
// switch, and maybe on another thread. `thread` is the calling thread's exception state. `last::yes`: `from` is never resumed.
// Not instrumented: the hooks change the shadow stack that instrumented code would push to and pop from.
WEFT_UNINSTRUMENTED inline void* switch_context(context& from, context& to, exception_state* thread, void* message,
                                               [[maybe_unused]] last end = last::no) noexcept {
  // Word by word: as one 16-byte move it would wait for the two stores that wrote it last time.
  from.exceptions.caught = thread->caught;
  from.exceptions.uncaught = thread->uncaught;
  thread->caught = to.exceptions.caught;
  thread->uncaught = to.exceptions.uncaught;
#if defined(WEFT_ASAN)
  __sanitizer_start_switch_fiber(end == last::yes ? nullptr : &from.fake_stack, to.stack_bottom, to.stack_size);
#endif
#if defined(WEFT_TSAN)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
  message = jump(from.suspended, to.suspended, message);
  arrive(from);
  return message;
}

// A detour is a call of a function that runs on another stack, on the same thread: for code that needs more stack than there
// may be. It is no context: it never suspends, and the thread's exceptions stay with the thread.
struct detour {
  void (*function)(detour&) noexcept;
  saved_context there{};
  saved_context way_back{};
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
