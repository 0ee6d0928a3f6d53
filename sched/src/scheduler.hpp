// scheduler: the processors, the workers, and what they share.
#pragma once

#include "alarm_pool.hpp"
#include "dice.hpp"
#include "idle.hpp"
#include "processor.hpp"
#include "registry_readers.hpp"
#include "stack_marks.hpp"
#include "stack_pool.hpp"
#include "timer_heap.hpp"
#include "worker.hpp"

#include <weft/sched/atomic.hpp>
#include <weft/sched/netpoller.hpp>
#include <weft/sched/scheduler.hpp>
#include <weft/sched/spin_lock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace weft::inline v0::sched {

// fiber_list is a FIFO of fibers linked through their control blocks. Not thread-safe.
class fiber_list {
 public:
  void push(fiber* f) noexcept {
    f->link = nullptr;
    (last_ == nullptr ? first_ : last_->link) = f;
    last_ = f;
    ++size_;
  }
  fiber* pop() noexcept {
    fiber* f = first_;
    if (f == nullptr) return nullptr;
    first_ = f->link;
    if (first_ == nullptr) last_ = nullptr;
    --size_;
    return f;
  }
  // pop_at takes the one with i others before it, which exists.
  fiber* pop_at(std::size_t i) noexcept {
    if (i == 0) return pop();
    fiber* before = first_;
    while (--i != 0) before = before->link;
    fiber* f = before->link;
    before->link = f->link;
    if (f == last_) last_ = before;
    --size_;
    return f;
  }
  const fiber* first() const noexcept { return first_; }
  std::size_t size() const noexcept { return size_; }

 private:
  fiber* first_ = nullptr;
  fiber* last_ = nullptr;
  std::size_t size_ = 0;
};

// global_queue is a FIFO of runnable fibers that belong to no processor. Thread-safe.
class global_queue {
 public:
  void push(fiber* f) noexcept;
  void push(fiber* const* items, std::size_t n) noexcept;
  fiber* pop() noexcept;
  // pop_batch moves up to n fibers to `into` (which has room for them) and returns how many.
  std::size_t pop_batch(fiber** into, std::size_t n) noexcept;
  // pop_shuffled takes one of the first few by chance, passing over those that the given worker, if any, ran last. Null: there
  // is none.
  fiber* pop_shuffled(dice& chance, const worker* not_of) noexcept;
  // size may be stale; seq_cst, for the re-check before sleep.
  std::size_t size() const noexcept { return size_.load(std::memory_order_seq_cst); }

 private:
  spin_lock lock_;
  fiber_list fibers_;  // guarded by lock_
  std::atomic<std::size_t> size_{0};
};

// What the fibers of a scheduler, of which nothing runs, can hope for.
enum class outlook : std::uint8_t {
  open,     // something will run again, or none is left
  threads,  // for a thread of the process that is none of ours, if for anything
  none,     // nothing that this process does can make one runnable again
};

// scheduler is one engine: everything that its fibers and workers share. Several may live in a process.
//
// Order of locks: a descriptor's lock, then mutex_, then a timer heap's lock, the global queue's, a stack pool's, the alarm
// pool's; of the last four none is taken under another. Nothing suspends under any.
class scheduler {
 public:
  scheduler(const scheduler_options& wanted, netpoller& p) noexcept;
  ~scheduler();
  scheduler(const scheduler&) = delete;
  scheduler& operator=(const scheduler&) = delete;

  // start makes processors, the first worker and the monitor; an errno value, or 0.
  int start() noexcept;

  // shut_down ends and joins the threads; what is left are the stacks.
  void shut_down() noexcept;

  // --- runnable work (scheduler_wake.cpp)

