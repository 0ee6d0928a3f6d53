// wait_queue: who waits at one side of a channel. Included by channel.hpp.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/spin_lock.hpp>

#include <cstddef>

namespace weft::inline v0::detail {

// wait_node is a selection's place in one queue. On the waiter's stack; in its channel's lock while it is queued.
struct wait_node {
  wait_node* next = nullptr;
  wait_node* previous = nullptr;
  sched::selection* of = nullptr;
  void* element = nullptr;  // where it goes to, or comes from
  bool queued = false;
};

// wait_queue is first in, first out; leaving it from the middle costs the same. Guarded by its channel's lock.
class wait_queue {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  // size counts them.
  std::size_t size() const noexcept {
    std::size_t n = 0;
    for (const wait_node* each = first_; each != nullptr; each = each->next) ++n;
    return n;
  }

  void push(wait_node& n) noexcept {
    n.previous = last_;
    n.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &n;
    last_ = &n;
    n.queued = true;
  }
  // leave takes n out if it is queued still.
  void leave(wait_node& n) noexcept {
    if (!n.queued) return;
    (n.previous != nullptr ? n.previous->next : first_) = n.next;
    (n.next != nullptr ? n.next->previous : last_) = n.previous;
    n.queued = false;
  }
  // claim takes out the first whose wait is not over, and makes the caller its decider; null if there is none.
  wait_node* claim(sched::waiter& who) noexcept {
    while (wait_node* const n = first_) {
      leave(*n);
      who = n->of->claim();
      if (who) return n;
    }
    return nullptr;
  }

 private:
  wait_node* first_ = nullptr;
  wait_node* last_ = nullptr;
};

// channel_base is what a channel is apart from its elements. Shared by its handles, and by whoever waits at it.
class channel_base {
 public:
  channel_base(const channel_base&) = delete;
  channel_base& operator=(const channel_base&) = delete;

  void refer() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  // let_go is true for the last reference, whose owner destroys the channel.
  [[nodiscard]] bool let_go() noexcept { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  // shut marks the channel closed and wakes all who wait; false if it was closed before.
  WEFT_API bool shut() noexcept;

  // wait parks the caller, who has entered `queue` with n and holds the lock, which is unlocked; n has left the queue
  // afterwards.
  WEFT_API sched::verdict wait(wait_queue& queue, wait_node& n, sched::wait_reason why) noexcept;

  sched::spin_lock lock;
  wait_queue senders;    // guarded by lock
  wait_queue receivers;  // guarded by lock
  bool closed = false;   // guarded by lock

 protected:
  channel_base() noexcept = default;
  ~channel_base() = default;

 private:
  std::atomic<std::size_t> references_{1};
};

// wait_for_a_stop is the wait at a channel that is null. Returns when a stop of the caller stands.
WEFT_API void wait_for_a_stop(sched::wait_reason why) noexcept;

// Throws what a channel's operation failed with: errc::closed, a stop, or a null channel's std::errc::invalid_argument.
[[noreturn]] WEFT_API void throw_channel_failure(const char* operation, sched::verdict v);
[[noreturn]] WEFT_API void throw_null_channel(const char* operation);
[[noreturn]] WEFT_API void throw_channel_too_large(std::size_t capacity);

}  // namespace weft::inline v0::detail
