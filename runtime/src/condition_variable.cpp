#include <weft/condition_variable.hpp>

#include "io_error.hpp"

#include <mutex>

namespace weft::inline v0 {

void condition_variable::notify_one() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    if (sched::wait_node* const n = claim_locked()) wake.add(*n, sched::verdict::done);
  }
  wake.deliver();
}

void condition_variable::notify_all() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    while (sched::wait_node* const n = claim_locked()) wake.add(*n, sched::verdict::done);
  }
  wake.deliver();
}

sched::wait_node* condition_variable::claim_locked() noexcept {
  while (sched::wait_node* const n = queue_.front()) {
    if (queue_.claim(*n)) return n;
    presence found = presence::in;
    auto& where = static_cast<place*>(n)->where;
    if (where.compare_exchange_strong(found, presence::out, std::memory_order_acq_rel)) continue;  // n may be gone
    // Its owner is about to come for guard_, and counts on us being here. It does not suspend before it has it.
    queue_.push_front(*n);
    const std::uint32_t before = left_.load(std::memory_order_relaxed);
    guard_.unlock();
    sched::await(left_, std::memory_order_acquire, [before](std::uint32_t now) { return now != before; });
    guard_.lock();
  }
  return nullptr;
}

void condition_variable::leave(place& p) noexcept {
  if (p.where.exchange(presence::leaving, std::memory_order_acq_rel) == presence::out) return;
  const std::lock_guard guard(guard_);
  queue_.leave(p);
  left_.store(left_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

condition_variable::turn::turn(condition_variable& c) noexcept : condition_(c) {
  place_.of = &waiting_;
  const std::lock_guard guard(c.guard_);
  c.queue_.push(place_);
}

bool condition_variable::turn::wait() noexcept {
  constexpr auto nothing_locked = [](void*) noexcept {};
  const sched::verdict v = waiting_.wait(nothing_locked, nullptr, {sched::wait_reason::condition, &condition_});
  stage_ = v == sched::verdict::canceled ? stage::canceled : stage::notified;
  return stage_ == stage::notified;
}

// Nobody else knows of the place once it was notified, and the condition may have gone.
condition_variable::turn::~turn() {
  if (stage_ == stage::notified) return;
  // Letting go of the lock has thrown: if somebody was notified who never waited, another is.
  const bool pass_on = stage_ == stage::entered && !waiting_.abandon();
  condition_.leave(place_);
  if (pass_on) condition_.notify_one();
}

void condition_variable::fail() { throw_canceled("wait for condition"); }

}  // namespace weft::inline v0
