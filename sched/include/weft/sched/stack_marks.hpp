// stack_marks: how deep the stacks of fibers have become, by where the fibers were spawned.
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

class scheduler;

// stack_mark is the deepest of all fibers of one size that were spawned at one place.
struct stack_mark {
  const void* spawned_at = nullptr;  // the return address of the spawn; null: not known, or there was no room to tell
  std::size_t stack_size = 0;
  std::uint64_t fibers = 0;  // that have ended
  std::size_t deepest = 0;   // bytes, of these and of those that are suspended now
};

// for_each_stack_mark calls visit with each, if scheduler_options::stack_marks had them measured. visit doesn't suspend.
// Any thread, any fiber. The caller keeps s from being destroyed.
WEFT_API void for_each_stack_mark(scheduler& s, void (*visit)(void* context, const stack_mark& m), void* context) noexcept;

}  // namespace weft::inline v0::sched
