// standstill: how a monitor that has gone to sleep hears of threads.
#pragma once

namespace weft::inline v0::sched {

class scheduler;

// thread_fell_asleep is called by a thread that has just marked itself asleep for good, or is about to end: it may have been
// the last one that a scheduler's fibers could hope for, and then that scheduler's monitor looks again.
void thread_fell_asleep() noexcept;

// forget_watched ends that for s, which is about to go.
void forget_watched(const scheduler& s) noexcept;

}  // namespace weft::inline v0::sched
