#include <weft/sched/idle_watch.hpp>

#include "control_block.hpp"
#include "current.hpp"
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

// ring interrupts the fiber if it reads, for however long it has: that is for the fiber to tell, which alone may arm the alarm
// again. The alarm may be of an earlier wait, or of a fiber that used the stack before; each wait looks again when it ends for
// no reason. Whoever has announced the site waits for us in withdraw, so if the fiber is parked, it is there.
void ring(void* object, std::uint32_t) noexcept {
  fiber& f = *static_cast<fiber*>(object);
  cancel_site* const site = f.stops.enter_cancel();
  if (site != nullptr && f.look.phase() == fiber_phase::parked) {
    std::atomic_thread_fence(std::memory_order_acquire);  // the reason was stored before it parked
    if (f.reason.load(std::memory_order_relaxed) == wait_reason::read) {
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

void idle_watch::begin() noexcept {
  if (over_) return;
  worker* const w = current_worker();
  fiber* const f = w == nullptr || w->p == nullptr ? nullptr : w->running();
  if (f == nullptr) return;
  if (begun_ == 0) begun_ = f->home->clock.load(std::memory_order_relaxed);
  // One that was armed for an earlier wait will do: it is as if this one had begun then.
  if (f->sleep.alarm.armed()) return;
  const nanotime at = now();
  // The scheduler's clock may have stood still for long.
  if (at - begun_ > idle_spell) begun_ = at;
  static_cast<void>(f->sleep.alarm.arm(*f->home, begun_ + idle_spell, ring, f, 0));
}

void idle_watch::interrupted() noexcept {
  if (over_ || begun_ == 0 || now() - begun_ < idle_spell) return;
  over_ = true;
  const fiber* const f = current_fiber();
  if (f != nullptr && (f->checks & depth_check) == 0) give_back_below(*f);
}

}  // namespace weft::inline v0::sched