  // make_runnable queues f in the ring of p, which is the caller's, or, without one, in the global queue; and wakes whoever is
  // needed.
  void make_runnable(fiber* f, processor* p) noexcept;
  // hand_over lets f run next where the caller is, if that is a fiber of ours; else it is make_runnable.
  void hand_over(fiber* f) noexcept;
  // ready_time is what fiber::since becomes when the caller, whose processor that is, makes a fiber runnable.
  nanotime ready_time(processor* p) noexcept;
  // push_tail and push_next queue without waking; p is the caller's.
  void push_tail(processor* p, fiber* f) noexcept;
  void push_next(processor* p, fiber* f) noexcept;
  // wake_for_work is called after work was published: it wakes a worker, if one is needed and can be had.
  void wake_for_work() noexcept {
    if (idle.claim_wake()) wake_worker();
  }
  // wake_worker wakes a worker to search. REQUIRES: idle.claim_wake() returned true to the caller.
  void wake_worker() noexcept;
  // inject hands out what a poll found, oldest first. p: the caller's processor, or null.
  void inject(processor* p, ready_list& list) noexcept;
  // timer_armed is called after a timer was put into a heap: the poller must not sleep past it.
  void timer_armed(nanotime when) noexcept;

  // --- processors and sleep

  // release_processor makes w's idle. acquire_processor gives w one that nobody uses; false if there is none.
  void release_processor(worker* w) noexcept;
  bool acquire_processor(worker* w) noexcept;
  // work_anywhere is the re-check after a processor was released or lent (O1 of idle_protocol). Timers are the poller's,
  // who looks at every heap.
  bool work_anywhere() const noexcept;
  // sleep_or_poll is the end of a fruitless search, w without a processor: it polls if nobody does, else sleeps.
  // False: the scheduler ends.
  bool sleep_or_poll(worker* w) noexcept;
  // earliest is when the first timer of any heap is due.
  nanotime earliest() const noexcept;

  std::uint64_t live() const noexcept;
  template <class Visit>
  void for_each_pool(Visit&& visit) noexcept {
    for (stack_pool* pool = pools_.load(std::memory_order_acquire); pool != nullptr; pool = pool->next) visit(*pool);
  }
  template <class Visit>
  void for_each_fiber(Visit&& visit) noexcept {
    const registry_readers::reading now(readers);
    for_each_pool([&](stack_pool& pool) { pool.for_each_in_use(visit); });
  }
  // fiber_on returns the fiber in use whose stack the address lies on, if there is one. REQUIRES: the caller is reading.
  fiber* fiber_on(const std::byte* address) noexcept {
    for (stack_pool* pool = pools_.load(std::memory_order_acquire); pool != nullptr; pool = pool->next) {
      if (fiber* const f = pool->fiber_on(address)) return f;
    }
    return nullptr;
  }
  // pool_for finds or makes the pool of a stack size (0: the default); null without memory.
  stack_pool* pool_for(std::size_t stack_size) noexcept;

  // --- Constant after start.
  const scheduler_options options;
  netpoller& poller;
  std::vector<std::unique_ptr<processor>> processors;

  idle_protocol<> idle;
  global_queue global;
  alarm_pool alarms;         // freed with the scheduler, after shut_down has emptied the heaps
  timer_heap shared_timers;  // of plain threads and blocking regions
  stack_pool* stacks = nullptr;  // of the default size

  // Of whoever goes through the fibers.
  registry_readers readers;

  // The visitors count
  // States     threads that are not running a fiber of ours, between making one runnable and being through with us
  // Invariants I1 that fiber may run, end, and be the last: the scheduler is freed only when there are none
  // Orderings  O1 raised before the fiber is pushed, under the global queue's lock: whoever knows that it has ended sees
  //               it. Lowered with release, read with acquire by whoever frees.
  // Not here   our own workers, which are joined
  std::atomic<std::uint32_t> visitors{0};

  // The sleep in the poller
  // poller_asleep  somebody is in a netpoll with a delay, or about to be
  // poll_until     when that netpoll will end by itself; `never` while nobody polls or it has no end
  // Orderings      poller: store both, then load every heap's next || arming: store next, then load both
  //                Store-load on both sides, so seq_cst: one sees the other, and the poll is shortened or broken.
  std::atomic<bool> poller_asleep{false};
  std::atomic<nanotime> poll_until{never};
  std::atomic<bool> polling_at_once{false};  // one zero-delay poll at a time is enough

  std::atomic<nanotime> clock{0};        // a recent time: decides that something may be due, never more
  atomic<bool> stop_everything{false};
  std::atomic<bool> ending{false};       // the workers shall leave

