#include "held_locks.hpp"

#include "control_block.hpp"
#include "frames.hpp"
#include "report_line.hpp"

#include <weft/sched/fatal.hpp>

#include <atomic>

namespace weft::inline v0::sched {

namespace {

// Set before there are threads, and by whoever loads a library while there are: it publishes nothing but itself.
constinit std::atomic<held_locks_function> held_locks_of_caller{nullptr};

const char* name_of(lock_kind k) noexcept {
  switch (k) {
    case lock_kind::mutex:
      return "pthread mutex";
    case lock_kind::read_lock:
      return "read lock of the pthread rwlock";
    case lock_kind::write_lock:
      return "write lock of the pthread rwlock";
    case lock_kind::spin_lock:
      return "pthread spin lock";
  }
  return "lock";
}

const char* name_of(fiber_phase to) noexcept {
  switch (to) {
    case fiber_phase::parked:
      return "parks";
    case fiber_phase::runnable:
      return "yields";
    case fiber_phase::blocking:
      return "begins or ends a blocking call";
    case fiber_phase::none:
      return "ends";
    case fiber_phase::running:
      break;
  }
  return "leaves its thread";
}

void report_frames(std::span<const void* const> frames, bool more) noexcept {
  for (std::size_t i = 0; i < frames.size(); ++i) {
    (report_line() << "weft:     #" << std::uint64_t{i} << " ").code(frames[i], code_address::return_address);
  }
  if (more) report_line() << "weft:     ...";
}

}  // namespace

void register_held_locks(held_locks_function f) noexcept {
  // The unwinder may load what it needs when it is used first. Later that might be inside of an allocator.
  const void* frames[1];
  frames_from(nullptr, frames);
  held_locks_of_caller.store(f, std::memory_order_relaxed);
}

std::size_t frames_from(const void* pc, std::span<const void*> into) noexcept {
  struct search {
    std::span<const void*> into;
    const void* first;
    std::size_t count = 0;
  } found{into, pc};
  walk(
      [](void* context, const void* at) noexcept {
        auto& s = *static_cast<search*>(context);
        if (s.first != nullptr && at != s.first) return true;
        s.first = nullptr;
        s.into[s.count++] = at;
        return s.count != s.into.size();
      },
      &found);
  return found.count;
}

bool held_locks_known() noexcept { return held_locks_of_caller.load(std::memory_order_relaxed) != nullptr; }

void check_held_locks(const fiber& f, fiber_phase to, const void* pc) noexcept {
  const std::span<const held_lock> held = held_locks_of_caller.load(std::memory_order_relaxed)();
  if (held.empty()) return;
  char name[fiber_name::capacity];
  f.name.copy_to(name);
  const std::uint64_t id = f.id.load(std::memory_order_relaxed);
  for (const held_lock& l : held) {
    report_line() << "weft: fiber " << id << " '" << std::string_view(name) << "' has taken the " << name_of(l.kind) << " "
                  << l.address << ", and holds it " << std::uint64_t{l.times} << (l.times == 1 ? " time" : " times")
                  << "; taken at";
    report_frames(std::span(l.frames, l.frame_count), l.frame_count == held_lock::most_frames);
  }
  report_line() << "weft: and " << name_of(to) << " at";
  frame_list here;
  frames_above(pc, here);
  report_frames(std::span(here.items, here.count), here.more);
  const held_lock& first = held.front();
  fatal("fiber %llu '%s' %s while it holds the %s %p, which belongs to the thread (%zu in all; weft::mutex may be held)",
        static_cast<unsigned long long>(id), name, name_of(to), name_of(first.kind), first.address, held.size());
}

}  // namespace weft::inline v0::sched
