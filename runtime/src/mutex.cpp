#include <weft/mutex.hpp>

#include "io_error.hpp"

#include <weft/fiber.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/park.hpp>

namespace weft::inline v0 {

struct mutex::node : sched::lone_node {
  bool passed_over = false;  // was woken before, and somebody else was quicker
};

bool mutex::try_lock() noexcept {
  std::uint32_t word = word_.load(std::memory_order_relaxed);
  while ((word & locked) == 0) {
    if (word_.compare_exchange_weak(word, word | locked, std::memory_order_acquire, std::memory_order_relaxed)) {
      note_holder();
      return true;
    }
  }
  return false;
}

void mutex::lock_contended() {
  if (!lock_slow()) throw_canceled("lock");
}

bool mutex::lock_until(sched::nanotime until) {
  if (try_lock()) return true;
  bool held = false;
  bool passed = false;
  {
    const sched::deadline_link link(until);
    held = lock_slow();
    passed = link.passed();
  }
  if (!held && (!passed || sched::link_fired())) throw_canceled("lock");
  if (held) note_holder();
  return held;
}

bool mutex::lock_slow() noexcept {
  for (bool was_woken = false;;) {
    guard_.lock();
    const std::uint32_t mine = was_woken ? woken : 0;
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    // Weak exchanges that fail look again; what happens to waiters and woken is decided here, since we hold guard_.
    for (;;) {
      if ((word & locked) == 0) {
        if (word_.compare_exchange_weak(word, (word | locked) & ~mine, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
          guard_.unlock();
          return true;
        }
      } else if (word_.compare_exchange_weak(word, (word | waiters) & ~mine, std::memory_order_relaxed,
                                             std::memory_order_relaxed)) {
        break;  // relaxed: the holder's unlock sees the bit, and takes guard_ to see the queue
      }
    }

    node self;
    self.passed_over = was_woken;
    if (was_woken) {
      queue_.push_front(self);
    } else {
      queue_.push(self);
    }
    switch (sched::wait_in(queue_, self, guard_, {sched::wait_reason::mutex, this}, sched::ended_by::links)) {
      case sched::verdict::done:
        return true;
      case sched::verdict::again:
        was_woken = true;
        break;
      default:
        was_woken = false;
        guard_.lock();
        if (queue_.empty()) word_.fetch_and(~waiters, std::memory_order_relaxed);  // I1
        guard_.unlock();
        if (sched::link_fired()) return false;
    }
  }
}

void mutex::unlock_slow() noexcept {
  std::uint32_t word;
  for (;;) {
    guard_.lock();
    word = word_.load(std::memory_order_relaxed);
    if ((word & locked) == 0) sched::fatal("unlock of a mutex that is not locked (word %u)", word);
    if ((word & (waiters | woken)) != 0) break;  // somebody inside lock() needs guard_ yet: it outlives our use
    // Whoever waited has given up. Without a waiter, giving the lock up has to be the last access: the next one to hold
    // the mutex may destroy it.
    guard_.unlock();
    std::uint32_t expected = locked;
    if (word_.compare_exchange_strong(expected, 0, std::memory_order_release, std::memory_order_relaxed)) return;
  }
  // The word cannot change now: locked is ours, and the other bits belong to guard_. Only failed attempts touch it.
  auto* const first = (word & woken) != 0 ? nullptr : static_cast<node*>(queue_.claim());
  const std::uint32_t rest = queue_.empty() ? 0 : waiters;
  sched::wake_list wake;
  if (first == nullptr) {
    word_.store((word & woken) | rest, std::memory_order_release);
  } else if (first->passed_over) {
    wake.add(*first, sched::verdict::done);
    word_.store(locked | rest, std::memory_order_release);
  } else {
    wake.add(*first, sched::verdict::again);
    word_.store(woken | rest, std::memory_order_release);
  }
  guard_.unlock();
  wake.deliver();
}

const void* detail::holder_of(const mutex& m) noexcept {
  if ((m.word_.load(std::memory_order_relaxed) & mutex::locked) == 0) return nullptr;
  return m.holder_.load(std::memory_order_relaxed);
}

std::uintptr_t detail::current_owner() noexcept {
  // Ids of fibers have the lowest bit set here, addresses don't.
  const std::uint64_t id = this_fiber::get_id();
  if (id != 0) return static_cast<std::uintptr_t>(2 * id + 1);
  return reinterpret_cast<std::uintptr_t>(sched::current_waiter().as_thread());
}

void detail::fatal_unlock_by_stranger() noexcept {
  sched::fatal("unlock of a recursive mutex by somebody who does not hold it");
}

}  // namespace weft::inline v0
