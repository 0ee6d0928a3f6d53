// Times as the scheduler counts them.
#pragma once

#include <weft/sched/clock.hpp>

#include <chrono>
#include <type_traits>

namespace weft::inline v0::detail {

// saturated gives a duration in nanoseconds, rounded up and limited to what there are.
template <class Rep, class Period>
constexpr sched::nanotime saturated(const std::chrono::duration<Rep, Period>& d) {
  if constexpr (std::is_same_v<Period, std::nano> && std::is_same_v<Rep, sched::nanotime>) return d.count();
  using wide = std::chrono::duration<long double, std::nano>;
  constexpr auto most = std::chrono::nanoseconds::max();
  constexpr auto least = std::chrono::nanoseconds::min();
  if (wide(d) >= wide(most)) return most.count();
  if (!(wide(d) > wide(least))) return least.count();
  return std::chrono::ceil<std::chrono::nanoseconds>(d).count();  // upwards: nothing ends early
}

// to_nanotime: a steady time point as it is; a duration from now, or 0, which has always passed, if it is none.
template <class Duration>
sched::nanotime to_nanotime(const std::chrono::time_point<std::chrono::steady_clock, Duration>& when) {
  return saturated(when.time_since_epoch());
}
// Of a clock that may be set, looked at once.
template <class Clock, class Duration>
  requires(!std::is_same_v<Clock, std::chrono::steady_clock>)
sched::nanotime to_nanotime(const std::chrono::time_point<Clock, Duration>& when) {
  return sched::after(saturated(when - Clock::now()));
}
template <class Rep, class Period>
sched::nanotime to_nanotime(const std::chrono::duration<Rep, Period>& time) {
  const sched::nanotime ns = saturated(time);
  return ns > 0 ? sched::after(ns) : 0;
}

}  // namespace weft::inline v0::detail
