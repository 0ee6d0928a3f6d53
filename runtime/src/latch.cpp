#include <weft/latch.hpp>

#include "stoppable_wait.hpp"

#include <weft/sched/fatal.hpp>

namespace weft::inline v0 {

using sched::verdict;

void latch::count_down(std::ptrdiff_t n) noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    const std::ptrdiff_t left = left_.load(std::memory_order_relaxed);
    if (n < 0 || n > left) {
      sched::fatal("latch: %lld counted down by %lld", static_cast<long long>(left), static_cast<long long>(n));
    }
    left_.store(left - n, std::memory_order_release);
    if (left == n) {
      while (sched::wait_node* const each = queue_.claim()) wake.add(*each, verdict::done);
    }
  }
  wake.deliver();
}

void latch::wait() {
  for (;;) {
    if (sched::stop_requested()) throw_canceled("wait for latch");
    guard_.lock();
    if (left_.load(std::memory_order_relaxed) == 0) {
      guard_.unlock();
      return;
    }
    sched::lone_node n;
    queue_.push(n);
    if (sched::wait_in(queue_, n, guard_, {sched::wait_reason::latch, this}) == verdict::done) return;
  }
}

bool detail::barrier_core::arrive(std::ptrdiff_t n, bool drop) noexcept {
  const std::lock_guard guard(guard_);
  if (n <= 0 || n > left_) {
    sched::fatal("barrier: %lld arrivals where %lld are expected", static_cast<long long>(n),
                 static_cast<long long>(left_));
  }
  left_ -= n;
  if (drop) --expected_;
  return left_ == 0;
}

void detail::barrier_core::complete() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    left_ = expected_;
    phase_.store(phase_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    while (sched::wait_node* const each = queue_.claim()) wake.add(*each, verdict::done);
  }
  wake.deliver();
}

void detail::barrier_core::wait(std::uint64_t of) {
  for (;;) {
    if (sched::stop_requested()) throw_canceled("wait for barrier");
    guard_.lock();
    if (phase_.load(std::memory_order_relaxed) != of) {
      guard_.unlock();
      return;
    }
    sched::lone_node n;
    queue_.push(n);
    if (sched::wait_in(queue_, n, guard_, {sched::wait_reason::barrier, this}) == verdict::done) return;
  }
}

}  // namespace weft::inline v0
