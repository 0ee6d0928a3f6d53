// In the place of sched/include/weft/sched/atomic.hpp: words whose every access is a step of the explorer.
#pragma once

#include <support/explore.hpp>

#include <atomic>

namespace weft::inline v0::sched {

using model::atomic;
using model::await;

inline void fence_behind_locked() noexcept {}  // here, every access is one

}  // namespace weft::inline v0::sched
