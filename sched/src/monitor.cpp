// The monitor: a thread without a processor that helps where nobody else can.

#include "futex.hpp"
#include "scheduler.hpp"
#include "stack_trim.hpp"
#include "view.hpp"

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>

namespace weft::inline v0::sched {

namespace {

constexpr nanotime tick = 10'000'000;             // 10 ms: the longest that ready I/O waits for busy workers
constexpr nanotime idle_spell = 1'000'000'000;    // after so long without work it sleeps
// While only threads of which nothing is known can help: their end makes no sound. Guesses.
constexpr nanotime first_nap = 1'000'000'000;
constexpr nanotime longest_nap = 64'000'000'000;

std::uint64_t total(const scheduler& s, std::atomic<std::uint64_t> processor::*counter) noexcept {
  std::uint64_t n = 0;
  for (const auto& p : s.processors) n += ((*p).*counter).load(std::memory_order_relaxed);
  return n;
}

}  // namespace

void scheduler::wake_monitor() noexcept {
  clock.store(now(), std::memory_order_relaxed);  // which nobody has published meanwhile
  if (monitor_asleep.exchange(0, std::memory_order_seq_cst) != 0) futex_wake(&monitor_asleep, 1);
}

void ask_report(scheduler& s) noexcept {
  s.report_asked.store(true, std::memory_order_seq_cst);  // pairs with the monitor's way to sleep
  s.wake_monitor();
}

void scheduler::report_hogs(nanotime at, nanotime tick_before) noexcept {
  constexpr nanotime between_reports = 1'000'000'000;
  worker* found = nullptr;
  fiber* hog = nullptr;
  nanotime since = 0;
  nanotime runs = 0;
  {
    const std::lock_guard guard(mutex_);
    for (auto& w : workers_) {
      fiber* const f = w->current.load(std::memory_order_acquire);
      if (f == nullptr || f->look.phase() != fiber_phase::running) continue;
      const nanotime began = f->since.load(std::memory_order_relaxed);
      if (began != w->hog_since || began >= tick_before) {
        w->hog_since = began;
        w->hog_seen = at;
        w->hog_next = 0;
      }
      // Not before it was seen, if the clock that it began by stood still: we may have been away.
      const nanotime running = at - (w->hog_seen - began > 2 * tick ? w->hog_seen : began);
      if (running < options.hog_after || at < w->hog_next || at < no_hogs_until || found != nullptr) continue;
      w->hog_next = at + running;
      found = w.get();
      hog = f;
      since = began;
      runs = running;
    }
  }
  if (found == nullptr) return;
  no_hogs_until = at + between_reports;
  view_running(*found, *hog, [&](const fiber_view& v) {
    // It may have gone on meanwhile, even before its frames were seen.
    if (v.since == since && hog->since.load(std::memory_order_relaxed) == since) {
      options.reports.hog(options.reports.context, v, runs);
    }
  });
}

void scheduler::monitor_main() noexcept {
  auto ready = std::make_unique<ready_list>();
  std::uint64_t seen = total(*this, &processor::dispatches);
  std::uint64_t polls_seen = 0;
  stack_trim trim(*this);
  nanotime last_work = now();
  nanotime tick_before = last_work;
  while (!ending.load(std::memory_order_acquire)) {
    futex_wait(monitor_ends, 0, now() + tick);
    const nanotime at = now();
    clock.store(at, std::memory_order_relaxed);

    // Nobody has polled for a tick: every worker is busy.
    const std::uint64_t polled = total(*this, &processor::polls);
    if (polled == polls_seen && !poller_asleep.load(std::memory_order_relaxed) && poller.any_waiters()) {
      poller.netpoll(0, *ready);
      inject(nullptr, *ready);
    }
    polls_seen = polled;
    // A fiber in a next slot whose waker never parked, or in the queue of a processor that is lent to a blocking region; a
    // timer that nobody watches, since the poller left with an event that keeps it busy; a wake that found no thread.
    if (idle.idle() != 0) {
      bool wanted = global.size() != 0 || (!poller_asleep.load(std::memory_order_relaxed) && earliest() <= at);
      for (const auto& p : processors) wanted = wanted || !p->queue.empty();
      if (wanted) wake_for_work();
    }
    if (options.reports.hog != nullptr) report_hogs(at, std::exchange(tick_before, at));
    if (report_asked.exchange(false, std::memory_order_acquire)) options.reports.asked(options.reports.context);

    const std::uint64_t dispatched = total(*this, &processor::dispatches);
    const bool quiet = dispatched == seen && idle.idle() == processors.size();
    if (trim.tick(at, quiet) || !quiet) {
      seen = dispatched;
      last_work = at;
      continue;
    }
    if (at - last_work < idle_spell) continue;
    monitor_asleep.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the counters below are loaded with less
    // Pairs with find_runnable, which takes a processor, dispatches and then loads the word; and with the destructor.
    const auto may_sleep = [&] {
      return monitor_asleep.load(std::memory_order_seq_cst) == 1 && idle.idle() == processors.size() &&
             !report_asked.load(std::memory_order_seq_cst) && total(*this, &processor::dispatches) == seen &&
             !ending.load(std::memory_order_seq_cst);
    };
    // Behind the store: a thread that falls asleep once it was looked at takes the word back.
    for (nanotime nap = first_nap; may_sleep(); nap = std::min(2 * nap, longest_nap)) {
      nanotime until = never;
      if (options.reports.standstill != nullptr) {
        const outlook found = look_ahead();
        if (found == outlook::none) options.reports.standstill(options.reports.context);
        if (found == outlook::threads) until = after(nap);
      }
      while (may_sleep() && (until == never || now() < until)) futex_wait(monitor_asleep, 1, until);
    }
    monitor_asleep.store(0, std::memory_order_relaxed);
    last_work = now();
  }
}

}  // namespace weft::inline v0::sched
