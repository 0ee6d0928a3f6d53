#include <weft/mutex.hpp>

#include <weft/sched/fatal.hpp>

namespace weft::inline v0 {

struct mutex::node {
  enum class state : std::uint8_t { waiting, woken, granted };

  sched::waiter who;
  node* next = nullptr;
  state now = state::waiting;
  bool passed_over = false;  // was woken before, and somebody else was quicker
};

bool mutex::try_lock() noexcept {
  std::uint32_t word = word_.load(std::memory_order_relaxed);
  while ((word & locked) == 0) {
    if (word_.compare_exchange_weak(word, word | locked, std::memory_order_acquire, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void mutex::lock_slow() noexcept {
  // The node can be found once guard_ is unlocked, so that is the commit.
  const sched::commit publish{[](sched::waiter, void* guard, std::uintptr_t) noexcept {
                                static_cast<sched::spin_lock*>(guard)->unlock();
                                return true;
                              },
                              &guard_};
  node self;
  guard_.lock();
  for (;;) {
    const std::uint32_t mine = self.now == node::state::woken ? woken : 0;
    std::uint32_t word = word_.load(std::memory_order_relaxed);
    // Weak exchanges that fail look again; what happens to waiters and woken is decided here, since we hold guard_.
    for (;;) {
      if ((word & locked) == 0) {
        if (word_.compare_exchange_weak(word, (word | locked) & ~mine, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
          guard_.unlock();
          return;
        }
      } else if (word_.compare_exchange_weak(word, (word | waiters) & ~mine, std::memory_order_relaxed,
                                             std::memory_order_relaxed)) {
        break;  // relaxed: the holder's unlock sees the bit, and takes guard_ to see the list
      }
    }

    self.passed_over = self.now == node::state::woken;
    self.now = node::state::waiting;
    self.next = nullptr;
    if (self.passed_over) {
      self.next = head_;
      head_ = &self;
      if (tail_ == nullptr) tail_ = &self;
    } else {
      if (tail_ != nullptr) {
        tail_->next = &self;
      } else {
        head_ = &self;
      }
      tail_ = &self;
    }

    do {
      self.who = sched::current_waiter();
      sched::park(publish, sched::wait_reason::mutex);
      guard_.lock();  // O2
    } while (self.now == node::state::waiting);
    if (self.now == node::state::granted) {
      guard_.unlock();
      return;
    }
  }
}

void mutex::unlock_slow() noexcept {
  guard_.lock();
  const std::uint32_t word = word_.load(std::memory_order_relaxed);
  if ((word & locked) == 0) sched::fatal("unlock of a mutex that is not locked (word %u)", word);
  // The word cannot change now: locked is ours, and the other bits belong to guard_. Only failed attempts touch it.
  node* const first = head_;
  if (first == nullptr || (word & woken) != 0) {
    word_.store(word & ~locked, std::memory_order_release);
    guard_.unlock();
    return;
  }
  head_ = first->next;
  if (head_ == nullptr) tail_ = nullptr;
  const std::uint32_t rest = head_ != nullptr ? waiters : 0;
  const sched::waiter who = first->who;
  if (first->passed_over) {
    first->now = node::state::granted;
    word_.store(locked | rest, std::memory_order_relaxed);  // a grant is ordered by guard_
  } else {
    first->now = node::state::woken;
    word_.store(woken | rest, std::memory_order_release);
  }
  guard_.unlock();
  sched::ready(who);
}

}  // namespace weft::inline v0
