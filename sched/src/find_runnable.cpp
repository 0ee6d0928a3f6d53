// find_runnable: the worker's search for something to run, in the order that docs/scheduler.md explains.

#include "current.hpp"
#include "migration.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <algorithm>
#include <array>

#include <sched.h>

namespace weft::inline v0::sched {

namespace {

// run_timers calls back what is due in p's heap and in the shared one. A clock is read only if there is a timer at all.
void run_timers(scheduler& s, timer_heap& heap) noexcept {
  nanotime next = std::min(heap.next(), s.shared_timers.next());
  if (next == never) return;
  nanotime at = now();
  s.clock.store(at, std::memory_order_relaxed);
  if (heap.next() <= at) heap.run_due(at);
  if (s.shared_timers.next() <= at) s.shared_timers.run_due(at);
}

void poll_at_once(worker* w) noexcept {
  scheduler& s = *w->home;
  if (!s.poller.any_waiters() || s.poller_asleep.load(std::memory_order_relaxed)) return;
  // One at a time: more of them would only meet in the kernel at the same list of events.
  if (s.polling_at_once.load(std::memory_order_relaxed) ||
      s.polling_at_once.exchange(true, std::memory_order_acquire)) {
    return;
  }
  s.poller.netpoll(0, w->ready);
  s.polling_at_once.store(false, std::memory_order_release);
  bump(w->p->polls);
  s.inject(w->p, w->ready);
}

// counted counts f as given to p's worker; what comes out of next_fiber is counted there.
fiber* counted(processor* p, fiber* f) noexcept {
  bump(p->dispatches, std::memory_order_release);  // O1 of stack_trim
  return f;
}

// Of the global queue at one time: half of the ring when the own queue is empty; at a service half of what the next service
// will find done, so that neither queue keeps the other waiting. One each, as Go has it, starves whoever overflowed there.
constexpr std::size_t largest_share = ring_capacity / 2;
constexpr std::size_t service_share = service_budget / 2;

// A guess: ready descriptors wait for at most 256 dispatches.
constexpr std::uint32_t most_polls_skipped = 4;

// take_elsewhere is take_global of forced migration: a fiber that ran elsewhere last, unless nobody else takes the others.
[[maybe_unused]] fiber* take_elsewhere(worker* w) noexcept {
  scheduler& s = *w->home;
  constexpr int most_refusals = 256;  // a guess: about as long as a worker needs to wake up
  for (int i = s.processors.size() > 1 ? 0 : most_refusals; s.global.size() != 0; ++i) {
    if (fiber* f = s.global.pop_shuffled(w->p->chance, i < most_refusals ? w : nullptr)) {
      f->ran_on = w;
      if (w->p->budget != 0) --w->p->budget;
      return counted(w->p, f);
    }
    if (w->searching) {
      w->searching = false;
      (void)s.idle.end_search();
    }
    s.wake_for_work();
    ::sched_yield();
  }
  return nullptr;
}

// take_global takes a fair share of the global queue, at most `most`: the first to run, the rest to the ring.
fiber* take_global(worker* w, std::size_t most) noexcept {
  if constexpr (forced_migration) return take_elsewhere(w);
  scheduler& s = *w->home;
  processor* p = w->p;
  std::size_t size = s.global.size();
  if (size == 0) return nullptr;
  std::array<fiber*, largest_share> batch;
  std::size_t n = s.global.pop_batch(batch.data(), std::min(most, size / s.processors.size() + 1));
  if (n == 0) return nullptr;
  for (std::size_t i = 1; i < n; ++i) s.push_tail(p, batch[i]);
  return counted(p, batch[0]);
}

fiber* steal(worker* w) noexcept {
  scheduler& s = *w->home;
  processor* p = w->p;
  const std::size_t count = s.processors.size();
  constexpr int passes = 4;
  for (int pass = 0; pass < passes; ++pass) {
    const bool last_pass = pass == passes - 1;
    std::size_t start = p->chance.roll() % count;
    for (std::size_t i = 0; i < count; ++i) {
      processor* victim = s.processors[(start + i) % count].get();
      if (victim == p) continue;
      if (last_pass && victim->timers.next() != never) {
        run_timers(s, victim->timers);  // their fibers come to our own queue
        if (fiber* f = p->own_fiber()) return f;
      }
      // Next slots last: what is in one will run in a moment where it is.
      fiber* f = victim->queue.steal_into(p->queue, last_pass ? victims_next::take : victims_next::leave);
      if (f != nullptr) {
        bump(p->steals);
        return counted(p, f);
      }
    }
  }
  return nullptr;
}

// search looks everywhere once; w holds a processor.
fiber* search(worker* w) noexcept {
  scheduler& s = *w->home;
  processor* p = w->p;

  run_timers(s, p->timers);
  if (p->budget == 0) {
    // The service that stands every so many dispatches, for whoever the own queue would else keep waiting.
    p->budget = service_budget;
    // With a budget's worth of work queued already, a poll would only make the ring overflow; but not for ever.
    if (p->queue.size() < service_budget || ++p->polls_skipped == most_polls_skipped) {
      p->polls_skipped = 0;
      poll_at_once(w);
    }
    if (fiber* f = take_global(w, service_share)) return f;
  }
  if (fiber* f = p->own_fiber()) return f;
  if (fiber* f = take_global(w, largest_share)) return f;

  if (s.idle.idle() == s.processors.size() - 1) {
    // Alone, or all others idle; but their timers may be due. No zero-delay poll: the next stop is the poller's sleep, whose
    // one call finds the same events.
    for (auto& other : s.processors) {
      if (other.get() != p && other->timers.next() != never) run_timers(s, other->timers);
    }
    if (fiber* f = p->own_fiber()) return f;
    if (!s.work_anywhere()) return nullptr;  // one that is lent counts as idle, and may have a queue
  } else {
    poll_at_once(w);
    if (fiber* f = p->own_fiber()) return f;
  }
  if (!w->searching) {
    if (!s.idle.try_search(static_cast<std::uint32_t>(s.processors.size()))) return nullptr;
    w->searching = true;
  }
  return steal(w);
}

}  // namespace

// Why no work is left behind
// Whoever publishes work then looks whether a processor is idle and nobody searches, and if so wakes a worker. Here a worker
// first releases its processor and ends its search, and then looks once more at every queue (orderings O1 and O2 of
// idle_protocol). So of a submission and a worker going to sleep, one sees the other. What both miss they leave to a third: a
// searcher that was counted when the submitter looked, which by O2 looks again before it sleeps, and on finding work as the last
// searcher wakes the next.
fiber* find_runnable(worker* w) noexcept {
  scheduler& s = *w->home;
  for (;;) {
    if (w->p == nullptr && !s.acquire_processor(w) && !s.sleep_or_poll(w)) return nullptr;
    if (w->p == nullptr) continue;
    if (fiber* f = search(w)) {
      if (w->searching) {
        w->searching = false;
        if (s.idle.end_search()) s.wake_for_work();
      }
      if (s.monitor_asleep.load(std::memory_order_seq_cst) != 0) s.wake_monitor();
      return f;
    }
    s.release_processor(w);
    if (w->searching) {
      w->searching = false;
      (void)s.idle.end_search();
    }
    if (s.work_anywhere()) {
      if (!s.acquire_processor(w)) continue;
      s.idle.begin_search();
      w->searching = true;
      continue;
    }
    if (!s.sleep_or_poll(w)) return nullptr;
  }
}

}  // namespace weft::inline v0::sched
