// idle_watch: the memory that a long wait does not need.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>

namespace weft::inline v0::sched {

// idle_watch gives the stack below a wait back to the system once the wait has lasted for a second. What is there was left by
// calls that have returned; whoever comes to need it again pays for a page fault. For waits that may end for no reason, on the
// stack of the waiter:
//     for (idle_watch idle;;) { idle.begin(); wait, and return if it was for something; idle.interrupted(); }
// A fiber is interrupted at most once a second while it uses such waits, and not any more once its wait has been so long.
// Does nothing on a plain thread.
class WEFT_API idle_watch {
 public:
  void begin() noexcept;
  void interrupted() noexcept;

 private:
  nanotime begun_ = 0;  // 0: not yet
  bool over_ = false;   // there is nothing to give back any more
};

}  // namespace weft::inline v0::sched
