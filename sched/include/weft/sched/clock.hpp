// The one clock of the scheduler: CLOCK_MONOTONIC as a count of nanoseconds.
#pragma once

#include <weft/export.hpp>

#include <cstdint>
#include <limits>

namespace weft::inline v0::sched {

// nanotime is a point on CLOCK_MONOTONIC, in nanoseconds; the epoch of std::chrono::steady_clock.
using nanotime = std::int64_t;

inline constexpr nanotime never = std::numeric_limits<nanotime>::max();

// now reads the clock (about 20 ns). Any thread.
WEFT_API nanotime now() noexcept;

// coarse_now returns a time that is not after now() and, by a tick of the system (1 to 10 ms), usually somewhat before
// it; about 5 ns. Any thread.
WEFT_API nanotime coarse_now() noexcept;

// after returns now() + delay, saturating at never; a delay of zero or less is now.
WEFT_API nanotime after(nanotime delay) noexcept;

}  // namespace weft::inline v0::sched
