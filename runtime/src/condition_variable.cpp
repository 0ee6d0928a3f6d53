#include <weft/condition_variable.hpp>

#include "io_error.hpp"

#include <mutex>

namespace weft::inline v0 {

void condition_variable::notify_one() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    if (sched::wait_node* const n = queue_.claim()) wake.add(*n, sched::verdict::done);
  }
  wake.deliver();
}

void condition_variable::notify_all() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    while (sched::wait_node* const n = queue_.claim()) wake.add(*n, sched::verdict::done);
  }
  wake.deliver();
}

condition_variable::turn::turn(condition_variable& c) noexcept : condition_(c) {
  node_.of = &waiting_;
  const std::lock_guard guard(c.guard_);
  c.queue_.push(node_);
}

bool condition_variable::turn::wait() noexcept {
  constexpr auto nothing_locked = [](void*) noexcept {};
  const sched::verdict v = waiting_.wait(nothing_locked, nullptr, sched::wait_reason::condition);
  stage_ = v == sched::verdict::canceled ? stage::canceled : stage::notified;
  return stage_ == stage::notified;
}

// Nobody else knows of the node once it was notified, and the condition may have gone.
condition_variable::turn::~turn() {
  if (stage_ == stage::notified) return;
  // Letting go of the lock has thrown: if somebody was notified who never waited, another is.
  const bool pass_on = stage_ == stage::entered && !waiting_.abandon();
  {
    const std::lock_guard guard(condition_.guard_);
    condition_.queue_.leave(node_);
  }
  if (pass_on) condition_.notify_one();
}

void condition_variable::fail() { throw_canceled("wait for condition"); }

}  // namespace weft::inline v0
