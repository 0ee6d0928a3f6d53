#include "stack_trim.hpp"

#include "scheduler.hpp"

namespace weft::inline v0::sched {

namespace {

// At most so many at a tick: giving one back takes 2 us, or 5 where nine pages were touched (measured), and while the workers
// are busy, others wait for the monitor.
constexpr std::size_t batch = 256;
constexpr std::size_t quiet_batch = 2048;

}  // namespace

bool stack_trim::all_past() const noexcept {
  if (!home_.readers.none()) return false;
  for (const auto& p : home_.processors) {
    if (p->state.load(std::memory_order_acquire) == processor_state::running &&
        p->dispatches.load(std::memory_order_acquire) == p->dispatches_seen) {  // O1
      return false;
    }
  }
  return true;
}

void stack_trim::purge_alarms() noexcept {
  for (const auto& p : home_.processors) p->timers.purge();
  home_.shared_timers.purge();
}

bool stack_trim::tick(nanotime at, bool quiet) noexcept {
  if (aside_) {
    if (!all_past()) return true;
    std::size_t kept = 0;
    home_.for_each_pool([&](stack_pool& pool) { kept += pool.give_back(); });
    aside_ = false;
    // Heaps get rid of stopped timers when something is put in; here nothing may be for long.
    if (kept != 0 && quiet) purge_alarms();
    wanted_ |= kept != 0;
  }
  if (at >= span_ends_) {
    // Taking memory anew costs 2 us a page in a virtual machine (measured): a load that comes in waves should not pay that for
    // each. Hence spans, and how long they are.
    span_ends_ = home_.options.stack_span < never - at ? at + home_.options.stack_span : never;
    wanted_ = false;
    home_.for_each_pool([&](stack_pool& pool) { wanted_ |= pool.begin_span(home_.options.stacks_kept); });
  }
  home_.for_each_pool([&](stack_pool& pool) {
    pool.set_aside(quiet ? quiet_batch : batch);
    aside_ |= pool.any_aside();
  });
  for (const auto& p : home_.processors) p->dispatches_seen = p->dispatches.load(std::memory_order_relaxed);  // O2
  return aside_ || wanted_;
}

}  // namespace weft::inline v0::sched
