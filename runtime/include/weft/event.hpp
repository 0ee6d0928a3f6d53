// Events: something that has happened, or not.
#pragma once

#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <chrono>
#include <stop_token>

namespace weft::inline v0 {

// event is set or not, and wakes everybody when it is set. Fibers and plain threads.
// Whoever returned from wait may destroy it, though the set that woke it is still returning.
class WEFT_API event {
 public:
  constexpr event() noexcept = default;
  event(const event&) = delete;
  event& operator=(const event&) = delete;

  // set lets all who wait go on, and those who come later, until reset. Neither waits.
  void set() noexcept;
  void reset() noexcept;
  bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }

  // wait returns when the event is set. Throws canceled_error if a stop of the caller stands. The others give up at a
  // time, and tell whether it was set.
  void wait();
  void wait(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    wait();
  }
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& time) {
    return wait_to(detail::to_nanotime(time));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& when) {
    return wait_to(detail::to_nanotime(when));
  }

 private:
  sched::verdict take() noexcept;
  bool wait_to(sched::nanotime until);

  sched::atomic<bool> set_{false};  // written under guard_
  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_
};

// auto_reset_event lets one go on for each set: who waits longest, or, if nobody does, who comes next. Sets that nobody
// has come for in the meantime count once.
class WEFT_API auto_reset_event {
 public:
  constexpr auto_reset_event() noexcept = default;
  auto_reset_event(const auto_reset_event&) = delete;
  auto_reset_event& operator=(const auto_reset_event&) = delete;

  void set() noexcept;
  void reset() noexcept;

  // As event's.
  void wait();
  void wait(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    wait();
  }
  [[nodiscard]] bool try_wait() noexcept;
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& time) {
    return wait_to(detail::to_nanotime(time));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& when) {
    return wait_to(detail::to_nanotime(when));
  }

 private:
  sched::verdict take() noexcept;
  bool wait_to(sched::nanotime until);

  bool set_ = false;  // guarded by guard_; false while somebody waits
  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_
};

}  // namespace weft::inline v0
