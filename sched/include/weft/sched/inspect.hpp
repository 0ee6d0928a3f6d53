// inspect: a look at every fiber of a scheduler, while the rest runs on.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

class scheduler;

enum class fiber_state : std::uint8_t { runnable, running, parked, blocking };

// fiber_view is what a fiber was doing when it was looked at. Valid until visit returns.
struct fiber_view {
  static constexpr std::size_t most_frames = 64;

  std::uint64_t id = 0;
  const char* name = "";
  fiber_state state = fiber_state::runnable;
  // Of a parked one. What the object's type is, the reason tells; it may be read, not changed.
  wait_reason why = wait_reason::none;
  const void* object = nullptr;
  nanotime wakes = never;   // of one that sleeps
  nanotime since = 0;       // of the state; a clock that lags by up to 10 ms, and more in an idle process
  nanotime spawned = 0;     // by the same clock
  const void* spawned_at = nullptr;  // the return address of the spawn; null: not known
  unsigned worker = 0;      // of one that runs
  const std::byte* stack_bottom = nullptr;
  std::size_t stack_size = 0;
  std::size_t stack_used = 0;     // at the moment, of one that does not run; else 0
  std::size_t stack_touched = 0;  // bytes of it that are in memory, as far as the system tells
  // Return addresses, innermost first. None of a fiber that has not run yet, and of one that runs where it cannot be
  // interrupted (`interruptible`). One that runs, or blocks, goes on meanwhile.
  const void* const* frames = nullptr;
  std::size_t frame_count = 0;
  bool more_frames = false;
};

struct inspect_options {
  bool frames = true;
  std::size_t limit = ~std::size_t{0};  // fibers that are visited
};

// inspect calls visit with every live fiber of s. What is suspended stays so until visit returns; a few others with it. So
// visit doesn't suspend, or wait for anybody. Any thread, any fiber, one inspection at a time. Fibers that are spawned
// meanwhile may be missed. The caller keeps s from being destroyed.
WEFT_API void inspect(scheduler& s, const inspect_options& options, void (*visit)(void* context, const fiber_view& v),
                      void* context) noexcept;

// fiber_at tells whose stack `address` lies on: its id, and its name; 0 if it is no fiber of s.
WEFT_API std::uint64_t fiber_at(scheduler& s, const void* address, char (&name)[32]) noexcept;

}  // namespace weft::inline v0::sched
