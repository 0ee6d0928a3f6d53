// frames: the return addresses on a stack, by the unwinder that exceptions use.
#pragma once

#include "context.hpp"

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

// frame_list takes the first of the frames that it is given, innermost first.
struct frame_list {
  static constexpr std::size_t capacity = 64;

  const void* items[capacity];
  std::size_t count = 0;
  bool more = false;
};

// frames_of lists where a suspended context will go on, and its callers. None where the layout of what a switch saves is
// not known. REQUIRES: nobody resumes it meanwhile.
void frames_of(const context& suspended, frame_list& into) noexcept;

// stack_position_of is how far a suspended context has come down its stack.
const std::byte* stack_position_of(const context& suspended) noexcept;

// frames_above lists the callers of whoever has `pc` as its return address or, in a signal handler, was interrupted there;
// the walk begins at the caller's own frame. Nothing is allocated.
void frames_above(const void* pc, frame_list& into) noexcept;

// walk calls visit with each frame of the caller's own stack, innermost first, as long as that returns true.
void walk(bool (*visit)(void* context, const void* pc) noexcept, void* context) noexcept;

}  // namespace weft::inline v0::sched
