// processor: the right to run fibers, and what goes with it.
#pragma once

#include "control_block.hpp"
#include "dice.hpp"
#include "run_queue.hpp"
#include "stack_pool.hpp"
#include "timer_heap.hpp"

#include <weft/sched/scheduler.hpp>

#include <array>
#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

class scheduler;
struct worker;

// Dispatches between two services of timers, global queue and poller. A power of two near Go's 61; a guess that the
// cadence of polls under load doesn't contradict.
inline constexpr std::uint32_t service_budget = 64;

// Hand-overs in a row through the next slot, after which the ring comes first: two fibers that wake each other would else
// keep a third from ever running.
inline constexpr std::uint32_t next_in_a_row = 16;

// Who uses a processor
// States     idle      on the scheduler's idle list            set: release, under its mutex   left: take, under its mutex
//            running   a worker runs fibers with it            set: take, end of a blocking region
//            blocking  lent: its worker is in a blocking region and may come back
//                      set: start of a region   left: its worker (-> running), retake (-> running, another's)
// Ownership  running: the worker. blocking: whoever takes it out by compare and swap; the queue may be stolen from
// Orderings  every change out of blocking acquires, into blocking releases: queue, heap and cache pass on whole
// Not here   the count of idle processors (idle_protocol), in which blocking ones are included
enum class processor_state : std::uint32_t { idle, running, blocking };

// A thousand fibers that take turns should not go through the global queue, whose lists touch each of them. Go's is 256.
inline constexpr std::size_t ring_capacity = 1024;

// One in so many fibers made runnable tells how long it waits: two looks at the clock for so many switches.
inline constexpr std::uint32_t run_wait_sample = 64;

struct alignas(128) processor {
  processor(scheduler& s, unsigned i, bool only) noexcept : home(&s), index(i), alone(only) {}

  // Constant.
  scheduler* const home;
  const unsigned index;
  const bool alone;  // the scheduler has no other: no thieves, and no locked instructions against them

  run_queue<fiber, ring_capacity> queue;
  timer_heap timers;
  std::atomic<processor_state> state{processor_state::idle};

  // Owned by whoever uses the processor.
  std::uint32_t budget = service_budget;
  std::uint32_t next_row = 0;
  std::uint32_t polls_skipped = 0;
  std::uint32_t until_sample = run_wait_sample;
  dice chance;
  std::uint64_t next_id = 0;
  std::uint64_t last_id = 0;
  stack_cache stacks;

  // Counters: written by whoever uses the processor, read by anybody.
  std::atomic<std::uint64_t> spawned{0};
  std::atomic<std::uint64_t> ended{0};
  std::atomic<std::uint64_t> dispatches{0};
  std::atomic<std::uint64_t> steals{0};
  std::atomic<std::uint64_t> polls{0};
  std::atomic<std::uint64_t> poll_nanoseconds{0};  // spent asleep in the poller
  std::array<std::atomic<std::uint64_t>, wait_reasons> parks{};  // by wait_reason
  std::atomic<std::uint64_t> run_wait_nanoseconds{0};  // of all fibers of a sample
  // How long a fiber of that was runnable before it ran: below 2^i microseconds, and not below 2^(i-1).
  std::array<std::atomic<std::uint64_t>, run_wait_buckets> run_waits{};

  std::uint64_t dispatches_seen = 0;  // of the monitor (stack_trim)

  // timer_due tells, for the price of a load, whether a timer waits, by a clock that somebody published.
  bool timer_due() const noexcept;
  // may_run_next: the queue is empty, and no service is due.
  bool may_run_next() const noexcept;
  // next_fiber takes what this processor runs next from its own queue, or null. Null also when a service is due: the
  // caller goes to the worker's loop.
  fiber* next_fiber() noexcept;
  // count_run_wait counts a fiber of the sample, which was made runnable at `then`.
  void count_run_wait(nanotime then) noexcept;
  // own_fiber is the same for the loop, which has just done the service.
  fiber* own_fiber() noexcept;
};

// add raises a counter that only one thread writes; bump, by one.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t n,
                std::memory_order order = std::memory_order_relaxed) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, order);
}
inline void bump(std::atomic<std::uint64_t>& counter, std::memory_order order = std::memory_order_relaxed) noexcept {
  add(counter, 1, order);
}

}  // namespace weft::inline v0::sched
