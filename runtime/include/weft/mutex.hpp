// Mutexes: mutual exclusion between fibers, and plain threads.
#pragma once

#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/stack_position.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace weft::inline v0 {

class mutex;

namespace detail {

struct debugger_access;

// holder_of returns a place on the stack of whoever holds m, as a hint; null if nobody does.
WEFT_API const void* holder_of(const mutex& m) noexcept;

}  // namespace detail

// mutex is held by a fiber or a plain thread; whoever has to wait lets other fibers run. Not recursive. It may be held
// across any suspension, and belongs to the fiber, whichever thread that runs on.
// Meets std's Lockable: use it with std::unique_lock, std::scoped_lock, std::lock.
// May be destroyed as soon as nobody holds it or waits for it, even while the last unlock is still returning.
//
// Fairness: an unlock wakes the longest waiting; a newcomer may take the mutex before that one runs, which keeps a busy
// mutex from costing a switch per lock. Whoever was passed over so once is handed the mutex by the next unlock. So
// each waiter gets it at the latest one unlock after its first turn, in the order of arrival: nobody starves.
//
// The mutex word
// States     locked   somebody holds it             set: lock, try_lock     left: unlock
//            waiters  the queue is not empty        set, left: under guard_
//            woken    one waiter was claimed, was not handed the mutex, and has not looked yet
//                                                   set: unlock, under guard_   left: that waiter, under guard_
// Ownership  queue_ belongs to guard_; a claimed node to its claimer until it is delivered, after guard_ was unlocked
// Invariants I1 waiters is set exactly while the queue is not empty (outside guard_)
//            I2 an unlock with a waiter in the queue and none woken claims one
//            I3 a waiter told `done` has the locked bit, left set on its behalf; one told `again` looks by itself
//            I4 a waiter is told `again` at most once per lock()
// Orderings  O1 taking `locked` acquires, giving it up releases; a grant is ordered by the selection
// Not here   who holds it: holder_ is a hint for reports
class WEFT_API mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  // lock waits until the caller holds the mutex. Throws canceled_error if it has to wait and an explicit bound of the
  // caller (a deadline, a token) says that it must not any more; a stop of the fiber does not end it. A holder that
  // locks again waits for ever.
  void lock() {
    std::uint32_t expected = 0;
    if (!word_.compare_exchange_strong(expected, locked, std::memory_order_acquire, std::memory_order_relaxed)) {
      lock_contended();
    }
    note_holder();
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
  friend class timed_mutex;
  friend const void* detail::holder_of(const mutex& m) noexcept;
  friend struct detail::debugger_access;

  struct node;
  static constexpr std::uint32_t locked = 1;
  static constexpr std::uint32_t waiters = 2;
  static constexpr std::uint32_t woken = 4;

  void lock_contended();
  bool lock_slow() noexcept;  // false: a link of the caller has fired
  bool lock_until(sched::nanotime until);
  void unlock_slow() noexcept;

  void note_holder() noexcept { holder_.store(sched::stack_position(), std::memory_order_relaxed); }

  sched::atomic<std::uint32_t> word_{0};
  sched::spin_lock guard_;
  sched::wait_queue queue_;
  std::atomic<const void*> holder_{nullptr};  // a place on the stack of who has locked it last
};

// timed_mutex is a mutex that can also be waited for until a time.
class timed_mutex {
 public:
  constexpr timed_mutex() noexcept = default;
  timed_mutex(const timed_mutex&) = delete;
  timed_mutex& operator=(const timed_mutex&) = delete;

  void lock() { mutex_.lock(); }
  [[nodiscard]] bool try_lock() noexcept { return mutex_.try_lock(); }
  void unlock() noexcept { mutex_.unlock(); }

  // These tell whether the caller holds the mutex, which they wait for at most so long. Throw as lock does.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& time) {
    return mutex_.lock_until(detail::to_nanotime(time));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return mutex_.lock_until(detail::to_nanotime(when));
  }

 private:
  mutex mutex_;
};

namespace detail {

// current_owner names the calling fiber, in blocking regions too, or plain thread; never 0.
WEFT_API std::uintptr_t current_owner() noexcept;
[[noreturn]] WEFT_API void fatal_unlock_by_stranger() noexcept;

// recursive is a mutex that its holder may lock again.
template <class Mutex>
class recursive {
 public:
  constexpr recursive() noexcept = default;
  recursive(const recursive&) = delete;
  recursive& operator=(const recursive&) = delete;

  void lock() {
    if (!again()) {
      mutex_.lock();
      own();
    }
  }
  [[nodiscard]] bool try_lock() noexcept { return again() || (mutex_.try_lock() && own()); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& time)
    requires requires(Mutex& m) { m.try_lock_for(time); }
  {
    return again() || (mutex_.try_lock_for(time) && own());
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when)
    requires requires(Mutex& m) { m.try_lock_until(when); }
  {
    return again() || (mutex_.try_lock_until(when) && own());
  }
  // unlock by anybody but the holder is fatal.
  void unlock() noexcept {
    if (owner_.load(std::memory_order_relaxed) != current_owner()) fatal_unlock_by_stranger();
    if (--depth_ != 0) return;
    owner_.store(0, std::memory_order_relaxed);
    mutex_.unlock();
  }

 private:
  bool again() noexcept {
    if (owner_.load(std::memory_order_relaxed) != current_owner()) return false;
    ++depth_;
    return true;
  }
  bool own() noexcept {
    owner_.store(current_owner(), std::memory_order_relaxed);
    depth_ = 1;
    return true;
  }

  Mutex mutex_;
  // Written by the holder alone; whoever else reads it finds a name that is not its own.
  sched::atomic<std::uintptr_t> owner_{0};
  std::uint32_t depth_ = 0;  // of the holder
};

}  // namespace detail

// recursive_mutex and recursive_timed_mutex may be locked again by whoever holds them, and are free after as many
// unlocks.
using recursive_mutex = detail::recursive<mutex>;
using recursive_timed_mutex = detail::recursive<timed_mutex>;

}  // namespace weft::inline v0
