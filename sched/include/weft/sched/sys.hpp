// System calls that report -errno instead of writing to errno.
#pragma once

#include <cerrno>

namespace weft::inline v0::sched {

// sys_call calls function(arguments...) and returns its result, or -errno when that is negative.
//
// The address of errno belongs to a thread, and compilers may keep it in a register across a suspension: a function
// that suspends must not mention errno. This one cannot suspend and is never inlined into one that can. The barrier
// keeps compilers from deducing that the function is pure and merging two calls.
template <class Function, class... Arguments>
[[gnu::noinline]] long sys_call(Function function, Arguments... arguments) noexcept {
  long result = static_cast<long>(function(arguments...));
  asm volatile("" ::: "memory");
  return result < 0 ? -static_cast<long>(errno) : result;
}

// keep_errno gives errno back as it found it: for signal handlers, which run in the middle of other code. Neither half is
// ever inlined into a function that suspends.
class keep_errno {
 public:
  [[gnu::noinline]] keep_errno() noexcept : value_(errno) {}
  [[gnu::noinline]] ~keep_errno() { errno = value_; }
  keep_errno(const keep_errno&) = delete;
  keep_errno& operator=(const keep_errno&) = delete;

 private:
  int value_;
};

}  // namespace weft::inline v0::sched
