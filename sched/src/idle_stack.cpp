#include <weft/sched/idle_stack.hpp>

#include "control_block.hpp"
#include "current.hpp"
#include "idle_alarm.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <weft/sched/sys.hpp>

#include <atomic>
#include <cstdint>

#include <sys/mman.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

constexpr nanotime idle_spell = 1'000'000'000;

// ring ends the fiber's wait if that is for input, for however long it has lasted: the fiber waits again, and sets the alarm
// again, which nobody else may. Whoever has announced a site waits for us in withdraw: so a fiber that is parked there stays in
// that wait meanwhile. The shot may be one for an earlier wait, or for a fiber that used the stack before.
void ring(void* object, std::uint32_t) noexcept {
  fiber& f = *static_cast<fiber*>(object);
  f.idle.store(idle_alarm::off, std::memory_order_relaxed);  // before it may wake
  cancel_site* const site = f.stops.enter_cancel();
  if (site != nullptr && f.look.phase() == fiber_phase::parked) {
    std::atomic_thread_fence(std::memory_order_acquire);  // reason and time were stored before it parked
    if (f.reason.load(std::memory_order_relaxed) == wait_reason::read) {
      if (now() - f.since.load(std::memory_order_relaxed) >= idle_spell) {
        f.idle.store(idle_alarm::rang, std::memory_order_relaxed);
      }
      site->cancel(*site, waiter::from_bits(f.stops.who()));
    }
  }
  f.stops.leave_cancel();
}

// The page that the caller's frame is in stays, and whatever the call below needs. A fiber may be on a stack of its caller's own
// making: then nothing is known.
[[gnu::noinline]] void give_back_below(const fiber& f) noexcept {
  constexpr std::uintptr_t frames = 1024;
  const auto page = static_cast<std::uintptr_t>(::getpagesize());
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (here < reinterpret_cast<std::uintptr_t>(f.stack_bottom) || here >= reinterpret_cast<std::uintptr_t>(&f)) return;
  const std::uintptr_t end = (here - frames) / page * page;
  const std::uintptr_t kept = (f.checks & canary_check) != 0 ? page : 0;
  const std::uintptr_t bottom = (reinterpret_cast<std::uintptr_t>(f.stack_bottom) + kept + page - 1) / page * page;
  if (end > bottom) sys_call(::madvise, reinterpret_cast<void*>(bottom), end - bottom, MADV_DONTNEED);
}

}  // namespace

// The scheduler's clock may have stood still for long: it tells ring when the wait began.
[[gnu::noinline]] void arm_idle_alarm(fiber& f) noexcept {
  const nanotime at = now();
  f.home->clock.store(at, std::memory_order_relaxed);
  f.alarmed = true;
  f.idle.store(idle_alarm::set, std::memory_order_relaxed);  // before it may ring
  if (!f.sleep.alarm.arm(*f.home, at + idle_spell, ring, &f, 0)) f.idle.store(idle_alarm::off, std::memory_order_relaxed);
}

bool give_back_idle_stack() noexcept {
  fiber* const f = current_fiber();
  if (f == nullptr || f->idle.load(std::memory_order_relaxed) != idle_alarm::rang) return false;
  f->idle.store(idle_alarm::off, std::memory_order_relaxed);
  if ((f->checks & depth_check) == 0) give_back_below(*f);
  return true;
}

}  // namespace weft::inline v0::sched
