// Semaphores: a number of permits that are taken and given back.
#pragma once

#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <limits>
#include <stop_token>

namespace weft::inline v0 {

namespace detail {

// semaphore_core is a semaphore of any maximum.
//
// The count and the number of waiters
// States     permits_  how many are left                       changed: take (-1), release (+n)
//            waiters_  those in the queue, or about to enter   changed under guard_
// Invariants I1 nobody sleeps while there is a permit for him
// Orderings  O1 acquire: raise waiters_, then load permits_ || release: raise permits_, then load waiters_. Store-load on
//               both sides, so seq_cst: either the one finds the permit, or the other the waiter.
//            O2 what was done before a release is visible to whoever takes its permit: release and acquire on permits_
// Not here   who has taken the permits
class WEFT_API semaphore_core {
 public:
  constexpr explicit semaphore_core(std::ptrdiff_t permits) noexcept : permits_(permits) {}

  bool try_acquire() noexcept;
  void acquire();
  bool acquire_until(sched::nanotime until);
  void release(std::ptrdiff_t n, std::ptrdiff_t most) noexcept;

 private:
  sched::verdict take() noexcept;

  sched::atomic<std::ptrdiff_t> permits_;
  sched::atomic<std::size_t> waiters_{0};
  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_
};

}  // namespace detail

// counting_semaphore does what std's does, for fibers and plain threads. Those who wait get permits in the order of
// their arrival; a newcomer may take one that is there before them. acquire throws canceled_error if a stop of the
// caller stands.
template <std::ptrdiff_t least_max_value = std::numeric_limits<std::ptrdiff_t>::max() / 2>
  requires(least_max_value >= 0)
class counting_semaphore {
 public:
  // REQUIRES: 0 <= permits <= max().
  constexpr explicit counting_semaphore(std::ptrdiff_t permits) noexcept : core_(permits) {}
  counting_semaphore(const counting_semaphore&) = delete;
  counting_semaphore& operator=(const counting_semaphore&) = delete;

  static constexpr std::ptrdiff_t max() noexcept { return least_max_value; }

  void acquire() { core_.acquire(); }
  void acquire(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    core_.acquire();
  }
  [[nodiscard]] bool try_acquire() noexcept { return core_.try_acquire(); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& time) {
    return core_.acquire_until(detail::to_nanotime(time));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& when) {
    return core_.acquire_until(detail::to_nanotime(when));
  }

  // release never waits; more permits than max() are fatal.
  void release(std::ptrdiff_t n = 1) noexcept { core_.release(n, least_max_value); }

 private:
  detail::semaphore_core core_;
};

using binary_semaphore = counting_semaphore<1>;

}  // namespace weft::inline v0
