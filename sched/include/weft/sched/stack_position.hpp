// stack_position: where on which stack the caller is, which tells who it is.
#pragma once

namespace weft::inline v0::sched {

// stack_position returns the stack pointer, for no price at all: whoever reads it later finds the fiber by it (fiber_at),
// as long as that lives.
inline const void* stack_position() noexcept {
  const void* here;
#if defined(__x86_64__)
  asm("movq %%rsp, %0" : "=r"(here));
#elif defined(__aarch64__)
  asm("mov %0, sp" : "=r"(here));
#else
  here = __builtin_frame_address(0);
#endif
  return here;
}

}  // namespace weft::inline v0::sched
