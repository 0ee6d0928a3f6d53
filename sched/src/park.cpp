#include <weft/sched/park.hpp>

#include "current.hpp"
#include "scheduler.hpp"
#include "thread_record.hpp"
#include "worker.hpp"

#include <exception>

#include <sched.h>

namespace weft::inline v0::sched {

waiter current_waiter() noexcept {
  worker* w = current_worker();
  if (w != nullptr && w->p != nullptr && w->current != nullptr) return waiter(w->current);
  return waiter(current_record());
}

void park(const commit& c, wait_reason why) noexcept {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) return park_thread(current_record(), c);
  w->current->reason = why;
  depart(w, w->current, c.run, c.object, c.word);
}

void ready(waiter x) noexcept {
  if (x.is_thread()) return ready_thread(x.as_thread());
  fiber* f = x.as_fiber();
  f->home->make_runnable(f, scheduler::place::next);
}

void yield() noexcept {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) {
    ::sched_yield();
    return;
  }
  processor* p = w->p;
  if (p->budget != 0 && p->queue.empty()) {
    // Nobody to go first here. The budget still counts, so that the loop looks at timers, sockets and the global queue.
    --p->budget;
    return;
  }
  constexpr auto to_tail = [](waiter self, void* object, std::uintptr_t) noexcept {
    auto* own = static_cast<processor*>(object);
    own->home->push_tail(own, self.as_fiber());
    return true;
  };
  depart(w, w->current, to_tail, p, 0);
}

bool stop_stands(const fiber& f) noexcept {
  return f.stops.stands(f.home->stop_everything);
}

bool announce(cancel_site& site) noexcept {
  worker* w = current_worker();
  fiber* f = w == nullptr ? nullptr : w->current;
  if (f == nullptr) return true;
  // Not published while the fiber unwinds: a stop that stands would take it out of each wait at once, and it would wait again.
  if (w->exceptions->uncaught != 0) [[unlikely]] return true;
  if (f->stops.announce(&site, f->home->stop_everything)) return true;
  withdraw();  // it was published for a moment: a stopper may have found it
  return false;
}

void withdraw() noexcept {
  fiber* f = current_fiber();
  if (f == nullptr) return;
  f->stops.withdraw();
  // Whoever has read the site before may still be in its cancel(). What the site belongs to may be of another scheduler, and gone
  // as soon as we return: wait for it. It takes a stop request at this very moment to get here.
  while (f->stops.in_cancel()) ::sched_yield();
}

void cancel_parked(fiber& f) noexcept {
  if (cancel_site* site = f.stops.enter_cancel()) site->cancel(*site, waiter(&f));
  f.stops.leave_cancel();
}

bool stop_requested() noexcept {
  fiber* f = current_fiber();
  if (f == nullptr) return false;
  if (!stop_stands(*f)) return false;
  // Clean-up code that runs while the fiber unwinds is not cancelled.
  return std::uncaught_exceptions() == 0;
}

fiber* current_fiber() noexcept {
  worker* w = current_worker();
  return w == nullptr ? nullptr : w->current;
}

}  // namespace weft::inline v0::sched
