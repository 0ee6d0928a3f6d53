// The monitor: a thread without a processor that helps where nobody else can.

#include "futex.hpp"
#include "scheduler.hpp"
#include "stack_trim.hpp"
#include "view.hpp"

#include <memory>
#include <mutex>

namespace weft::inline v0::sched {

namespace {

constexpr nanotime tick = 10'000'000;             // 10 ms: the longest that ready I/O waits for busy workers
constexpr nanotime idle_spell = 1'000'000'000;    // after so long without work it sleeps

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

void scheduler::report_hogs(nanotime at) noexcept {
  constexpr nanotime between_reports = 1'000'000'000;
  if (at < no_hogs_until) return;
  worker* found = nullptr;
  fiber* f = nullptr;
  nanotime since = 0;
  {
    const std::lock_guard guard(mutex_);
    for (auto& w : workers_) {
      f = w->current.load(std::memory_order_acquire);
      if (f == nullptr || f->look.phase() != fiber_phase::running) continue;
      since = f->since.load(std::memory_order_relaxed);
      if (at - since < options.hog_after || (since == w->hog_since && at < w->hog_next)) continue;
      w->hog_since = since;
      w->hog_next = at + (at - since);
      found = w.get();
      break;
    }
  }
  if (found == nullptr) return;
  no_hogs_until = at + between_reports;
  view_running(*found, *f, [&](const fiber_view& v) {
    // It may have gone on meanwhile.
    if (v.since == since) options.reports.hog(options.reports.context, v, at - since);
  });
}

void scheduler::monitor_main() noexcept {
  auto ready = std::make_unique<ready_list>();
  std::uint64_t seen = total(*this, &processor::dispatches);
  std::uint64_t polls_seen = 0;
  stack_trim trim(*this);
  nanotime last_work = now();
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
    if (options.reports.hog != nullptr) report_hogs(at);
    if (report_asked.exchange(false, std::memory_order_acquire)) options.reports.asked(options.reports.context);

    const std::uint64_t dispatched = total(*this, &processor::dispatches);
    const bool quiet = dispatched == seen && idle.idle() == processors.size();
    if (trim.tick(at, quiet) || !quiet) {
      seen = dispatched;
      last_work = at;
      continue;
    }
    if (at - last_work < idle_spell) continue;
    if (options.reports.standstill != nullptr && standstill()) options.reports.standstill(options.reports.context);
    monitor_asleep.store(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the counters below are loaded with less
    // Pairs with find_runnable, which takes a processor, dispatches and then loads the word; and with the destructor.
    while (monitor_asleep.load(std::memory_order_seq_cst) == 1 && idle.idle() == processors.size() &&
           !report_asked.load(std::memory_order_seq_cst) &&
           total(*this, &processor::dispatches) == seen && !ending.load(std::memory_order_seq_cst)) {
      futex_wait(monitor_asleep, 1);
    }
    monitor_asleep.store(0, std::memory_order_relaxed);
    last_work = now();
  }
}

}  // namespace weft::inline v0::sched
