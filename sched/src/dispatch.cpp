// Leaving one context for the next: the only callers of switch_context.

#include "current.hpp"
#include "held_locks.hpp"
#include "processor.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <weft/sched/clock.hpp>
#include <weft/sched/fatal.hpp>

#include <algorithm>
#include <bit>

namespace weft::inline v0::sched {

namespace {

void check_canary(const fiber& f) noexcept {
  if (*f.canary == canary_value) return;
  char name[fiber_name::capacity];
  f.name.copy_to(name);
  fatal("stack overflow of fiber %llu '%s' (its stack has no guard; found when it was left)",
        static_cast<unsigned long long>(id_of(f)), name);
}

inline bool begin_to_run(processor* p, fiber& f) noexcept {
  const nanotime ready = f.since.load(std::memory_order_relaxed);
  if ((ready & exact_time) != 0) [[unlikely]] p->count_run_wait(ready);
  return enter_running(f, p->home->clock.load(std::memory_order_relaxed));
}

[[gnu::always_inline]] inline fiber* take_next(processor* p) noexcept {
  for (;;) {
    fiber* const f = p->next_fiber();
    if (f == nullptr || begin_to_run(p, *f)) [[likely]] return f;
  }
}

// fetch_ahead brings what a switch touches of the next two fibers into the CPU's caches: among a thousand fibers each of these
// lines would be waited for. A thief may have them by now, and then the hint is lost; their control blocks can be read until
// this processor's next dispatch (stack_trim.hpp).
void fetch_ahead([[maybe_unused]] const run_queue<fiber, ring_capacity>& queue) noexcept {
#if !defined(WEFT_TSAN)
  if (const fiber* const second = queue.peek(1)) {
    __builtin_prefetch(second);
    __builtin_prefetch(reinterpret_cast<const std::byte*>(second) + 64);
  }
  if (const fiber* const first = queue.peek(0)) __builtin_prefetch(first->ctx.suspended.stack_position());
#endif
}

}  // namespace

[[gnu::noinline]] void check_departure(const fiber& f, fiber_phase to) noexcept {
  if ((f.checks & canary_check) != 0) check_canary(f);
  if ((f.checks & held_locks_check) != 0) check_held_locks(f, to, __builtin_return_address(0));
}

void arrived(void* message) noexcept {
  const departure_order& order = static_cast<worker*>(message)->order;
  fiber* const from = order.from;
  if (from == nullptr) return;
  from->look.becomes(order.as);
  const bool cancellable = order.cancellable;
  if (!order.run(waiter(from), order.object, order.word)) {
    // The wait was over before it began. Never jump back: the departed fiber runs next, as if it had been made ready.
    from->look.becomes(fiber_phase::runnable);
    auto* const w = static_cast<worker*>(message);
    w->home->push_next(w->p, from);
    return;
  }
  if (cancellable && from->stops.missed(from->home->stop_everything) != nullptr) [[unlikely]] {
    cancel_announced(from->stops, from->home->stop_everything);
  }
}

bool processor::timer_due() const noexcept {
  return timers.next() <= home->clock.load(std::memory_order_relaxed);
}

bool processor::may_run_next() const noexcept { return budget != 0 && queue.empty() && !timer_due(); }

fiber* processor::next_fiber() noexcept {
  if (budget == 0) return nullptr;
  if (timer_due()) {
    budget = 0;
    return nullptr;
  }
  return own_fiber();
}

void processor::count_run_wait(nanotime then) noexcept {
  const auto waited = static_cast<std::uint64_t>(std::max<nanotime>(now() - then, 0));
  const std::uint64_t microseconds = waited / 1000;
  add(run_wait_nanoseconds, waited);
  bump(run_waits[std::min<std::size_t>(std::bit_width(microseconds), run_waits.size() - 1)]);
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
    fetch_ahead(queue);
  }
  --budget;
  bump(dispatches, std::memory_order_release);  // O1 of stack_trim
  return f;
}

fiber* next_to_run(processor* p) noexcept { return take_next(p); }

bool run_next(processor* p, fiber& f) noexcept {
  if (!enter_running(f, p->home->clock.load(std::memory_order_relaxed))) [[unlikely]] return false;
  --p->budget;
  bump(p->dispatches, std::memory_order_release);  // O1 of stack_trim
  return true;
}

// None of the three is inlined, at link time neither: their callers may be compiled for a processor with more registers than
// the jump knows of, or have rbx in a use that the compiler doesn't tell.
[[gnu::noinline]] void depart(worker* w, fiber* f, decltype(commit::run) then, void* object, std::uintptr_t word,
                              fiber_phase as) noexcept {
  w->order = {f, f->stops.announced(), as, then, object, word};  // first, so that nothing of it is kept over the check
  if (f->checks != 0) [[unlikely]] check_departure(*f, as);
  fiber* to = take_next(w->p);
  w->set_running(to);
  arrived(switch_context(f->ctx, context_of(*w, to), w->exceptions, w));
}

[[gnu::noinline]] void depart_to_loop(worker* w, fiber* f, decltype(commit::run) then, void* object) noexcept {
  if (f->checks != 0) [[unlikely]] check_departure(*f, fiber_phase::runnable);
  w->order = {f, false, fiber_phase::runnable, then, object, 0};
  w->set_running(nullptr);
  arrived(switch_context(f->ctx, w->own, w->exceptions, w));
}

[[gnu::noinline]] void run(worker* w, fiber* f) noexcept {
  if (!begin_to_run(w->p, *f)) return;
  w->order.from = nullptr;
  w->set_running(f);
  arrived(switch_context(w->own, f->ctx, w->exceptions, w));
}

}  // namespace weft::inline v0::sched
