#include <weft/wait_group.hpp>

#include "io_error.hpp"

#include <weft/sched/fatal.hpp>
#include <weft/sched/park.hpp>

#include <limits>

namespace weft::inline v0 {

namespace {

// changed returns the word with its count changed by n.
std::int64_t changed(std::int64_t word, std::ptrdiff_t n) noexcept {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 4;
  const std::int64_t count = word >> 1;
  if (n > most || n < -most || count + n > most) {
    sched::fatal("wait_group: count out of range (%lld changed by %lld)", static_cast<long long>(count),
                 static_cast<long long>(n));
  }
  if (count + n < 0) {
    sched::fatal("wait_group: negative count (%lld changed by %lld)", static_cast<long long>(count),
                 static_cast<long long>(n));
  }
  return word + 2 * n;
}

}  // namespace

void wait_group::add(std::ptrdiff_t n) noexcept {
  std::int64_t word = word_.load(std::memory_order_relaxed);
  for (;;) {
    const std::int64_t next = changed(word, n);
    if (next != waiting) {
      // Release: O1. Acquire: a done() that empties the queue passes on what earlier ones released.
      if (word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed)) return;
      continue;
    }
    // The last one, and somebody waits. The count isn't given up yet, so the group exists.
    guard_.lock();
    word = word_.load(std::memory_order_relaxed);
    while (changed(word, n) == waiting) {
      if (!word_.compare_exchange_weak(word, 0, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      sched::wake_list wake;
      while (sched::wait_node* const each = queue_.claim()) wake.add(*each, sched::verdict::done);
      guard_.unlock();
      wake.deliver();  // the group may be gone
      return;
    }
    // Not any more: the count has grown, or whoever waited has given up. Without a waiter the exchange has to be the
    // last access (I3), outside the lock.
    guard_.unlock();
  }
}

void wait_group::wait() {
  for (;;) {
    if (word_.load(std::memory_order_acquire) >> 1 == 0) return;  // O1
    guard_.lock();
    std::int64_t word = word_.load(std::memory_order_acquire);
    do {
      if (word >> 1 == 0) {
        guard_.unlock();
        return;
      }
    } while (!word_.compare_exchange_weak(word, word | waiting, std::memory_order_acq_rel, std::memory_order_acquire));
    sched::lone_node self;
    queue_.push(self);
    if (sched::wait_in(queue_, self, guard_, {sched::wait_reason::wait_group, this}, sched::ended_by::links) ==
        sched::verdict::done) {
      return;
    }
    guard_.lock();
    if (queue_.empty()) word_.fetch_and(~waiting, std::memory_order_relaxed);  // I1
    guard_.unlock();
    if (sched::link_fired()) throw_canceled("wait for group");
  }
}

}  // namespace weft::inline v0
