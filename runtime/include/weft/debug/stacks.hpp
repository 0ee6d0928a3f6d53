// How much stack fibers need, measured.
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::inline v0::debug {

// stack_mark says how deep the stacks of the fibers of one size that were spawned at one place have become.
struct stack_mark {
  std::string spawned_at;     // the function and the place in it
  std::uint64_t fibers = 0;   // that have ended
  std::size_t stack_size = 0;
  std::size_t deepest = 0;    // bytes, of these and of those that are suspended now
  // A spawn_options::stack_size that would do, if what was measured is all that they ever do: half as much again, and at
  // least 16 KiB for what has not happened yet, such as an exception.
  std::size_t suggested = 0;
};

// stack_marks returns the marks of every runtime that has runtime_options::measure_stacks, the deepest first. Only what was
// written counts: an array that nobody filled is not seen. The least that a fiber can have is 16 KiB.
// Throws std::bad_alloc. From fibers and plain threads.
[[nodiscard]] WEFT_API std::vector<stack_mark> stack_marks();

// stack_marks_text is the same as a table.
[[nodiscard]] WEFT_API std::string stack_marks_text();

}  // namespace weft::inline v0::debug
