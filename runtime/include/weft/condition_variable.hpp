// condition_variable: wait for a condition that others bring about.
#pragma once

#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <stop_token>
#include <utility>

namespace weft::inline v0 {

// condition_variable does what std::condition_variable_any does, for fibers and plain threads, with any lock:
// std::unique_lock<weft::mutex>, a shared lock, a std::unique_lock<std::mutex> whose holders don't suspend. The lock is
// held again whenever a wait returns or throws.
//
// A wait returns when it is notified, rarely for no reason; the forms with a condition look at it first, and again. It
// throws canceled_error if an explicit bound of the caller (a deadline, a token) ends it; a stop of the fiber does not,
// but the forms with a stop_token do what std says. Waiters are notified in the order of their arrival.
// May be destroyed when every waiter has been notified, even if some have not returned. A waiter whose wait a bound had
// ended need not have returned either, if a notification that found nobody else left in line came after that, as
// notify_all does. Not so if unlocking the lock threw.
class condition_variable {
 public:
  constexpr condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  // Never cancelled, never wait.
  WEFT_API void notify_one() noexcept;
  WEFT_API void notify_all() noexcept;

  template <class Lock>
  void wait(Lock& lock) {
    if (!wait_once(lock) && sched::link_fired()) fail();
  }
  template <class Lock, class Predicate>
  void wait(Lock& lock, Predicate holds) {
    while (!holds()) wait(lock);
  }

  template <class Lock, class Clock, class Duration>
  std::cv_status wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when) {
    return wait_to(lock, detail::to_nanotime(when));
  }
  template <class Lock, class Rep, class Period>
  std::cv_status wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& time) {
    return wait_to(lock, detail::to_nanotime(time));
  }
  template <class Lock, class Clock, class Duration, class Predicate>
  bool wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& when, Predicate holds) {
    return wait_to(lock, detail::to_nanotime(when), holds);
  }
  template <class Lock, class Rep, class Period, class Predicate>
  bool wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& time, Predicate holds) {
    return wait_to(lock, detail::to_nanotime(time), holds);
  }

  // With a token: false if its stop, or the time, came before the condition.
  template <class Lock, class Predicate>
  bool wait(Lock& lock, const std::stop_token& stop, Predicate holds) {
    return wait_stoppable(lock, stop, sched::never, holds);
  }
  template <class Lock, class Clock, class Duration, class Predicate>
  bool wait_until(Lock& lock, const std::stop_token& stop, const std::chrono::time_point<Clock, Duration>& when,
                  Predicate holds) {
    return wait_stoppable(lock, stop, detail::to_nanotime(when), holds);
  }
  template <class Lock, class Rep, class Period, class Predicate>
  bool wait_for(Lock& lock, const std::stop_token& stop, const std::chrono::duration<Rep, Period>& time,
                Predicate holds) {
    return wait_stoppable(lock, stop, detail::to_nanotime(time), holds);
  }

 private:
  // place is where one waits in line.
  //
  // The presence word
  // States     in       in the queue, or claimed         left: claim_locked, leave
  //            out      taken out by claim_locked, which found the wait over          set: claim_locked, in -> out
  //            leaving  its owner, whose wait is over, is about to take it out        set: leave, in -> leaving
  // Ownership  out: its owner keeps away from the condition, which may be gone; and nobody else touches the place.
  //            leaving: a notification waits until it has left, so that the condition is there for so long
  // Orderings  both exchanges acquire and release: who comes second sees what the other did before
  // Not here   whether the wait is over (the selection)
  enum class presence : unsigned char { in, out, leaving };
  struct place : sched::wait_node {
    sched::atomic<presence> where{presence::in};
  };

  // One wait, between the unlocking and the locking. Entered under guard_ before the lock is let go of: who notifies
  // after that finds it.
  class WEFT_API turn {
   public:
    explicit turn(condition_variable& c) noexcept;
    ~turn();
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;
    bool wait() noexcept;  // false: a link of the caller has fired

   private:
    condition_variable& condition_;
    sched::selection waiting_{sched::ended_by::links};
    place place_;
    enum class stage : unsigned char { entered, canceled, notified } stage_ = stage::entered;
  };

  // The lock is taken again at any price.
  template <class Lock>
  struct locked_again {
    explicit locked_again(Lock& l) : lock(l) { lock.unlock(); }
    ~locked_again() {
      const sched::uninterrupted to_the_end;
      lock.lock();
    }
    Lock& lock;
  };

  template <class Lock>
  bool wait_once(Lock& lock) {
    turn t(*this);
    const locked_again<Lock> back(lock);
    return t.wait();
  }
  template <class Lock>
  std::cv_status wait_to(Lock& lock, sched::nanotime until) {
    bool notified = false;
    bool passed = false;
    {
      const sched::deadline_link link(until);
      notified = wait_once(lock);
      passed = link.passed();
    }
    if (!notified && sched::link_fired()) fail();
    return notified || !passed ? std::cv_status::no_timeout : std::cv_status::timeout;
  }
  template <class Lock, class Predicate>
  bool wait_to(Lock& lock, sched::nanotime until, Predicate& holds) {
    while (!holds()) {
      if (wait_to(lock, until) == std::cv_status::timeout) return holds();
    }
    return true;
  }
  template <class Lock, class Predicate>
  bool wait_stoppable(Lock& lock, const std::stop_token& stop, sched::nanotime until, Predicate& holds) {
    while (!stop.stop_requested()) {
      if (holds()) return true;
      bool notified = false;
      bool passed = false;
      {
        const sched::deadline_link in_time(until);
        const sched::stop_link unless_stopped(stop);
        notified = wait_once(lock);
        passed = in_time.passed();
      }
      if (notified) continue;
      if (sched::link_fired()) fail();
      if (passed) return holds();
    }
    return holds();
  }
  [[noreturn]] WEFT_API static void fail();

  // claim_locked takes out the first whose wait is not over; null if there is none. May let go of guard_ in between.
  sched::wait_node* claim_locked() noexcept;
  // leave takes one out whose wait was not ended by a claim.
  void leave(place& p) noexcept;

  sched::spin_lock guard_;
  sched::atomic<std::uint32_t> left_{0};  // how many have left; written under guard_
  sched::wait_queue queue_;               // guarded by guard_
};

using condition_variable_any = condition_variable;

}  // namespace weft::inline v0
