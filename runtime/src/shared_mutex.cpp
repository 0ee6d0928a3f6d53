#include <weft/shared_mutex.hpp>

#include "io_error.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/park.hpp>

#include <mutex>

namespace weft::inline v0 {

struct shared_mutex::node : sched::lone_node {
  kind wanted = kind::alone;
};

bool shared_mutex::take_locked(kind k) noexcept {
  if (writer_ || (k == kind::alone && readers_ != 0)) return false;
  if (k == kind::alone) {
    writer_ = true;
  } else {
    ++readers_;
  }
  return true;
}

// serve_locked gives the mutex to those who are first in the queue: one who wants it alone, or all up to the next of
// those.
void shared_mutex::serve_locked(sched::wake_list& wake) noexcept {
  while (!queue_.empty()) {
    const kind wanted = static_cast<node*>(queue_.front())->wanted;
    if (writer_ || (wanted == kind::alone && readers_ != 0)) return;
    auto* const first = static_cast<node*>(queue_.front());
    if (!queue_.claim(*first)) continue;  // its wait is over; it will look at the queue itself
    static_cast<void>(take_locked(wanted));
    wake.add(*first, sched::verdict::done);
  }
}

bool shared_mutex::lock_slow(kind k) noexcept {
  for (;;) {
    guard_.lock();
    if (queue_.empty() && take_locked(k)) {
      guard_.unlock();
      return true;
    }
    node self;
    self.wanted = k;
    queue_.push(self);
    const sched::verdict v =
        sched::wait_in(queue_, self, guard_, {sched::wait_reason::shared_mutex, this}, sched::ended_by::links);
    if (v == sched::verdict::done) return true;
    // Those behind may have waited for us only.
    sched::wake_list wake;
    guard_.lock();
    serve_locked(wake);
    guard_.unlock();
    wake.deliver();
    if (sched::link_fired()) return false;
  }
}

bool shared_mutex::lock_until(kind k, sched::nanotime until) {
  if (k == kind::alone ? try_lock() : try_lock_shared()) return true;
  bool held = false;
  bool passed = false;
  {
    const sched::deadline_link link(until);
    held = lock_slow(k);
    passed = link.passed();
  }
  if (!held && (!passed || sched::link_fired())) throw_canceled("lock");
  return held;
}

void shared_mutex::lock() {
  if (!lock_slow(kind::alone)) throw_canceled("lock");
}
void shared_mutex::lock_shared() {
  if (!lock_slow(kind::shared)) throw_canceled("lock shared");
}

bool shared_mutex::try_lock() noexcept {
  const std::lock_guard guard(guard_);
  return queue_.empty() && take_locked(kind::alone);
}
bool shared_mutex::try_lock_shared() noexcept {
  const std::lock_guard guard(guard_);
  return queue_.empty() && take_locked(kind::shared);
}

void shared_mutex::unlock() noexcept {
  sched::wake_list wake;
  guard_.lock();
  if (!writer_) sched::fatal("unlock of a shared_mutex that nobody holds alone (%zu share it)", readers_);
  writer_ = false;
  serve_locked(wake);
  guard_.unlock();
  wake.deliver();
}

void shared_mutex::unlock_shared() noexcept {
  sched::wake_list wake;
  guard_.lock();
  if (readers_ == 0) sched::fatal("unlock_shared of a shared_mutex that nobody shares");
  if (--readers_ == 0) serve_locked(wake);
  guard_.unlock();
  wake.deliver();
}

}  // namespace weft::inline v0
