#include <weft/wait_group.hpp>

#include <weft/sched/fatal.hpp>
#include <weft/sched/park.hpp>

#include <limits>

namespace weft::inline v0 {

struct wait_group::node {
  sched::waiter who;
  node* next = nullptr;
  bool released = false;
};

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
    if (next == waiting) break;  // the last one, and somebody waits
    // Release: O1. Acquire: a done() that empties the list passes on what earlier ones released.
    if (word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed)) return;
  }

  // The count isn't given up yet and the list not empty, so the group exists until guard_ is unlocked.
  guard_.lock();
  word = word_.load(std::memory_order_relaxed);
  for (;;) {
    std::int64_t next = changed(word, n);
    const bool last = next == waiting;
    if (last) next = 0;
    if (!word_.compare_exchange_weak(word, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
    if (!last) {
      guard_.unlock();
      return;
    }
    break;
  }
  node* rest = head_;
  head_ = tail_ = nullptr;
  // A node ends as soon as its waiter sees `released`, for which that needs guard_. While nodes are left that are not
  // marked, their waiters are still in wait(), and the group exists.
  for (;;) {
    constexpr std::size_t batch = 32;
    sched::waiter owned[batch];
    std::size_t n_owned = 0;
    for (; rest != nullptr && n_owned < batch; rest = rest->next) {
      owned[n_owned++] = rest->who;
      rest->released = true;
    }
    const bool more = rest != nullptr;
    guard_.unlock();
    for (std::size_t i = 0; i < n_owned; ++i) sched::ready(owned[i]);
    if (!more) return;
    guard_.lock();
  }
}

void wait_group::wait() noexcept {
  if (word_.load(std::memory_order_acquire) >> 1 == 0) return;  // O1
  const sched::commit publish{[](sched::waiter, void* guard, std::uintptr_t) noexcept {
                                static_cast<sched::spin_lock*>(guard)->unlock();
                                return true;
                              },
                              &guard_};
  node self;
  guard_.lock();
  std::int64_t word = word_.load(std::memory_order_acquire);
  do {
    if (word >> 1 == 0) {
      guard_.unlock();
      return;
    }
  } while (!word_.compare_exchange_weak(word, word | waiting, std::memory_order_acq_rel, std::memory_order_acquire));
  if (tail_ != nullptr) {
    tail_->next = &self;
  } else {
    head_ = &self;
  }
  tail_ = &self;
  do {
    self.who = sched::current_waiter();
    sched::park(publish, sched::wait_reason::wait_group);
    guard_.lock();  // O2
  } while (!self.released);
  guard_.unlock();
}

}  // namespace weft::inline v0
