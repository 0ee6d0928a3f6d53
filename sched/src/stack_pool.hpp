// stack_pool: the free stacks of one size, and the slabs that they come from.
#pragma once

#include "stack_slab.hpp"

#include <weft/sched/spin_lock.hpp>

#include <atomic>
#include <cstddef>
#include <memory>

namespace weft::inline v0::sched {

// stack_pool hands out stacks, by their control blocks. Thread-safe. Processors keep a few of their own in front of it
// (stack_cache). Warm stacks (used, pages still committed) go out first; those that are not needed go back to their slabs, and
// their memory to the system.
class stack_pool {
 public:
  stack_pool(scheduler& home, std::size_t stack_size, guard_kind strongest) noexcept;
  stack_pool(const stack_pool&) = delete;
  stack_pool& operator=(const stack_pool&) = delete;

  // take returns up to `wanted` stacks linked by fiber::link, at least one unless there is no memory for it (null).
  fiber* take(std::size_t wanted) noexcept;

  // give takes back a chain of stacks linked by fiber::link.
  void give(fiber* first, fiber* last, std::size_t count) noexcept;

  // The way of surplus memory back to the system, in the hands of one caller (stack_trim). A span is the time between two calls
  // of begin_span; of the warm stacks that nobody took during the last one, those beyond `keep` are surplus. False: neither is
  // there any, nor can the next span have any if nobody gives one back.
  bool begin_span(std::size_t keep) noexcept;
  // set_aside takes at most `most` of the surplus out of use, and returns how many are left.
  std::size_t set_aside(std::size_t most) noexcept;
  bool any_aside() const noexcept { return aside_ != nullptr; }
  // give_back returns their memory, but for those whose alarm is in a heap still: these become warm again. Returns how many.
  // REQUIRES: nobody holds the address of one that was set aside.
  std::size_t give_back() noexcept;

  template <class Visit>
  void for_each_in_use(Visit&& visit) noexcept {
    for (stack_slab* s = newest_.load(std::memory_order_acquire); s != nullptr; s = s->older.get()) {
      s->for_each_in_use(visit);
    }
  }

  // fiber_on returns the fiber in use whose stack the address lies on, if it is one of these. Any thread.
  fiber* fiber_on(const std::byte* address) noexcept {
    for (stack_slab* s = newest_.load(std::memory_order_acquire); s != nullptr; s = s->older.get()) {
      if (fiber* const f = s->fiber_on(address)) return f;
    }
    return nullptr;
  }

  struct figures {
    std::size_t stacks = 0;  // the most that there ever were
    std::size_t bytes = 0;   // of address space
    std::size_t free = 0;    // in the pool
    std::size_t warm = 0;    // of these, with memory
  };
  figures count() const noexcept;

  std::size_t usable() const noexcept { return layout_.usable; }

  // The scheduler's list of pools, one for each stack size that was asked for. Constant once the pool is published.
  stack_pool* next = nullptr;

 private:
  friend struct debugger_access;

  fiber* carve_locked() noexcept;
  fiber* built_locked(fiber* f) noexcept;
  void list_locked(stack_slab& slab) noexcept;
  void unlist_locked(stack_slab& slab) noexcept;

  scheduler& home_;
  const stack_layout layout_;
  const guard_kind strongest_;

  mutable spin_lock lock_;
  // Guarded by lock_; the slabs can be walked without.
  fiber* warm_ = nullptr;
  std::size_t warm_count_ = 0;
  std::size_t fewest_warm_ = 0;  // since the span began
  std::size_t surplus_ = 0;
  std::size_t aside_count_ = 0;
  std::size_t built_ = 0;  // stacks with a control block, here or elsewhere
  std::size_t most_built_ = 0;
  stack_slab* roomy_ = nullptr;  // slabs that may have a slot to carve
  std::size_t next_capacity_ = 16;
  std::unique_ptr<stack_slab> slabs_;
  std::atomic<stack_slab*> newest_{nullptr};

  // Of whoever trims.
  fiber* aside_ = nullptr;
};

// stack_cache is a processor's own stock, so that spawning and ending take no lock. Owned by whoever owns the processor.
class stack_cache {
 public:
  fiber* take(stack_pool& pool) noexcept {
    if (first_ == nullptr) {
      first_ = pool.take(batch);
      for (fiber* f = first_; f != nullptr; f = f->link) ++count_;
      if (first_ == nullptr) return nullptr;
    }
    fiber* f = first_;
    first_ = f->link;
    --count_;
    return f;
  }
  void give(fiber* f) noexcept {
    f->link = first_;
    first_ = f;
    if (++count_ >= 2 * batch) spill(batch);
  }
  // spill gives the `n` oldest to the pool.
  void spill(std::size_t n) noexcept;
  std::size_t count() const noexcept { return count_; }

  static constexpr std::size_t batch = 32;  // a guess: a burst of accepts of that size costs one lock

 private:
  fiber* first_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace weft::inline v0::sched
