// stack_trim: when stacks go back to the system.
#pragma once

#include <weft/sched/clock.hpp>

namespace weft::inline v0::sched {

class scheduler;

// stack_trim gives the memory of stacks that are not needed back, control blocks included, a handful at each tick of the
// monitor, who owns it. Lives as long as the monitor runs.
//
// When nobody holds the address of a free stack's control block any more
// An ended fiber's control block is still touched by those who learn there that they have come too late. Each of them is one of
//   1 a worker that runs the rest of the commit with which the fiber left (arrived), or its alarm, of a sleep or of a wait
//     that lasted, which was stopped. Either does so between two dispatches of the processor it holds. So a worker is past it
//     when its processor has dispatched since, or is idle, or lent.
//   2 a reader of the registry (registry_readers).
//   3 a heap that a stopped alarm stands in (timer::in_heap).
//   4 the monitor itself, which looks at what the workers run; not now.
// Stops, links and deadlines wait for one another before the fiber ends, and handles keep the stack.
//
// States     nothing aside | stacks aside   set: tick (set_aside)   left: tick, when 1 and 2 have passed (give_back)
// Invariants I1 a stack was free before it was set aside, and stays so until it is given back
// Orderings  O1 processor: touch, then raise dispatches (release), or leave the processor (release) || tick: load either
//               (acquire), then give back
//            O2 tick: set aside, then note the dispatches. Noted before, a dispatch in between would count, though the stack
//               was not free then; whoever made it may have published the fiber and still hold its address.
// Not here   haste: as long as one worker runs one fiber, nothing is given back; when a pool has too many: stack_pool's spans
class stack_trim {
 public:
  explicit stack_trim(scheduler& s) noexcept : home_(s) {}

  // tick is called every 10 ms. `quiet`: nothing has run since the last one. True: it would like to be called again though
  // nothing runs.
  bool tick(nanotime at, bool quiet) noexcept;

 private:
  bool all_past() const noexcept;
  void purge_alarms() noexcept;

  scheduler& home_;
  nanotime span_ends_ = 0;
  bool aside_ = false;
  bool wanted_ = true;
};

}  // namespace weft::inline v0::sched
