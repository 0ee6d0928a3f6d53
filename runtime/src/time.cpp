#include <weft/time.hpp>

#include "io_error.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/wait_queue.hpp>

#include <algorithm>
#include <limits>
#include <mutex>
#include <system_error>

namespace weft::inline v0::detail {

namespace {

std::chrono::steady_clock::time_point to_time_point(sched::nanotime t) noexcept {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(t));
}

// The first time after `now` that is a whole number of periods after `due`; at most the end of time.
sched::nanotime next_after(sched::nanotime now, sched::nanotime due, sched::nanotime period) noexcept {
  const sched::nanotime into = (now - due) % period;
  return now - into > sched::never - period ? sched::never : now - into + period;
}

}  // namespace

sched::nanotime checked_period(sched::nanotime period) {
  if (period <= 0) {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument), "ticker: the period is not positive");
  }
  return period;
}

sched::nanotime clock_state::next() noexcept {
  const std::lock_guard guard(lock);
  return due_;
}

std::optional<clock_state::time_point> clock_state::take_locked() noexcept {
  if (due_ == sched::never) return {};
  const sched::nanotime now = sched::now();
  if (due_ > now) return {};
  const sched::nanotime taken = due_;
  due_ = period_ == 0 ? sched::never : next_after(now, due_, period_);
  return to_time_point(taken);
}

bool clock_state::set(sched::nanotime when, sched::nanotime period) noexcept {
  sched::wake_list wake;
  bool was_set = false;
  {
    const std::lock_guard guard(lock);
    was_set = due_ != sched::never;
    // Who waits does so until the old time. That is too long; else it looks again then.
    if (when < due_) {
      while (sched::wait_node* const n = receivers.claim()) wake.add(*n, sched::verdict::again);
    }
    due_ = when;
    period_ = period;
  }
  wake.deliver();
  return was_set;
}

std::optional<clock_state::time_point> clock_state::try_wait() noexcept {
  const std::lock_guard guard(lock);
  return take_locked();
}

std::optional<clock_state::time_point> clock_state::wait_unless_stopped() noexcept {
  for (;;) {
    if (sched::stop_requested()) return {};
    sched::nanotime due;
    {
      const std::lock_guard guard(lock);
      if (const auto tick = take_locked()) return tick;
      due = due_;
    }
    const sched::deadline_link until_then(due);
    lock.lock();
    if (due_ < due) {  // set to an earlier time just now
      lock.unlock();
      continue;
    }
    sched::lone_node self;
    receivers.push(self);
    static_cast<void>(sched::wait_in(receivers, self, lock, {sched::wait_reason::tick, this}));
  }
}

clock_state::time_point clock_state::wait() {
  if (const auto tick = wait_unless_stopped()) return *tick;
  throw_canceled("wait for a timer");
}

}  // namespace weft::inline v0::detail
