// Sleeping, and where a timer is armed.

#include "control_block.hpp"
#include "current.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <weft/sched/fatal.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/sys.hpp>
#include <weft/sched/timer.hpp>

#include <time.h>

namespace weft::inline v0::sched {

void timer::arm(scheduler& s, nanotime when, callback call, void* object, std::uint32_t sequence) noexcept {
  if (when < 1) when = 1;  // 0 says disarmed
  for (;;) {
    if (timer_heap* heap = heap_.load(std::memory_order_acquire)) {  // O2
      if (heap->move(*this, when, call, object, sequence)) break;
      continue;  // it has just left that heap
    }
    worker* w = current_worker();
    timer_heap* heap = w != nullptr && w->home == &s && w->p != nullptr ? &w->p->timers : &s.shared_timers;
    if (!heap->insert(*this, when, call, object, sequence)) fatal("no memory to arm a timer");
    break;
  }
  s.timer_armed(when);
}

namespace {

void ring(void* object, std::uint32_t) noexcept {
  if (waiter sleeper = waiter::from_bits(static_cast<sleep_site*>(object)->word.ring())) ready(sleeper);
}

bool lie_down(waiter self, void* object, std::uintptr_t) noexcept {
  return static_cast<sleep_site*>(object)->word.lie_down(self.bits());
}

void sleep_thread(nanotime when) noexcept {
  timespec at{when / 1'000'000'000, when % 1'000'000'000};
  while (now() < when) sys_call(::clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

}  // namespace

bool sleep_until(nanotime when) noexcept {
  if (stop_requested()) return false;
  if (current_waiter().is_thread()) {
    sleep_thread(when);
    return true;
  }
  fiber* f = current_fiber();
  while (now() < when) {
    if (!announce(f->sleep)) return false;
    if (when != never) f->sleep.alarm.arm(*f->home, when, ring, &f->sleep, 0);
    park({lie_down, &f->sleep}, wait_reason::sleep);
    withdraw();
    f->sleep.alarm.stop();
    f->sleep.word.get_up();  // the alarm may have rung before the fiber lay down
    if (stop_requested() && now() < when) return false;
  }
  return true;
}

}  // namespace weft::inline v0::sched
