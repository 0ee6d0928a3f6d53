// worker: a thread that runs fibers.
#pragma once

#include "context.hpp"
#include "control_block.hpp"

#include <weft/sched/netpoller.hpp>
#include <weft/sched/park.hpp>

#include <atomic>
#include <cstdint>

#include <pthread.h>
#include <sys/types.h>

namespace weft::inline v0::sched {

class scheduler;
struct processor;

// What the one who leaves a context wants done on arrival.
struct departure_order {
  fiber* from = nullptr;     // null: the worker's loop
  bool cancellable = false;  // `from` has announced a site
  fiber_phase as = fiber_phase::none;  // what `from` does from now on
  // The commit; null without `from`.
  bool (*run)(waiter self, void* object, std::uintptr_t word) noexcept = nullptr;
  void* object = nullptr;
  std::uintptr_t word = 0;
};

// worker is one thread and what it is doing. Owned by its thread, but for the hand-over fields. Lives until its scheduler is
// destroyed.
struct worker {
  worker(scheduler& s, unsigned i) noexcept : home(&s), index(i) {}

  scheduler* const home;
  const unsigned index;
  std::atomic<pid_t> tid{0};  // the system's number of the thread; 0 until it runs
  pthread_t thread{};

  context own;                          // the loop, on the thread's own stack
  exception_state* exceptions = nullptr;  // the thread's
  departure_order order;                // of the switch that is under way; here, where it is in the CPU's caches
  processor* p = nullptr;               // null: no right to run fibers (idle, or in a blocking region)
  std::atomic<fiber*> current{nullptr};  // null in the loop; written by the thread, and read by whoever looks
  processor* lent = nullptr;            // p as it was when the blocking region began
  bool searching = false;               // counted in the idle protocol

  // Of the monitor: since when the fiber runs that was seen here last, when that was seen first, and its next report.
  nanotime hog_since = 0;
  nanotime hog_seen = 0;
  nanotime hog_next = 0;

  // Hand-over to a sleeping worker: under the scheduler's mutex, then woken by the futex word.
  worker* next_sleeper = nullptr;
  processor* given = nullptr;
  std::atomic<std::uint32_t> awake{0};

  ready_list ready;  // filled by netpoll

  fiber* running() const noexcept { return current.load(std::memory_order_relaxed); }
  // Releases what a fiber that is new to the monitor is made of.
  void set_running(fiber* f) noexcept { current.store(f, std::memory_order_release); }
};

// arrived is the first thing done after every switch, with the message of switch_context, which is the worker: what was left is
// whole now, and what makes it findable may run.
void arrived(void* message) noexcept;

// check_departure is for a fiber with `checks`, on its own stack, before it leaves its thread or may have to; `to` is what it
// does from then on, `blocking` at both ends of a blocking region. Returns unless something is wrong.
void check_departure(const fiber& f, fiber_phase to) noexcept;

// context_of is where w goes on with f; null: in the loop.
inline context& context_of(worker& w, fiber* f) noexcept { return f != nullptr ? f->ctx : w.own; }

// depart leaves the calling fiber (w->current) for the next fiber of w's processor or, if there is none or a service is due,
// for the loop; `then` runs after the departure. Returns when the fiber is resumed, maybe on another thread.
void depart(worker* w, fiber* f, decltype(commit::run) then, void* object, std::uintptr_t word,
            fiber_phase as = fiber_phase::parked) noexcept;

// next_to_run takes what p runs next, passing over those that somebody looks at; null: nothing, or a service is due.
fiber* next_to_run(processor* p) noexcept;

// run_next takes f, which the caller owns, in place of what next_to_run would give, and does what that does for it. False:
// somebody looks at f, and makes it runnable afterwards.
[[nodiscard]] bool run_next(processor* p, fiber& f) noexcept;

// depart_for_good is depart, for `to` (null: the loop), of a fiber that ends; it does not return. Part of its caller: each call that
// is left by a jump makes the processor expect the returns that follow in the wrong places.
[[gnu::always_inline]] inline void depart_for_good(worker* w, fiber* f, fiber* to, decltype(commit::run) then, void* object,
                                                   std::uintptr_t word) noexcept {
  if (f->checks != 0) [[unlikely]] check_departure(*f, fiber_phase::none);
  w->order = {f, false, fiber_phase::none, then, object, word};
  w->set_running(to);
  static_cast<void>(switch_context(f->ctx, context_of(*w, to), w->exceptions, w, last::yes));
}

// depart_to_loop goes to the loop in any case; for a worker without a processor. REQUIRES: `then` doesn't refuse.
void depart_to_loop(worker* w, fiber* f, decltype(commit::run) then, void* object) noexcept;  // as runnable

// run leaves the loop for f, unless somebody looks at that; returns when a fiber goes back to the loop of the same worker.
void run(worker* w, fiber* f) noexcept;

// fiber_entry is where a fresh fiber arrives.
void fiber_entry(void* message) noexcept;

// worker_main is the body of a worker's thread.
void* worker_main(void* w) noexcept;

// find_runnable returns a fiber to run, having found one wherever it was; sleeps until there is one. Null: the scheduler
// ends. On return w holds a processor, unless it is null.
fiber* find_runnable(worker* w) noexcept;

}  // namespace weft::inline v0::sched
