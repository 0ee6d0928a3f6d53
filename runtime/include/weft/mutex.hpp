// mutex: mutual exclusion between fibers, and plain threads.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/spin_lock.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0 {

// mutex is held by a fiber or a plain thread; whoever has to wait lets other fibers run. Not recursive. It may be held
// across any suspension, and belongs to the fiber, whichever thread that runs on.
// Meets std's Lockable: use it with std::unique_lock, std::scoped_lock, std::lock. Not ended by stop requests.
// May be destroyed as soon as nobody holds it or waits for it, even while the last unlock is still returning.
//
// Fairness: an unlock wakes the longest waiting; a newcomer may take the mutex before that one runs, which keeps a busy
// mutex from costing a switch per lock. Whoever was passed over so once is handed the mutex by the next unlock. So
// each waiter gets it at the latest one unlock after its first turn, in the order of arrival: nobody starves.
//
// The mutex word
// States     locked   somebody holds it             set: lock, try_lock     left: unlock
//            waiters  the list is not empty         set, left: under guard_
//            woken    one waiter was taken out of the list, was not handed the mutex, and has not looked yet
//                                                   set: unlock, under guard_   left: that waiter, under guard_
// Ownership  head_, tail_ and the nodes (on the stacks of the waiters) belong to guard_. A node taken out is the
//            waiter's again once guard_ was unlocked.
// Invariants I1 waiters is set exactly while the list is not empty (outside guard_)
//            I2 an unlock with a waiter in the list and none woken takes one out
//            I3 a node marked `granted` left the locked bit set on behalf of its waiter
//            I4 a waiter is woken without the grant at most once per lock()
// Orderings  O1 taking `locked` acquires, giving it up releases; a grant is ordered by guard_
//            O2 a waiter reads its node under guard_ only: so unlock() no longer touches the mutex when the waiter goes
//               on, though the park ended for no reason
// Not here   who holds it
class WEFT_API mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  // lock waits until the caller holds the mutex. A holder that locks again waits for ever.
  void lock() noexcept {
    std::uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, locked, std::memory_order_acquire, std::memory_order_relaxed)) {
      lock_slow();
    }
  }

  // try_lock never waits, and does not fail while the mutex is free.
  [[nodiscard]] bool try_lock() noexcept;

  // unlock of a mutex that nobody holds is fatal.
  void unlock() noexcept {
    std::uint32_t expected = locked;
    if (!word_.compare_exchange_strong(expected, 0, std::memory_order_release, std::memory_order_relaxed)) {
      unlock_slow();
    }
  }

 private:
  struct node;
  static constexpr std::uint32_t locked = 1;
  static constexpr std::uint32_t waiters = 2;
  static constexpr std::uint32_t woken = 4;

  void lock_slow() noexcept;
  void unlock_slow() noexcept;

  std::atomic<std::uint32_t> word_{0};
  sched::spin_lock guard_;
  node* head_ = nullptr;
  node* tail_ = nullptr;
};

}  // namespace weft::inline v0
