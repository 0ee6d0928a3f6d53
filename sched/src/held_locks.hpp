// The seam between the core and weft::lock_check, which is linked or not: which locks of the system does the fiber hold
// that is about to leave its thread?
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::inline v0::sched {

class fiber;
enum class fiber_phase : std::uint8_t;

enum class lock_kind : std::uint8_t { mutex, read_lock, write_lock, spin_lock };

// held_lock is a lock that belongs to a thread, and was taken by the fiber that runs on it.
struct held_lock {
  static constexpr std::size_t most_frames = 16;

  const void* address = nullptr;
  lock_kind kind = lock_kind::mutex;
  std::uint32_t times = 1;  // taken, by one fiber: recursively, or shared
  std::uint32_t frame_count = 0;
  const void* frames[most_frames];  // return addresses of who took it first, innermost first
};

// held_locks_function gives the locks that the calling fiber has taken and not given back, in the order of taking. They are
// valid until it takes or gives back one.
using held_locks_function = std::span<const held_lock> (*)() noexcept;

// register_held_locks makes every fiber whose stack is carved from now on ask `f` before it leaves its thread. Called before
// main.
WEFT_API void register_held_locks(held_locks_function f) noexcept;

// frames_from lists the callers of the caller, from whoever has `pc` as its return address on; returns how many.
// Allocates nothing and takes no lock, but for code that was registered with the unwinder at run time.
WEFT_API std::size_t frames_from(const void* pc, std::span<const void*> into) noexcept;

// held_locks_known tells whether register_held_locks was called.
bool held_locks_known() noexcept;

// check_held_locks aborts, and says who, which and where, if the calling fiber, which is f, holds a lock. `to` is what f will
// be doing: `blocking` stands for both ends of a blocking region. `pc` is a return address on the stack, from which on the
// report shows it. REQUIRES: held_locks_known().
void check_held_locks(const fiber& f, fiber_phase to, const void* pc) noexcept;

}  // namespace weft::inline v0::sched