  // Fibers spawned from outside, and counters that several threads write.
  std::atomic<std::uint64_t> spawned_outside{0};
  std::atomic<std::uint64_t> wakes{0};

  // --- Blocking regions (blocking.cpp)
  spin_lock blocking_lock;
  std::atomic<unsigned> blocking_count{0};  // written under blocking_lock
  fiber_list blocking_queue;                // fibers that wait for their turn to block; guarded by blocking_lock

  // --- Monitor (monitor.cpp)
  pthread_t monitor_thread{};
  bool monitor_started = false;
  // 0: ticking | 1: asleep. The monitor stores 1, then looks once more whether anything runs; who leaves an idle spell marks
  // its processor as used, then loads the word (seq_cst on both sides).
  std::atomic<std::uint32_t> monitor_asleep{0};
  std::atomic<std::uint32_t> monitor_ends{0};  // futex: ends a tick early, at the end
  void monitor_main() noexcept;
  void wake_monitor() noexcept;
  std::atomic<bool> report_asked{false};
  // report_hogs reports a fiber that has run for too long; `at` is now.
  void report_hogs(nanotime at, nanotime tick_before) noexcept;
  nanotime no_hogs_until = 0;  // of the monitor

  // --- Standstill (standstill.cpp)
  // look_ahead tells what the fibers can hope for. Called by the monitor on its way to sleep, monitor_asleep being 1; it is
  // woken from then on when a thread of which something is known may have been the last hope.
  outlook look_ahead() noexcept;

  std::unique_ptr<stack_mark_table> stack_marks;  // constant; null: nobody wants to know

  // One look at all fibers at a time (inspect.cpp).
  std::mutex inspection;
  // worker_of returns the worker that runs f, or blocks in it, if any; workers live as long as the scheduler.
  worker* worker_of(const fiber& f) noexcept;

  // --- Handles that outlive the threads
  // A handle keeps its fiber's stack, and with it this object. Whoever is not running as a fiber of this scheduler releases
  // under handles_lock; after the end, the last one deletes the scheduler.
  spin_lock handles_lock;
  std::size_t handles_left = 0;  // guarded by handles_lock; counted at the end, 0 before

  friend struct debugger_access;
  friend scheduler_stats stats_of(const scheduler& s) noexcept;
  friend bool drain(scheduler& s, nanotime until) noexcept;
  friend void for_each_live(scheduler& s, void (*visit)(void*, std::uint64_t, const char*), void* context) noexcept;
  friend void stop_all(scheduler& s) noexcept;
  friend void destroy_scheduler(scheduler* s) noexcept;

 private:
  void make_runnable_from_outside(fiber* f) noexcept;
  worker* add_worker_locked(processor* p, bool searching) noexcept;
  processor* take_processor_locked() noexcept;
  void put_back_processor_locked(processor* p) noexcept;
  bool any_lent() const noexcept;
  // signs_of_life_but counts what has been done so far, if nothing but threads speaks against a standstill; sets whether they
  // do.
  std::optional<std::uint64_t> signs_of_life_but(bool& threads) noexcept;
  // at_rest_locked: every worker sleeps or polls, and there is nothing to run.
  bool at_rest_locked() const noexcept;
  // sleep_locked is sleep_or_poll's sleep; drops the lock.
  bool sleep_locked(worker* w, std::unique_lock<spin_lock>& guard) noexcept;

  // One pool for each stack size, newest first; added under mutex_, walked without, freed with the scheduler.
  std::atomic<stack_pool*> pools_{nullptr};

  mutable spin_lock mutex_;
  // Guarded by mutex_.
  std::vector<processor*> idle_processors_;
  worker* sleepers_ = nullptr;
  bool polling_ = false;        // somebody is in sleep_or_poll's netpoll
  bool wake_owed_ = false;      // a wake found nobody to wake: the next one to go to sleep searches again instead
  unsigned draining_ = 0;       // callers in drain()
  bool holds_fault_handler_ = false;  // of start and shut_down
  std::deque<std::unique_ptr<worker>> workers_;

  std::atomic<std::uint32_t> drained_{0};  // futex: counts notifications
};

}  // namespace weft::inline v0::sched
