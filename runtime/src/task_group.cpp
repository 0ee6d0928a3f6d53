#include <weft/task_group.hpp>

#include "io_error.hpp"

#include <weft/error.hpp>
#include <weft/sched/park.hpp>

#include <exception>

namespace weft::inline v0::detail {

group_state::group_state(std::size_t limit) : limit_(limit), unwinding_(std::uncaught_exceptions()) {}

bool group_state::try_admit() noexcept {
  const std::lock_guard guard(guard_);
  if (limit_ != 0 && count_ >= limit_) return false;
  ++count_;
  return true;
}

void group_state::admit() {
  for (;;) {
    guard_.lock();
    if (limit_ == 0 || count_ < limit_) {
      ++count_;
      guard_.unlock();
      return;
    }
    if (sched::stop_requested()) {
      guard_.unlock();
      throw_canceled("spawn into group");
    }
    sched::lone_node self;
    places_.push(self);
    // done: the place was passed on, and is counted already.
    if (sched::wait_in(places_, self, guard_, {sched::wait_reason::group_place, this}) == sched::verdict::done) return;
  }
}

void group_state::leave() noexcept {
  sched::wake_list wake;
  guard_.lock();
  if (sched::wait_node* const next = places_.claim()) {
    wake.add(*next, sched::verdict::done);
  } else if (--count_ == 0) {
    while (sched::wait_node* const each = joiners_.claim()) wake.add(*each, sched::verdict::done);
  }
  guard_.unlock();
  wake.deliver();
}

void group_state::fail() noexcept {
  try {
    throw;
  } catch (const canceled_error&) {
    if (stop_.stop_requested()) return;
  } catch (...) {  // looked at below, as what the caller handles
  }
  {
    const std::lock_guard guard(guard_);
    if (failure_ == nullptr) failure_ = std::current_exception();
  }
  request_stop();
}

sched::verdict group_state::wait() noexcept {
  for (;;) {
    if (sched::stop_requested()) return sched::verdict::canceled;
    guard_.lock();
    if (count_ == 0) {
      guard_.unlock();
      return sched::verdict::done;
    }
    sched::lone_node self;
    joiners_.push(self);
    if (sched::wait_in(joiners_, self, guard_, {sched::wait_reason::group_end, this}) == sched::verdict::done) {
      return sched::verdict::done;
    }
  }
}

void group_state::wait_or_throw() {
  if (wait() != sched::verdict::done) throw_canceled("join group");
}

void group_state::rethrow_failure() {
  std::exception_ptr failed;
  {
    const std::lock_guard guard(guard_);
    failed = failure_;
  }
  if (failed != nullptr) std::rethrow_exception(std::move(failed));
}

void group_state::settle() noexcept {
  if (std::uncaught_exceptions() <= unwinding_ && wait() == sched::verdict::done) return;
  request_stop();
  const sched::uninterrupted to_the_end;
  static_cast<void>(wait());
}

}  // namespace weft::inline v0::detail
