// run_queue: what one processor has to run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

// What a thief may do with the victim's next slot when the ring has nothing for it.
enum class victims_next : bool { leave, take };

// run_queue holds T* in a ring of Capacity (a power of two) and a next slot, for what was just made runnable by whoever
// is running. Owner is the thread that holds the processor; passing the processor on must synchronise (release,
// acquire). Thieves are the owners of other queues. It owns nothing that it points to. No null items.
//
// Ring and next slot
// States     head == tail    ring empty               tail - head == Capacity   ring full
//            tail   set: owner (push, push_batch, as thief in steal_into)
//            head   set: owner (pop, the spill of a full ring), thieves; only forward, by CAS (but see *_unshared)
//            next   null -> item: owner;  item -> item: owner;  item -> null: owner, thieves by CAS
// Ownership  Slots head..tail-1 belong to whoever moves head over them: that CAS is the only licence to touch the
//            items; what was read from the slots before a CAS that failed is worthless. Slots outside belong to the
//            owner. Who takes an item out of next owns it.
// Invariants I1 pushed == popped + stolen + spilled + still inside; nothing leaves twice
//            I2 from head to tail in the order of pushing; a spill and a theft take the oldest, and keep their order
//            I3 empty() is not true while the owner moves an item from next to the ring (put_next, push, take_next in
//               any sequence), since next is never null between: a displacer stands in it until the push is done
//            I4 head and tail never wrap (64 bits), so a CAS that succeeds saw an unchanged ring
// Orderings  O1 release store of tail in push || acquire load of tail by thieves: publishes slot and item
//            O2 release CAS of head by thieves || acquire load of head in push: a slot is written anew only after its
//               reader is done with it; RMWs continue the release sequence, so later CASes publish the earlier ones
//            O3 release in put_next || acquire in the thief's CAS of next: publishes the item
//            O4 release in take_next || acquire load of next in empty(): who sees null there then sees the tail that
//               was pushed before (I3)
//            No seq_cst: no operation here decides by a store followed by a load of another word. Whether a worker may
//            sleep is such a decision; its fence stands with the idle protocol.
// Not here   Waking anybody. An item that was displaced from next, while a thief takes the one that displaced it before
//            the push is seen: empty() may then be true; the owner is awake, and announces the item after its push.
template <class T, std::size_t Capacity = 256, template <class> class Atomic = std::atomic>
class run_queue {
  static_assert(Capacity >= 2 && (Capacity & (Capacity - 1)) == 0);

 public:
  static constexpr std::size_t capacity = Capacity;

  run_queue() = default;
  run_queue(const run_queue&) = delete;
  run_queue& operator=(const run_queue&) = delete;

