// Making fibers runnable, waking workers, and going to sleep: the scheduler's idle and wake protocol.

#include "current.hpp"
#include "futex.hpp"
#include "migration.hpp"
#include "scheduler.hpp"
#include "thread_record.hpp"

#include <algorithm>
#include <array>
#include <climits>
#include <mutex>
#include <utility>

namespace weft::inline v0::sched {

void scheduler::push_tail(processor* p, fiber* f) noexcept {
  if constexpr (forced_migration) return global.push(f);
  p->queue.push(f, [this](fiber** items, std::size_t n) { global.push(items, n); });
}

void scheduler::push_next(processor* p, fiber* f) noexcept {
  if constexpr (forced_migration) {
    global.push(f);
    return wake_for_work();
  }
  fiber* displaced = p->alone ? p->queue.put_next_unshared(f) : p->queue.put_next(f);
  if (displaced == nullptr) [[likely]] return;
  push_tail(p, displaced);
  if (!p->alone) wake_for_work();
}

[[gnu::always_inline]] inline nanotime scheduler::ready_time(processor* p) noexcept {
  if (p != nullptr && --p->until_sample == 0) [[unlikely]] {
    p->until_sample = run_wait_sample;
    return now() | exact_time;
  }
  return clock.load(std::memory_order_relaxed) & ~exact_time;
}

void scheduler::make_runnable(fiber* f, processor* p) noexcept {
  f->since.store(ready_time(p), std::memory_order_relaxed);
  f->look.becomes(fiber_phase::runnable);  // passes on what the caller has acquired
  if (p == nullptr) [[unlikely]] return make_runnable_from_outside(f);
  push_tail(p, f);
  if (!p->alone) wake_for_work();
}

void scheduler::make_runnable_from_outside(fiber* f) noexcept {
  visitors.fetch_add(1, std::memory_order_relaxed);  // O1
  global.push(f);
  wake_for_work();
  visitors.fetch_sub(1, std::memory_order_release);  // O1
}

void scheduler::hand_over(fiber* f) noexcept {
  worker* const w = current_worker();
  processor* const p = w == nullptr || w->home != this ? nullptr : w->p;
  if (p == nullptr || w->running() == nullptr) [[unlikely]] return make_runnable(f, p);
  f->since.store(ready_time(p), std::memory_order_relaxed);
  f->look.becomes(fiber_phase::runnable);  // as make_runnable
  // No wake: the caller is about to park, as a rule, and its processor then goes straight to f; another worker would come too
  // late. If it does not park, the monitor finds f within a tick.
  push_next(p, f);
}

processor* scheduler::take_processor_locked() noexcept {
  if (!idle_processors_.empty()) {
    processor* p = idle_processors_.back();
    idle_processors_.pop_back();
    p->state.store(processor_state::running, std::memory_order_relaxed);  // idle: the mutex orders it
    idle.processor_taken();
    return p;
  }
  for (auto& p : processors) {
    // Retake one whose worker is in a blocking region.
    processor_state blocking = processor_state::blocking;
    // seq_cst: a poller that leaves stores poller_asleep, then looks here; lend stores the state, then looks there.
    if (p->state.load(std::memory_order_seq_cst) == blocking &&
        p->state.compare_exchange_strong(blocking, processor_state::running, std::memory_order_acquire)) {
      idle.processor_taken();
      return p.get();
    }
  }
  return nullptr;
}

void scheduler::put_back_processor_locked(processor* p) noexcept {
  p->state.store(processor_state::idle, std::memory_order_release);  // O1 of stack_trim
  idle_processors_.push_back(p);
  idle.processor_released();
}

bool scheduler::any_lent() const noexcept {
  for (const auto& p : processors) {
    // seq_cst: after end_search in the order in which lend stores the state and then raises the idle count.
    if (p->state.load(std::memory_order_seq_cst) == processor_state::blocking) return true;
  }
  return false;
}

void scheduler::wake_worker() noexcept {
  for (;;) {
    worker* sleeper = nullptr;
    bool broke = false;
    bool owed = false;
    {
      std::lock_guard guard(mutex_);
      processor* p = take_processor_locked();
      if (p != nullptr) {
        const bool poller_needs_it = polling_ && idle.idle() == 0;
        const auto active = workers_.size() - std::min<std::size_t>(workers_.size(), blocking_count.load());
        if (sleepers_ != nullptr && !poller_needs_it) {
          sleeper = sleepers_;
          sleepers_ = sleeper->next_sleeper;
          sleeper->given = p;
          sleeper->searching = true;
        } else if (!polling_ && active < processors.size() && add_worker_locked(p, true) != nullptr) {
          return;
        } else {
          put_back_processor_locked(p);
        }
      }
      if (sleeper == nullptr) {
        // The token goes back first, under the mutex. Work whose submitter saw it, and therefore woke nobody, was published
        // before; whoever is broken out of its poll, or finds wake_owed_, searches after this.
        (void)idle.end_search();
        if (p != nullptr) {
          owed = wake_owed_ = true;  // the poller, too: it may come with an event of its own to run first
          broke = polling_;
        }
      }
    }
    if (sleeper != nullptr) {
      wakes.fetch_add(1, std::memory_order_relaxed);
      sleeper->awake.store(1, std::memory_order_release);
      futex_wake(&sleeper->awake, 1);
      return;
    }
    if (broke) {
      poller.netpollbreak();
      return;
    }
    // No processor. One may have been lent, without the mutex, since the look at them; its lender has re-checked too early
    // for the work of somebody who saw our token. Asked before the claim: a processor that is just being taken back still
    // counts as idle, and claiming it again and again would spin.
    if (owed || !any_lent() || !idle.claim_wake()) return;
  }
}

void scheduler::inject(processor* p, ready_list& list) noexcept {
  if (list.count == 0) return;
  std::array<fiber*, 2 * ready_list::max_events> own;
  std::size_t n = 0;
  for (std::size_t i = 0; i < list.count; ++i) {
    waiter w = list.items[i];
    if (w.is_thread()) {
      ready_thread(w.as_thread());
    } else if (w.as_fiber()->home != this) {
      w.as_fiber()->home->make_runnable(w.as_fiber(), nullptr);
    } else {
      own[n] = w.as_fiber();
      own[n]->look.becomes(fiber_phase::runnable);  // as make_runnable
      own[n]->since.store(n == 0 ? ready_time(p) : clock.load(std::memory_order_relaxed) & ~exact_time,
                          std::memory_order_relaxed);
      ++n;
    }
  }
  std::size_t here = 0;
  if (p != nullptr && !forced_migration) {
    // Oldest first, each idle processor its share. A few stay together: they are done before another worker is awake.
    constexpr std::size_t few = 4;
    // Wide before the addition: the count is below zero for a moment when a processor is retaken while it is being lent.
    const std::size_t shares = std::size_t{idle.idle()} + 1;
    here = p->queue.push_batch(own.data(), shares == 1 ? n : std::min(n, std::max(few, (n + shares - 1) / shares)));
  }
  if (n > here) global.push(own.data() + here, n - here);
  const std::size_t count = list.count;
  list.count = 0;
  if (n > 1 || ((p == nullptr || forced_migration) && n != 0)) wake_for_work();
  poller.delivered(count);
}

void scheduler::timer_armed(nanotime when) noexcept {
  // Orderings of the sleep in the poller: the heap's next was stored before these loads.
  if (poller_asleep.load(std::memory_order_seq_cst)) {
    if (when < poll_until.load(std::memory_order_seq_cst)) poller.netpollbreak();
  } else {
    // Nobody sleeps in the poller: a worker that goes idle looks at every heap; if one is idle already, it must.
    wake_for_work();
  }
}

void scheduler::release_processor(worker* w) noexcept {
  processor* p = std::exchange(w->p, nullptr);
  bool notify = false;
  {
    std::lock_guard guard(mutex_);
    put_back_processor_locked(p);
    notify = draining_ != 0;
  }
  if (notify && live() == 0) {
    drained_.fetch_add(1, std::memory_order_release);
    futex_wake(&drained_, INT_MAX);
  }
}

bool scheduler::acquire_processor(worker* w) noexcept {
  std::lock_guard guard(mutex_);
  w->p = take_processor_locked();
  return w->p != nullptr;
}

bool scheduler::work_anywhere() const noexcept {
  // Between the idle count, which was raised before, and the looks at the queues, whose own loads are no stronger than
  // acquire. Pairs with the fence in make_runnable's push.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (global.size() != 0) return true;
  for (const auto& p : processors) {
    if (!p->queue.empty()) return true;
  }
  return false;
}

nanotime scheduler::earliest() const noexcept {
  nanotime first = shared_timers.next(std::memory_order_seq_cst);
  for (const auto& p : processors) first = std::min(first, p->timers.next(std::memory_order_seq_cst));
  return first;
}

bool scheduler::sleep_locked(worker* w, std::unique_lock<spin_lock>& guard) noexcept {
  w->next_sleeper = sleepers_;
  sleepers_ = w;
  w->awake.store(0, std::memory_order_relaxed);
  guard.unlock();
  while (w->awake.load(std::memory_order_acquire) == 0) futex_wait(w->awake, 0);
  w->p = std::exchange(w->given, nullptr);
  return w->p != nullptr;  // without a processor: the scheduler ends
}

bool scheduler::sleep_or_poll(worker* w) noexcept {
  {
    std::unique_lock guard(mutex_);
    if (ending.load(std::memory_order_relaxed)) return false;
    if (wake_owed_) {
      wake_owed_ = false;
      w->p = take_processor_locked();
      if (w->p != nullptr) {
        idle.begin_search();
        w->searching = true;
        return true;
      }
    }
    if (polling_) return sleep_locked(w, guard);
    polling_ = true;
  }
  poller_asleep.store(true, std::memory_order_seq_cst);
  nanotime until = earliest();
  for (;;) {
    poll_until.store(until, std::memory_order_seq_cst);
    nanotime again = earliest();  // pairs with timer_armed
    if (again >= until) break;
    until = again;
  }
  nanotime delay = never;
  if (until != never) {
    nanotime at = now();
    clock.store(at, std::memory_order_relaxed);
    delay = until > at ? until - at : 0;
  }
  const nanotime asleep = now();
  poller.netpoll(delay, w->ready);
  const nanotime awake = now();
  poll_until.store(never, std::memory_order_relaxed);
  poller_asleep.store(false, std::memory_order_seq_cst);
  bool owed = false;
  {
    std::unique_lock guard(mutex_);
    polling_ = false;
    if (ending.load(std::memory_order_relaxed) && w->ready.count == 0) return false;
    w->p = take_processor_locked();
    // Nothing to hand out and no processor to run timers with: whoever releases one becomes the poller. Polling on would
    // spin while a timer is overdue.
    if (w->p == nullptr && w->ready.count == 0) return sleep_locked(w, guard);
    if (w->p != nullptr) owed = std::exchange(wake_owed_, false);
  }
  if (w->p != nullptr) {
    bump(w->p->polls);
    add(w->p->poll_nanoseconds, static_cast<std::uint64_t>(awake - asleep));
    w->p->budget = service_budget;  // this poll was the service
    if (w->ready.count == 0 || owed) {
      idle.begin_search();
      w->searching = true;
    }
    if (monitor_asleep.load(std::memory_order_seq_cst) != 0) wake_monitor();
  }
  inject(w->p, w->ready);
  return true;
}

}  // namespace weft::inline v0::sched
