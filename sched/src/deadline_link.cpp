#include <weft/sched/deadline_link.hpp>

#include "alarm_pool.hpp"
#include "scheduler.hpp"

#include <weft/sched/fatal.hpp>

#include <sched.h>

namespace weft::inline v0::sched {

void deadline_link::ring(void* object, std::uint32_t) noexcept {
  auto* const a = static_cast<alarm*>(object);
  static_cast<deadline_link*>(a->link)->fire();
  a->rung.store(true, std::memory_order_release);  // O1; from here on, the link may be gone
}

deadline_link::deadline_link(nanotime when) noexcept : deadline_link(when, current_scheduler()) {}

deadline_link::deadline_link(nanotime when, scheduler* timers) noexcept {
  if (when == never) return;
  attach();
  if (when <= now()) {
    fire();
    return;
  }
  if (timers == nullptr) fatal("a deadline_link without a scheduler");
  alarm_ = timers->alarms.take();
  if (alarm_ != nullptr) {
    alarm_->home = timers;
    alarm_->link = this;
    alarm_->rung.store(false, std::memory_order_relaxed);  // ordered by the timer's O1
  }
  if (alarm_ == nullptr || !alarm_->clock.arm(*timers, when, ring, alarm_, 0)) fatal("no memory for a deadline's timer");
}

deadline_link::~deadline_link() {
  if (!attached()) return;
  if (alarm_ != nullptr) {
    // A callback that has begun touches this link: wait for it, as withdraw waits for a late cancel. It takes a
    // deadline at this very moment to get here.
    if (!alarm_->clock.stop()) {
      while (!alarm_->rung.load(std::memory_order_acquire)) ::sched_yield();  // O1
    }
    alarm_->home->alarms.give(alarm_);
  }
  detach();
}

}  // namespace weft::inline v0::sched
