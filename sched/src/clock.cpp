#include <weft/sched/clock.hpp>

#include <time.h>

namespace weft::inline v0::sched {

namespace {

nanotime read(clockid_t clock) noexcept {
  timespec t;
  ::clock_gettime(clock, &t);
  return static_cast<nanotime>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

nanotime now() noexcept { return read(CLOCK_MONOTONIC); }
nanotime coarse_now() noexcept { return read(CLOCK_MONOTONIC_COARSE); }

nanotime after(nanotime delay) noexcept {
  nanotime t = now();
  if (delay <= 0) return t;
  return delay > never - t ? never : t + delay;
}

}  // namespace weft::inline v0::sched
