// scheduler: M fibers on N workers, as one object.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

class netpoller;
class fiber;
class scheduler;  // opaque; sched/src/scheduler.hpp

struct fiber_view;

// scheduler_reports are told of what is wrong with the fibers, on the monitor's thread. Null: nobody is.
struct scheduler_reports {
  void* context = nullptr;
  // A fiber runs for `hog_after` without letting others go first, and then for twice as long, and so on; at most one
  // report a second.
  void (*hog)(void* context, const fiber_view& v, nanotime runs) noexcept = nullptr;
  // Fibers are left, and nothing in this process can ever make one runnable again.
  void (*standstill)(void* context) noexcept = nullptr;
  // ask_report was called.
  void (*asked)(void* context) noexcept = nullptr;
};

struct scheduler_options {
  unsigned processors = 0;              // 0: available_cpus()
  std::size_t stack_size = 256 * 1024;  // usable bytes of a fiber's stack
  unsigned blocking_threads = 256;      // blocking regions at one time
  bool fault_handler = true;            // SIGSEGV and SIGBUS: overflows are reported, other faults passed on
  bool stack_marks = false;             // how deep stacks become is measured (stack_marks.hpp)
  // Of the free stacks that nobody took for so long, all but so many of each size give their memory back.
  nanotime stack_span = 1'000'000'000;
  std::size_t stacks_kept = 256;
  nanotime hog_after = never;
  scheduler_reports reports{};
};

inline constexpr std::size_t run_wait_buckets = 24;

// processor_stats counts since the start.
struct processor_stats {
  std::uint64_t spawned = 0;     // fibers started by those that ran here
  std::uint64_t dispatches = 0;  // times that a fiber was given the processor
  std::uint64_t steals = 0;      // of those, from another processor's queue
  std::uint64_t polls = 0;
  std::uint64_t poll_nanoseconds = 0;  // asleep in the poller
  std::size_t queued = 0;              // fibers in the queue, just now
  std::array<std::uint64_t, wait_reasons> parks{};  // by wait_reason
  // Of one in 64 fibers made runnable, how many ran after less than 2^i microseconds, and not less than half of that.
  std::array<std::uint64_t, run_wait_buckets> run_waits{};
  std::uint64_t run_wait_nanoseconds = 0;  // of all these
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
  std::uint64_t outside = 0;    // of the fibers, those started by plain threads and by fibers of others
  std::size_t queued = 0;       // fibers in the queue that all processors share, just now
  unsigned blocking = 0;        // calls in blocking regions, just now
  std::size_t stacks = 0;       // that were ever needed at one time
  std::size_t stack_bytes = 0;  // address space of the slabs
  std::size_t free_stacks = 0;  // of the stacks, in the pools, but for the processors' own stock
  std::size_t warm_stacks = 0;  // of the free ones, those whose memory has not gone back to the system
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

// ask_report has the monitor call reports.asked, though every worker may be stuck. Any thread; signal handlers too.
WEFT_API void ask_report(scheduler& s) noexcept;

WEFT_API scheduler_stats stats_of(const scheduler& s) noexcept;
// The i-th processor's; i is less than stats_of(s).processors.
WEFT_API processor_stats stats_of(const scheduler& s, unsigned i) noexcept;

// The scheduler whose fiber or entered thread (enter_scheduler) the caller is; null on any other thread.
WEFT_API scheduler* current_scheduler() noexcept;

// enter_scheduler makes s current for the calling plain thread and returns what was current before.
WEFT_API scheduler* enter_scheduler(scheduler* s) noexcept;

}  // namespace weft::inline v0::sched
