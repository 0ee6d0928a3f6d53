// A hint to the CPU that the caller spins.
#pragma once

namespace weft::inline v0::sched {

inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace weft::inline v0::sched
