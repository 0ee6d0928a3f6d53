#include <weft/event.hpp>

#include "stoppable_wait.hpp"

#include <mutex>
#include <utility>

namespace weft::inline v0 {

using sched::verdict;

void event::set() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    set_.store(true, std::memory_order_release);
    while (sched::wait_node* const n = queue_.claim()) wake.add(*n, verdict::done);
  }
  wake.deliver();
}

void event::reset() noexcept {
  const std::lock_guard guard(guard_);
  set_.store(false, std::memory_order_relaxed);
}

verdict event::take() noexcept {
  for (;;) {
    if (sched::stop_requested()) return verdict::canceled;
    guard_.lock();
    if (set_.load(std::memory_order_relaxed)) {
      guard_.unlock();
      return verdict::done;
    }
    sched::lone_node n;
    queue_.push(n);
    if (sched::wait_in(queue_, n, guard_, {sched::wait_reason::event, this}) == verdict::done) return verdict::done;
  }
}

void event::wait() {
  if (take() == verdict::canceled) throw_canceled("wait for event");
}

bool event::wait_to(sched::nanotime until) {
  {
    const std::lock_guard guard(guard_);  // the set that is seen is through then: the event may be destroyed
    if (set_.load(std::memory_order_relaxed)) return true;
  }
  return done_in_time(until, "wait for event", [this] { return take(); });
}

void auto_reset_event::set() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    if (sched::wait_node* const n = queue_.claim()) {
      wake.add(*n, verdict::done);
    } else {
      set_ = true;
    }
  }
  wake.deliver();
}

void auto_reset_event::reset() noexcept {
  const std::lock_guard guard(guard_);
  set_ = false;
}

bool auto_reset_event::try_wait() noexcept {
  const std::lock_guard guard(guard_);
  return std::exchange(set_, false);
}

verdict auto_reset_event::take() noexcept {
  for (;;) {
    if (sched::stop_requested()) return verdict::canceled;
    guard_.lock();
    if (std::exchange(set_, false)) {
      guard_.unlock();
      return verdict::done;
    }
    sched::lone_node n;
    queue_.push(n);
    if (sched::wait_in(queue_, n, guard_, {sched::wait_reason::event, this}) == verdict::done) return verdict::done;
  }
}

void auto_reset_event::wait() {
  if (take() == verdict::canceled) throw_canceled("wait for event");
}

bool auto_reset_event::wait_to(sched::nanotime until) {
  return try_wait() || done_in_time(until, "wait for event", [this] { return take(); });
}

}  // namespace weft::inline v0
