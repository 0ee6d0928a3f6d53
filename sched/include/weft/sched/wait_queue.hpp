// wait_queue: who waits for one thing, in line.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/spin_lock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

// wait_node is a wait's place in one queue. On the waiter's stack. Guarded by the queue's lock while it is queued; once
// claimed, it belongs to the claimer until that decides.
struct wait_node {
  wait_node* next = nullptr;
  wait_node* previous = nullptr;
  selection* of = nullptr;  // null: it is a lone_node
  void* element = nullptr;  // of a channel: where it goes to, or comes from
  waiter who;               // claimed: whom to make ready; nobody if it does not sleep yet
  verdict outcome = verdict::pending;
  bool queued = false;
};

// lone_node is the only place of a wait, which is wait_in's (lone_wait in wait_queue.cpp).
struct lone_node : wait_node {
  bool stopped = false;  // guarded by the queue's lock
  atomic<bool> claimed{false};
  atomic<std::uint32_t> stopping{0};
  atomic<verdict> decided{verdict::pending};
};

// wait_queue is first in, first out; leaving it from the middle costs the same.
class wait_queue {
 public:
  constexpr wait_queue() noexcept = default;

  bool empty() const noexcept { return first_ == nullptr; }
  // size counts them.
  std::size_t size() const noexcept {
    std::size_t n = 0;
    for (const wait_node* each = first_; each != nullptr; each = each->next) ++n;
    return n;
  }
  wait_node* front() const noexcept { return first_; }

  void push(wait_node& n) noexcept {
    n.previous = last_;
    n.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &n;
    last_ = &n;
    n.queued = true;
  }
  void push_front(wait_node& n) noexcept {
    n.previous = nullptr;
    n.next = first_;
    (first_ != nullptr ? first_->previous : last_) = &n;
    first_ = &n;
    n.queued = true;
  }
  // leave takes n out if it is queued still.
  void leave(wait_node& n) noexcept {
    if (!n.queued) return;
    (n.previous != nullptr ? n.previous->next : first_) = n.next;
    (n.next != nullptr ? n.next->previous : last_) = n.previous;
    n.queued = false;
  }
  // claim takes n out, and makes the caller its decider unless its wait is over.
  [[nodiscard]] bool claim(wait_node& n) noexcept {
    leave(n);
    if (n.of != nullptr) return n.of->claim(n.who);
    auto& lone = static_cast<lone_node&>(n);
    lone.claimed.store(true, std::memory_order_relaxed);  // O3 of lone_wait
    return !lone.stopped;
  }
  // claim takes out the first whose wait is not over, and makes the caller its decider; null if there is none.
  wait_node* claim() noexcept {
    while (wait_node* const n = first_) {
      if (claim(*n)) return n;
    }
    return nullptr;
  }

 private:
  wait_node* first_ = nullptr;
  wait_node* last_ = nullptr;
};

// wake_list is who has been claimed under a lock, to be told when it has been let go of: a waiter that goes on may end
// what the lock is in.
class wake_list {
 public:
  // add: n has been claimed, with this outcome.
  void add(wait_node& n, verdict outcome) noexcept {
    n.outcome = outcome;
    n.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &n;
    last_ = &n;
  }
  // deliver decides, and makes ready. No lock is held.
  void deliver() noexcept {
    if (first_ == nullptr) return;
    first_ == last_ ? deliver_one(*first_) : deliver_all();
    first_ = last_ = nullptr;
  }

 private:
  WEFT_API static void deliver_one(wait_node& n) noexcept;
  WEFT_API void deliver_all() noexcept;

  wait_node* first_ = nullptr;
  wait_node* last_ = nullptr;
};

// wait_in parks the caller, whose n is in `queue` and in no other, until it is claimed or stopped. `held` is the queue's
// lock, which is unlocked meanwhile and afterwards; n has left the queue then. Neither is touched after a claim has been
// decided, so that both may have ended.
WEFT_API verdict wait_in(wait_queue& queue, lone_node& n, spin_lock& held, wait_target what,
                         ended_by stops = ended_by::any_stop) noexcept;

}  // namespace weft::inline v0::sched
