// timer: calls a function at a time. The base of sleeps and deadlines.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/clock.hpp>

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

class scheduler;
class timer_heap;

// timer is one entry of some processor's heap, or of none. Embedded in memory that is type-stable as long as it
// is in a heap, where a stopped timer may stay for a while, and as its last callback may run.
// arm, postpone and stop of one timer are serialised by its owner; the firing side needs no lock of the owner's.
//
// The due word
// States     0     disarmed (never armed, stopped, or taken by the firing side)
//            when  armed for that time                    set: arm, postpone       left: stop, postpone, fire
// Ownership  The exchange or CAS that takes `when` to 0 decides: by stop, the shot is prevented; by the firing side, the
//            callback runs. heap_, index_, position_, callback_, word_ and sequence_ belong to the lock of heap_;
//            while heap_ is null, to the owner.
// Invariants I1 each arm is followed by at most one callback, never before its time
//            I2 a timer with due != 0 is in a heap, at a position not later than due
// Orderings  O1 the owner's store of due releases, the firing CAS acquires: the callback sees what armed it
//            O2 heap_ = nullptr releases, the owner's load acquires: the owner may write the fields again
// Not here   whether a callback in flight is still wanted: the callback compares the sequence under its owner's lock
class WEFT_API timer {
 public:
  // Called on a worker's own stack with no lock held. Must not park, throw or allocate; wakes whom it wakes by ready().
  using callback = void (*)(void* object, std::uint32_t sequence) noexcept;

  timer() noexcept = default;
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;

  // arm makes the timer fire at `when`, in the heap of the current processor of s (from elsewhere, in the one that
  // outside threads share). An armed timer is moved. `sequence` is passed on to the callback. False, and nothing has
  // changed, without memory for a larger heap.
  [[nodiscard]] bool arm(scheduler& s, nanotime when, callback call, void* object, std::uint32_t sequence) noexcept;

  // postpone moves an armed timer to a later time by one compare and swap, with no heap work. Returns false, and does
  // nothing, if it isn't armed or `when` is earlier than its time.
  [[nodiscard]] bool postpone(nanotime when) noexcept;

  // stop disarms. True if that prevented a shot; false if it wasn't armed or its callback has begun.
  bool stop() noexcept;

  // due is when it will fire, as far as anybody but the owner can tell; `never` if it is not armed.
  nanotime due() const noexcept {
    const nanotime when = due_.load(std::memory_order_relaxed);
    return when != 0 ? when : never;
  }

  bool armed() const noexcept { return due_.load(std::memory_order_acquire) != 0; }

  // in_heap tells whether a heap still refers to it. For the owner, of a timer that isn't armed: then false stays.
  bool in_heap() const noexcept { return heap_.load(std::memory_order_acquire) != nullptr; }  // O2

 private:
  friend class timer_heap;

  atomic<nanotime> due_{0};
  atomic<timer_heap*> heap_{nullptr};
  nanotime position_ = 0;  // the time it is sorted by; not later than due_
  std::size_t index_ = 0;
  callback callback_ = nullptr;
  void* object_ = nullptr;
  std::uint32_t sequence_ = 0;
};

}  // namespace weft::inline v0::sched
