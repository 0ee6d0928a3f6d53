// Leaving one context for the next: the only callers of switch_context.

#include "current.hpp"
#include "processor.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <weft/sched/fatal.hpp>

namespace weft::inline v0::sched {

namespace {

void check_canary(fiber* f) noexcept {
  if (f->canary != nullptr && *f->canary != canary_value) [[unlikely]] {
    char name[fiber_name::capacity];
    f->name.copy_to(name);
    fatal("stack overflow of fiber %llu '%s' (its stack has no guard; found when it was left)",
          static_cast<unsigned long long>(id_of(*f)), name);
  }
}

}  // namespace

void arrived(void* message) noexcept {
  const departure_order order = *static_cast<departure_order*>(message);
  if (order.run == nullptr) return;
  if (!order.run(waiter(order.from), order.object, order.word)) {
    // The wait was over before it began. Never jump back: the departed fiber runs next, as if it had been made ready.
    order.w->home->push_next(order.w->p, order.from);
    return;
  }
  if (order.cancellable && order.from->stops.missed(order.from->home->stop_everything) != nullptr) [[unlikely]] {
    cancel_announced(order.from->stops, order.from->home->stop_everything);
  }
}

fiber* processor::next_fiber() noexcept {
  if (budget == 0) return nullptr;
  // A clock that somebody published tells, for the price of a load, that a timer waits.
  if (timers.next() <= home->clock.load(std::memory_order_relaxed)) {
    budget = 0;
    return nullptr;
  }
  return own_fiber();
}

fiber* processor::own_fiber() noexcept {
  fiber* f = nullptr;
  if (next_row < next_in_a_row) {
    f = alone ? queue.take_next_unshared() : queue.take_next();
  }
  if (f != nullptr) {
    ++next_row;
  } else {
    next_row = 0;
    f = alone ? queue.pop_unshared() : queue.pop();
    if (f == nullptr) f = queue.take_next();
    if (f == nullptr) return nullptr;
  }
  --budget;
  bump(dispatches);
  return f;
}

WEFT_REAL_STACK void depart(worker* w, fiber* f, decltype(commit::run) then, void* object, std::uintptr_t word,
                            last end) noexcept {
  check_canary(f);
  departure_order order{w, f, f->stops.announced(), then, object, word};
  fiber* to = w->p->next_fiber();
  w->current = to;
  arrived(switch_context(f->ctx, to != nullptr ? to->ctx : w->own, w->exceptions, &order, end));
}

void depart_to_loop(worker* w, fiber* f, decltype(commit::run) then, void* object) noexcept {
  check_canary(f);
  departure_order order{w, f, false, then, object, 0};
  w->current = nullptr;
  arrived(switch_context(f->ctx, w->own, w->exceptions, &order));
}

void run(worker* w, fiber* f) noexcept {
  departure_order order{w, nullptr, false, nullptr, nullptr, 0};
  w->current = f;
  arrived(switch_context(w->own, f->ctx, w->exceptions, &order));
}

}  // namespace weft::inline v0::sched
