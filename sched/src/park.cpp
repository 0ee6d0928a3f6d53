#include <weft/sched/park.hpp>

#include "current.hpp"
#include "idle_alarm.hpp"
#include "migration.hpp"
#include "parking.hpp"
#include "scheduler.hpp"
#include "stoppable.hpp"
#include "thread_record.hpp"
#include "worker.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/random.hpp>

#include <atomic>

#include <sched.h>

namespace weft::inline v0::sched {

waiter current_waiter() noexcept { return waiter_on(current_worker()); }

void park(const commit& c, wait_target what) noexcept {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) {
    const stoppable self = stoppable_on(w);
    return park_thread(current_record(), c, self.stops, self.everybody);
  }
  park_fiber(w, w->running(), c, what);
}

namespace {

// park_at_elsewhere is park_at for a thread, and where stops are kept away.
[[gnu::noinline, gnu::cold]] void park_at_elsewhere(cancel_site& site, void* object, const wait_form& form) noexcept {
  parking here;
  here.publish(site, ended_by::any_stop);
  here.park({form.publish, object}, {form.why, object});
  here.withdraw();
}

}  // namespace

void park_at(cancel_site& site, void* object, const wait_form& form) noexcept {
  worker* const w = current_worker();
  fiber* const f = w != nullptr && w->p != nullptr ? w->running() : nullptr;
  if (f == nullptr || !stops_count(*w, *f)) [[unlikely]] return park_at_elsewhere(site, object, form);
  if (form.idle == idle_stack::given_back) watch_stack(*f);
  f->stops.publish(&site, waiter(f).bits());
  park_fiber(w, f, {form.publish, object}, {form.why, object});
  f->stops.take_back();
}

void park_thread(thread_record* r, const commit& c, stop_word<>& stops, const atomic<bool>& everybody) noexcept {
  if (!c.run(waiter(r), c.object, c.word)) return;
  // As arrived() does for a fiber.
  if (stops.announced() && stops.missed(everybody) != nullptr) cancel_announced(stops, everybody);
  while (!nap(r, deadline_link::first_due(*r))) deadline_link::let_pass(*r);
}

void ready(waiter x) noexcept {
  if (x.is_thread()) return ready_thread(x.as_thread());
  fiber* f = x.as_fiber();
  f->home->hand_over(f);
}

std::uint32_t random_below(std::uint32_t n) noexcept {
  worker* w = current_worker();
  dice& d = w != nullptr && w->p != nullptr ? w->p->chance : current_record()->chance;
  return static_cast<std::uint32_t>((std::uint64_t{d.roll()} * n) >> 32);
}

bool on_worker() noexcept { return current_worker() != nullptr; }

void yield() noexcept {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) {
    ::sched_yield();
    return;
  }
  processor* p = w->p;
  if (p->budget != 0 && p->queue.empty() && !forced_migration) {
    // Nobody to go first here. The budget still counts, so that the loop looks at timers, sockets and the global queue.
    --p->budget;
    // It has let others go first, though there were none.
    w->running()->since.store(p->home->clock.load(std::memory_order_relaxed) & ~exact_time, std::memory_order_relaxed);
    return;
  }
  constexpr auto to_tail = [](waiter self, void* object, std::uintptr_t) noexcept {
    auto* own = static_cast<processor*>(object);
    own->home->push_tail(own, self.as_fiber());
    return true;
  };
  depart(w, w->running(), to_tail, p, 0, fiber_phase::runnable);
}

void checkpoint() noexcept {
  constexpr nanotime slice = 10'000'000;
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) return;
  const nanotime begun = w->running()->since.load(std::memory_order_relaxed);
  if (w->home->clock.load(std::memory_order_relaxed) - begun < slice) return;
  w->p->budget = 0;  // the loop looks at timers, sockets and the global queue, though nobody waits here
  yield();
}

fiber* current_fiber() noexcept {
  worker* w = current_worker();
  return w == nullptr ? nullptr : w->running();
}

caller current_caller() noexcept {
  fiber* const f = current_fiber();
  return {f, f != nullptr ? &f->data : &current_record()->data};
}

caller_data& current_data() noexcept { return *current_caller().data; }

}  // namespace weft::inline v0::sched
