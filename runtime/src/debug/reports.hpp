// reports: what a runtime says of its fibers without being asked.
#pragma once

#include <weft/sched/scheduler.hpp>

#include <chrono>

namespace weft::inline v0 {

struct processor_stats;

namespace detail {
class runtime_state;
}

namespace debug {

// processor_figures puts the reasons to park into words.
processor_stats processor_figures(const sched::processor_stats& p);

// reports_of makes the scheduler's reports those of its runtime, which outlives it.
sched::scheduler_reports reports_of(detail::runtime_state& r) noexcept;

// report_leaks names the fibers of the process that are older.
void report_leaks(std::chrono::nanoseconds age) noexcept;

// write_last_dump describes some of the fibers on standard error, when the process is about to end by a fault of its own: once,
// and unless that takes too long. Any thread, whatever locks it has.
void write_last_dump() noexcept;

// dump_on_signal makes a signal have the monitor of s write a dump. 0, or an errno value: EBUSY if too many have that.
int dump_on_signal(int number, sched::scheduler& s) noexcept;
// no_dump_on_signal ends it; no handler uses s any more when it returns.
void no_dump_on_signal(int number, sched::scheduler& s) noexcept;

}  // namespace debug

}  // namespace weft::inline v0