  // push appends an item. If the ring is full, its oldest half and then `item` go to overflow(T** items, std::size_t n)
  // in one call; the array is gone after it. Owner only.
  template <class Overflow>
  void push(T* item, Overflow&& overflow) noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // ours
    for (;;) {
      std::uint64_t head = head_.load(std::memory_order_acquire);  // O2
      if (tail - head < Capacity) {
        slot(tail).store(item, std::memory_order_relaxed);
        tail_.store(tail + 1, std::memory_order_release);  // O1
        return;
      }
      if (spill(head, item, overflow)) return;
      // A thief made room meanwhile: the next turn pushes.
    }
  }

  // push_batch appends items[0..k) in order, as many as there is room for, and returns k. The rest stays with the
  // caller. Owner only.
  [[nodiscard]] std::size_t push_batch(T* const* items, std::size_t n) noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);                    // ours
    const std::size_t room = Capacity - (tail - head_.load(std::memory_order_acquire));  // O2
    if (n > room) n = room;
    if (n == 0) return 0;
    for (std::size_t i = 0; i < n; ++i) slot(tail + i).store(items[i], std::memory_order_relaxed);
    tail_.store(tail + n, std::memory_order_release);  // O1
    return n;
  }

  // pop takes the oldest item of the ring, or null. Does not look at next. Owner only.
  [[nodiscard]] T* pop() noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);  // ours
    std::uint64_t head = head_.load(std::memory_order_relaxed);        // the slots are our own stores
    while (head != tail) {
      T* item = slot(head).load(std::memory_order_relaxed);
      // O2: release, so that a thief who sees the new head sees our tail too.
      if (head_.compare_exchange_strong(head, head + 1, std::memory_order_release, std::memory_order_relaxed)) {
        return item;
      }
    }
    return nullptr;
  }

  // put_next puts an item into the next slot and returns the one that it displaces, or null; the caller pushes that
  // one. Owner only.
  [[nodiscard]] T* put_next(T* item) noexcept {
    if (next_.load(std::memory_order_relaxed) == nullptr) {
      // Only the owner ends null, so nothing can come between: no locked instruction.
      next_.store(item, std::memory_order_release);  // O3
      return nullptr;
    }
    return next_.exchange(item, std::memory_order_release);  // O3; what it returns is our own store
  }

  // take_next takes what is in the next slot, or null. Owner only.
  [[nodiscard]] T* take_next() noexcept {
    if (next_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return next_.exchange(nullptr, std::memory_order_release);  // O4
  }

  // The same without locked instructions (5 ns each). REQUIRES: no thief, from the last theft (which happened before
  // this) until the next one (which this happens before); as with a single processor. empty() and size() of other
  // threads are no thefts.
  [[nodiscard]] T* pop_unshared() noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
    T* item = slot(head).load(std::memory_order_relaxed);
    head_.store(head + 1, std::memory_order_release);  // whoever sees it in empty() sees our tail
    return item;
  }
  [[nodiscard]] T* put_next_unshared(T* item) noexcept {
    T* displaced = next_.load(std::memory_order_relaxed);
    next_.store(item, std::memory_order_release);  // O3
    return displaced;
  }
  [[nodiscard]] T* take_next_unshared() noexcept {
    T* item = next_.load(std::memory_order_relaxed);
    if (item != nullptr) next_.store(nullptr, std::memory_order_release);  // O4
    return item;
  }

  // peek returns what is popped after i others, or null. A hint: a thief may have it by now. Owner only.
  [[nodiscard]] T* peek(std::uint64_t i) const noexcept {
    const std::uint64_t at = head_.load(std::memory_order_relaxed) + i;
    if (static_cast<std::int64_t>(tail_.load(std::memory_order_relaxed) - at) <= 0) return nullptr;
    return ring_[at & (Capacity - 1)].load(std::memory_order_relaxed);
  }

  // steal_into takes the older half of this ring, rounded up: the oldest is returned for the caller to run, the rest is
  // appended to `thief` in order (less than half if that has no room). If the ring is empty and `mode` allows it, takes
  // the next slot's item instead. Null if there was nothing. Called by the owner of `thief`, which is another queue.
  [[nodiscard]] T* steal_into(run_queue& thief, victims_next mode) noexcept {
    const std::uint64_t own_tail = thief.tail_.load(std::memory_order_relaxed);                    // the caller's own
    const std::size_t room = Capacity - (own_tail - thief.head_.load(std::memory_order_acquire));  // O2
    for (;;) {
      std::uint64_t head = head_.load(std::memory_order_acquire);  // O2: tail, loaded next, is then no older than head
      const std::uint64_t tail = tail_.load(std::memory_order_acquire);  // O1
      std::size_t n = tail - head;
      n -= n / 2;
      if (n == 0) {
        T* item = mode == victims_next::take ? next_.load(std::memory_order_relaxed) : nullptr;
        if (item == nullptr) return nullptr;
        // O3. That the same item may have gone and come back does no harm: it is there, and this takes it.
        if (next_.compare_exchange_strong(item, nullptr, std::memory_order_acquire, std::memory_order_relaxed)) {
          return item;
        }
        continue;
      }
      if (n > room + 1) n = room + 1;  // also if head fell behind between the two loads: then the CAS fails
      T* oldest = slot(head).load(std::memory_order_relaxed);
      for (std::size_t i = 1; i < n; ++i) {  // behind the thief's tail, where nobody else looks
        thief.slot(own_tail + i - 1).store(slot(head + i).load(std::memory_order_relaxed), std::memory_order_relaxed);
      }
      // O2: the owner reuses the slots once it sees this, and not before we have read them.
      if (head_.compare_exchange_strong(head, head + n, std::memory_order_release, std::memory_order_relaxed)) {
        if (n > 1) thief.tail_.store(own_tail + n - 1, std::memory_order_release);  // O1
        return oldest;
      }
    }
  }

  // empty tells whether there was nothing to run at some moment during the call (I3). Any thread.
  [[nodiscard]] bool empty() const noexcept {
    for (;;) {
      const std::uint64_t head = head_.load(std::memory_order_acquire);  // tail is then no older than head
      const std::uint64_t tail = tail_.load(std::memory_order_acquire);
      const bool none = next_.load(std::memory_order_acquire) == nullptr;  // O4
      // Ring empty, then next empty: in between, an item may have gone from the one to the other; tail would tell.
      if (tail == tail_.load(std::memory_order_relaxed)) return head == tail && none;
    }
  }

  // size counts what is inside; a guess while others work on it, never above Capacity + 1. Any thread.
  [[nodiscard]] std::size_t size() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_acquire);
    std::size_t n = tail_.load(std::memory_order_relaxed) - head;
    if (n > Capacity) n = Capacity;  // head was left behind
    return n + (next_.load(std::memory_order_relaxed) != nullptr ? 1 : 0);
  }

 private:
  // Not inlined: its array is large, and each push would touch as much of the stack that it runs on.
  template <class Overflow>
  [[gnu::noinline, gnu::cold]] bool spill(std::uint64_t head, T* item, Overflow& overflow) noexcept {
    T* batch[Capacity / 2 + 1];
    for (std::size_t i = 0; i < Capacity / 2; ++i) batch[i] = slot(head + i).load(std::memory_order_relaxed);
    if (!head_.compare_exchange_strong(head, head + Capacity / 2, std::memory_order_release, std::memory_order_relaxed)) {
      return false;
    }
    batch[Capacity / 2] = item;
    overflow(static_cast<T**>(batch), Capacity / 2 + 1);
    return true;
  }

  Atomic<T*>& slot(std::uint64_t i) noexcept { return ring_[i & (Capacity - 1)]; }

  // One line for the three words: a searcher that looks at a queue moves one line, not three.
  alignas(64) Atomic<std::uint64_t> head_{0};
  Atomic<std::uint64_t> tail_{0};
  Atomic<T*> next_{nullptr};
  alignas(64) Atomic<T*> ring_[Capacity] = {};
};

}  // namespace weft::inline v0::sched
