#include <weft/sched/clock.hpp>

#include <time.h>

namespace weft::inline v0::sched {

nanotime now() noexcept {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<nanotime>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

nanotime after(nanotime delay) noexcept {
  nanotime t = now();
  if (delay <= 0) return t;
  return delay > never - t ? never : t + delay;
}

}  // namespace weft::inline v0::sched
