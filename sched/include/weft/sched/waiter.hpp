// waiter: what waits. A fiber, or a plain thread that has none.
#pragma once

#include <weft/export.hpp>

#include <cstdint>

namespace weft::inline v0::sched {

class fiber;          // a fiber's control block; sched/src/control_block.hpp
struct thread_record; // a plain thread's place to wait; sched/src/thread_record.hpp

// waiter names whoever waits, in one word that fits an atomic beside small states: the address of a fiber, or the
// address of a thread's record with the lowest bit set. No waiter has the bits 0, 1 or 2, nor the second bit set.
//
// A value; copying it gives no right to wake. Whoever removes a waiter from where it was published (by compare and
// swap, or under the lock of a list) owns it and passes it to ready() exactly once. Both kinds of memory are
// type-stable: a fiber's as long as anybody may come too late to it, a thread's for the life of the process.
class waiter {
 public:
  constexpr waiter() noexcept = default;
  explicit waiter(fiber* f) noexcept : bits_(reinterpret_cast<std::uintptr_t>(f)) {}
  explicit waiter(thread_record* t) noexcept : bits_(reinterpret_cast<std::uintptr_t>(t) | thread_tag) {}

  static constexpr waiter from_bits(std::uintptr_t bits) noexcept {
    waiter w;
    w.bits_ = bits;
    return w;
  }

  constexpr std::uintptr_t bits() const noexcept { return bits_; }
  constexpr explicit operator bool() const noexcept { return bits_ != 0; }
  constexpr bool is_thread() const noexcept { return (bits_ & thread_tag) != 0; }

  // REQUIRES: !is_thread().
  fiber* as_fiber() const noexcept { return reinterpret_cast<fiber*>(bits_); }
  // REQUIRES: is_thread().
  thread_record* as_thread() const noexcept { return reinterpret_cast<thread_record*>(bits_ - thread_tag); }

  friend constexpr bool operator==(waiter, waiter) noexcept = default;

 private:
  static constexpr std::uintptr_t thread_tag = 1;
  std::uintptr_t bits_ = 0;
};

// current_waiter returns the calling fiber, or, on a plain thread and inside a blocking region, the calling thread's
// record. The value is good for waits that begin in the same call and must not be kept for later ones.
WEFT_API waiter current_waiter() noexcept;

}  // namespace weft::inline v0::sched
