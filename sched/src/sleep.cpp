// Sleeping, and where a timer is armed.

#include "control_block.hpp"
#include "current.hpp"
#include "scheduler.hpp"
#include "thread_record.hpp"
#include "worker.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/timer.hpp>

#include <algorithm>

namespace weft::inline v0::sched {

bool timer::arm(scheduler& s, nanotime when, callback call, void* object, std::uint32_t sequence) noexcept {
  if (when < 1) when = 1;  // 0 says disarmed
  for (;;) {
    if (timer_heap* heap = heap_.load(std::memory_order_acquire)) {  // O2
      if (heap->move(*this, when, call, object, sequence)) break;
      continue;  // it has just left that heap
    }
    worker* w = current_worker();
    timer_heap* heap = w != nullptr && w->home == &s && w->p != nullptr ? &w->p->timers : &s.shared_timers;
    if (!heap->insert(*this, when, call, object, sequence)) return false;
    break;
  }
  s.timer_armed(when);
  return true;
}

namespace {

void ring(void* object, std::uint32_t) noexcept {
  if (waiter sleeper = waiter::from_bits(static_cast<sleep_site*>(object)->word.ring())) ready(sleeper);
}

bool lie_down(waiter self, void* object, std::uintptr_t) noexcept {
  return static_cast<sleep_site*>(object)->word.lie_down(self.bits());
}

// A thread sleeps on its own record; whoever stops it just wakes it, however often. What of that is left over after the
// withdrawal would end its next park for no reason.
cancel_site wake_sleeper{[](cancel_site&, waiter w) noexcept { ready(w); }};

bool sleep_thread(thread_record* self, nanotime when) noexcept {
  while (now() < when) {
    const bool announced = announce(wake_sleeper);
    if (announced) {
      // There is no commit: this is where a stop is looked for that came meanwhile.
      std::atomic_thread_fence(std::memory_order_seq_cst);  // O1 of stop_word
      if (!stop_requested()) nap(self, std::min(when, deadline_link::first_due(*self)));
      withdraw();
    }
    self->token.exchange(0, std::memory_order_acquire);
    if (!announced) return false;
    deadline_link::let_pass(*self);
    if (stop_requested() && now() < when) return false;
  }
  return true;
}

}  // namespace

bool sleep_until(nanotime when) noexcept {
  if (stop_requested()) return false;
  if (const waiter self = current_waiter(); self.is_thread()) return sleep_thread(self.as_thread(), when);
  fiber* f = current_fiber();
  while (now() < when) {
    if (!announce(f->sleep)) return false;
    f->idle.store(idle_alarm::off, std::memory_order_relaxed);
    if (when == never) {
      f->sleep.alarm.stop();  // a read may have left it behind
    } else if (!f->sleep.alarm.arm(*f->home, when, ring, &f->sleep, 0)) {
      fatal("no memory for a sleep's timer");
    }
    park({lie_down, &f->sleep}, wait_reason::sleep);
    withdraw();
    f->sleep.alarm.stop();
    f->sleep.word.get_up();  // the alarm may have rung before the fiber lay down
    if (stop_requested() && now() < when) return false;
  }
  return true;
}

}  // namespace weft::inline v0::sched
