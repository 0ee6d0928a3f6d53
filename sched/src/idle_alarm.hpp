// idle_alarm: the alarm that tells a fiber of a wait that lasts (idle_stack.cpp).
#pragma once

#include "control_block.hpp"

#include <atomic>

namespace weft::inline v0::sched {

void arm_idle_alarm(fiber& f) noexcept;

// watch_stack sees to it that f's wait, which is about to begin, is ended if it lasts. An alarm that was set for an earlier wait
// will do.
inline void watch_stack(fiber& f) noexcept {
  if (f.idle.load(std::memory_order_relaxed) != idle_alarm::set) [[unlikely]] arm_idle_alarm(f);
}

}  // namespace weft::inline v0::sched
