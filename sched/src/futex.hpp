// The futex system call, on words of this process only.
#pragma once

#include <weft/sched/clock.hpp>
#include <weft/sched/sys.hpp>

#include <atomic>
#include <cstdint>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace weft::inline v0::sched {

// futex_wait sleeps while `word` holds `expected`, at most until the clock reaches `until`; returns for any reason.
inline void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected, nanotime until = never) noexcept {
  timespec at{};
  if (until != never) {
    at.tv_sec = until / 1'000'000'000;
    at.tv_nsec = until % 1'000'000'000;
  }
  // FUTEX_WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC, so an interrupted wait needs no arithmetic.
  sys_call(::syscall, SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected, until == never ? nullptr : &at, nullptr,
           FUTEX_BITSET_MATCH_ANY);
}

// futex_wake wakes up to `count` sleepers. It uses the bare address: the word's memory may be in other use already, which
// costs its new user a spurious wake.
inline void futex_wake(const std::atomic<std::uint32_t>* word, int count) noexcept {
  sys_call(::syscall, SYS_futex, word, FUTEX_WAKE_PRIVATE, count);
}

}  // namespace weft::inline v0::sched
