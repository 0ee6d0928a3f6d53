#include <weft/sched/deadline_link.hpp>

#include "alarm_pool.hpp"
#include "current.hpp"
#include "scheduler.hpp"
#include "thread_record.hpp"

#include <weft/sched/fatal.hpp>

#include <algorithm>
#include <utility>

namespace weft::inline v0::sched {

void deadline_link::ring(void* object, std::uint32_t) noexcept {
  auto* const a = static_cast<alarm*>(object);
  static_cast<deadline_link*>(a->link)->fire();
  a->rung.store(true, std::memory_order_release);  // O1; from here on, the link may be gone
}

deadline_link::deadline_link(nanotime when) noexcept : deadline_link(when, current_scheduler()) {}

deadline_link::deadline_link(nanotime when, scheduler* timers, link_origin origin) noexcept {
  if (when == never) return;
  attach(origin);
  if (when <= now()) {
    fire();
    return;
  }
  if (timers == nullptr) {
    thread_ = current_record();
    when_ = when;
    outer_ = std::exchange(thread_->timed, this);
    return;
  }
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
    if (!alarm_->clock.stop()) await(alarm_->rung, std::memory_order_acquire, [](bool rung) { return rung; });  // O1
    alarm_->home->alarms.give(alarm_);
  }
  if (thread_ != nullptr) thread_->timed = outer_;
  detach();
}

nanotime deadline_link::first_due(const thread_record& r) noexcept {
  nanotime first = never;
  for (const deadline_link* l = r.timed; l != nullptr; l = l->outer_) {
    if (!l->fired()) first = std::min(first, l->when_);
  }
  return first;
}

void deadline_link::let_pass(const thread_record& r) noexcept {
  for (deadline_link* l = r.timed; l != nullptr; l = l->outer_) {
    if (!l->fired() && l->when_ <= now()) l->fire();
  }
}

}  // namespace weft::inline v0::sched
