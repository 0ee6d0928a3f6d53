// Blocking regions: the processor is lent while its worker blocks.

#include "current.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <weft/sched/blocking.hpp>

#include <mutex>

namespace weft::inline v0::sched {

namespace {

// wait_turn takes one of the places to block, parking while there is none: it bounds the number of threads.
void wait_turn(worker* w) noexcept {
  scheduler& s = *w->home;
  {
    std::lock_guard guard(s.blocking_lock);
    unsigned count = s.blocking_count.load(std::memory_order_relaxed);
    if (count < s.options.blocking_threads) {
      s.blocking_count.store(count + 1, std::memory_order_relaxed);
      return;
    }
  }
  constexpr auto queue_up = [](waiter self, void* object, std::uintptr_t) noexcept {
    auto* home = static_cast<scheduler*>(object);
    std::lock_guard guard(home->blocking_lock);
    unsigned count = home->blocking_count.load(std::memory_order_relaxed);
    if (count < home->options.blocking_threads) {
      home->blocking_count.store(count + 1, std::memory_order_relaxed);
      return false;
    }
    home->blocking_queue.push(self.as_fiber());
    return true;
  };
  // Whoever takes the fiber out of the queue has passed its place on to it.
  park({queue_up, &s}, wait_reason::blocking_slot);
}

void end_turn(scheduler& s) noexcept {
  fiber* next;
  {
    std::lock_guard guard(s.blocking_lock);
    next = s.blocking_queue.pop();
    if (next == nullptr) {
      s.blocking_count.store(s.blocking_count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }
  }
  if (next != nullptr) ready(waiter(next));
}

// lend leaves the processor to whoever needs it.
void lend(worker* w) noexcept {
  scheduler& s = *w->home;
  processor* p = w->lent = std::exchange(w->p, nullptr);
  p->state.store(processor_state::blocking, std::memory_order_seq_cst);  // pairs with any_lent
  s.idle.processor_released();
  // The re-check that a release asks for (idle_protocol, O1); and somebody must sit in the poller.
  if (s.work_anywhere() || !s.poller_asleep.load(std::memory_order_seq_cst)) s.wake_for_work();
}

// take_back returns to running fibers: with the processor that was lent, with another, or else through the global queue.
// noinline: the caller may come back on another thread.
[[gnu::noinline]] void take_back(worker* w) noexcept {
  scheduler& s = *w->home;
  processor* p = std::exchange(w->lent, nullptr);
  processor_state blocking = processor_state::blocking;
  if (p->state.compare_exchange_strong(blocking, processor_state::running, std::memory_order_acquire)) {
    s.idle.processor_taken();
    w->p = p;
  }
  if (w->p != nullptr || s.acquire_processor(w)) {
    // As in find_runnable: the monitor counts a lent processor as idle, and may have gone to sleep during the region.
    if (s.monitor_asleep.load(std::memory_order_seq_cst) != 0) s.wake_monitor();
    w->running()->since.store(s.clock.load(std::memory_order_relaxed) & ~exact_time, std::memory_order_relaxed);
    w->running()->look.goes_on();
    return;
  }
  constexpr auto queue_globally = [](waiter self, void* object, std::uintptr_t) noexcept {
    auto* home = static_cast<scheduler*>(object);
    home->global.push(self.as_fiber());
    home->wake_for_work();
    return true;
  };
  depart_to_loop(w, w->running(), queue_globally, &s);
}

}  // namespace

blocking_region::blocking_region() noexcept : entered_(false) {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) return;
  fiber* f = w->running();
  if (f->checks != 0) [[unlikely]] check_departure(*f, fiber_phase::blocking);  // wait_turn may park, or not
  wait_turn(w);
  w = current_worker();
  f->since.store(w->home->clock.load(std::memory_order_relaxed) & ~exact_time, std::memory_order_relaxed);
  f->look.becomes(fiber_phase::blocking);
  lend(w);
  entered_ = true;
}

blocking_region::~blocking_region() {
  if (!entered_) return;
  worker* w = current_worker();
  scheduler& s = *w->home;
  if (w->running()->checks != 0) [[unlikely]] check_departure(*w->running(), fiber_phase::blocking);
  take_back(w);
  end_turn(s);
}

}  // namespace weft::inline v0::sched
