// scheduler: M fibers on N workers, as one object.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

class netpoller;
class fiber;
class scheduler;  // opaque; sched/src/scheduler.hpp

struct scheduler_options {
  unsigned processors = 0;              // 0: available_cpus()
  std::size_t stack_size = 256 * 1024;  // usable bytes of a fiber's stack
  unsigned blocking_threads = 256;      // blocking regions at one time
};

struct scheduler_stats {
  unsigned processors = 0;
  unsigned threads = 0;         // workers that exist, those in blocking regions included
  std::uint64_t spawned = 0;    // fibers ever started
  std::uint64_t live = 0;       // of those, not ended
  std::uint64_t dispatches = 0; // fibers given a worker
  std::uint64_t steals = 0;
  std::uint64_t polls = 0;
  std::uint64_t wakes = 0;      // workers woken from their sleep
};

// available_cpus: the CPUs this process may use, by its affinity mask and its cgroup's quota (rounded up); at least 1.
WEFT_API unsigned available_cpus() noexcept;

// create_scheduler returns null and sets `error` to an errno value if a resource is refused. The poller must outlive it.
[[nodiscard]] WEFT_API scheduler* create_scheduler(const scheduler_options& options, netpoller& poller,
                                                   int& error) noexcept;

// stop_all makes a stop stand for every fiber of s, those not yet started and those still to be spawned included.
WEFT_API void stop_all(scheduler& s) noexcept;

// drain waits until s has no live fiber or the clock has reached `until`; true in the first case. Plain threads, and fibers
// inside a blocking region.
WEFT_API bool drain(scheduler& s, nanotime until) noexcept;

// for_each_live calls visit for every fiber that is live, while the rest runs on: what it reports may be over at once.
WEFT_API void for_each_live(scheduler& s, void (*visit)(void* context, std::uint64_t id, const char* name),
                            void* context) noexcept;

// destroy_scheduler joins the workers and frees every stack that no handle keeps; the last of those handles to be released
// frees the rest. REQUIRES: drained; not called from one of its workers.
WEFT_API void destroy_scheduler(scheduler* s) noexcept;

WEFT_API scheduler_stats stats_of(const scheduler& s) noexcept;

// The scheduler whose fiber or entered thread (enter_scheduler) the caller is; null on any other thread.
WEFT_API scheduler* current_scheduler() noexcept;

// enter_scheduler makes s current for the calling plain thread and returns what was current before.
WEFT_API scheduler* enter_scheduler(scheduler* s) noexcept;

}  // namespace weft::inline v0::sched
