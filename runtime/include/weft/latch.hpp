// latch and barrier: fibers, and plain threads, that wait for one another.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stop_token>
#include <utility>

namespace weft::inline v0 {

// latch does what std's does: a count that goes down once. wait throws canceled_error if a stop of the caller stands.
// Whoever returned from wait may destroy it, though the count_down that woke it is still returning.
class WEFT_API latch {
 public:
  // REQUIRES: expected >= 0.
  constexpr explicit latch(std::ptrdiff_t expected) noexcept : left_(expected) {}
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;

  static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

  // count_down below zero is fatal.
  void count_down(std::ptrdiff_t n = 1) noexcept;
  bool try_wait() const noexcept { return left_.load(std::memory_order_acquire) == 0; }
  void wait();
  void wait(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    wait();
  }
  void arrive_and_wait(std::ptrdiff_t n = 1) {
    count_down(n);
    wait();
  }

 private:
  sched::atomic<std::ptrdiff_t> left_;  // written under guard_
  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_
};

namespace detail {

// barrier_core is a barrier without its completion. Phases are counted, so that who waits for one is not held up by the
// next.
class WEFT_API barrier_core {
 public:
  constexpr explicit barrier_core(std::ptrdiff_t expected) noexcept : expected_(expected), left_(expected) {}

  std::uint64_t phase() const noexcept { return phase_.load(std::memory_order_acquire); }
  // arrive counts n arrivals; true if the phase is complete: complete() has to follow, once its completion has run.
  bool arrive(std::ptrdiff_t n, bool drop) noexcept;
  void complete() noexcept;
  // wait waits for the end of that phase.
  void wait(std::uint64_t of);

 private:
  std::ptrdiff_t expected_;            // guarded by guard_
  std::ptrdiff_t left_;                // guarded by guard_
  sched::atomic<std::uint64_t> phase_{0};  // written under guard_
  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_; of the present phase
};

struct no_completion {
  void operator()() const noexcept {}
};

}  // namespace detail

// barrier does what std's does. The completion runs on whoever arrives last, while the others wait; it must not throw,
// and may suspend. wait throws canceled_error if a stop of the caller stands: its arrival has been counted.
template <class Completion = detail::no_completion>
class barrier {
 public:
  class arrival_token {
   public:
    arrival_token(arrival_token&&) noexcept = default;
    arrival_token& operator=(arrival_token&&) noexcept = default;

   private:
    friend class barrier;
    explicit arrival_token(std::uint64_t phase) noexcept : phase_(phase) {}
    std::uint64_t phase_;
  };

  // REQUIRES: expected >= 0.
  constexpr explicit barrier(std::ptrdiff_t expected, Completion completion = Completion())
      : core_(expected), completion_(std::move(completion)) {}
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;

  static constexpr std::ptrdiff_t max() noexcept { return std::numeric_limits<std::ptrdiff_t>::max(); }

  // More arrivals than are expected in a phase are fatal.
  [[nodiscard]] arrival_token arrive(std::ptrdiff_t n = 1) {
    arrival_token t(core_.phase());
    arrived(core_.arrive(n, false));
    return t;
  }
  void wait(arrival_token&& arrival) const { core_.wait(arrival.phase_); }
  void arrive_and_wait() { wait(arrive()); }
  void arrive_and_drop() { arrived(core_.arrive(1, true)); }

 private:
  void arrived(bool last) noexcept {
    if (!last) return;
    completion_();
    core_.complete();
  }

  mutable detail::barrier_core core_;
  Completion completion_;
};

}  // namespace weft::inline v0
