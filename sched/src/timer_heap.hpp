// timer_heap: the timers of one processor.
#pragma once

#include <weft/sched/atomic.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/timer.hpp>

#include <atomic>
#include <cstddef>
#include <vector>

namespace weft::inline v0::sched {

// timer_heap is a 4-ary heap of timers by time. Thread-safe: the owner of the processor fires, anybody arms.
//
// Lazy repair: stopping a timer, or moving it later, only changes its due word. Its position, which is never later than its due
// time, is put right when it reaches the top; when a quarter of the heap is stopped timers, all of them are purged.
class timer_heap {
 public:
  timer_heap() noexcept = default;
  ~timer_heap() { abandon(); }
  timer_heap(const timer_heap&) = delete;
  timer_heap& operator=(const timer_heap&) = delete;

  // insert puts t, which is in no heap, here. False without memory.
  [[nodiscard]] bool insert(timer& t, nanotime when, timer::callback call, void* object,
                            std::uint32_t sequence) noexcept;

  // move re-arms t, which was seen in this heap. False if it has left meanwhile.
  [[nodiscard]] bool move(timer& t, nanotime when, timer::callback call, void* object, std::uint32_t sequence) noexcept;

  // run_due calls back whatever is due at `at`; returns how many. No lock is held during a callback.
  std::size_t run_due(nanotime at) noexcept;

  // next is when the earliest position is due; `never` if the heap is empty. Any thread.
  // Orderings  store in publish (seq_cst), then load of the poller's wake time || poller: store wake time, then load next
  nanotime next(std::memory_order order = std::memory_order_relaxed) const noexcept { return next_.load(order); }

  // purge takes the stopped timers out, so that `next` tells of those alone that may fire.
  void purge() noexcept;

  // abandon forgets every timer; none of them fires. For the end of the scheduler, before the timers' memory goes.
  void abandon() noexcept;

  // stopped counts a timer that was stopped and left in the heap.
  void count_stopped() noexcept { stopped_.fetch_add(1, std::memory_order_relaxed); }

 private:
  static constexpr std::size_t arity = 4;

  void place_locked(std::size_t i, timer* t) noexcept;
  void sift_up_locked(std::size_t i) noexcept;
  void sift_down_locked(std::size_t i) noexcept;
  void remove_locked(std::size_t i) noexcept;
  void purge_locked() noexcept;
  void publish_locked() noexcept;

  spin_lock lock_;
  std::vector<timer*> heap_;  // guarded by lock_
  atomic<nanotime> next_{never};
  atomic<std::size_t> stopped_{0};
};

}  // namespace weft::inline v0::sched
