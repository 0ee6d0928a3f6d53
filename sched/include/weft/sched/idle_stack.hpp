// idle_stack: the memory that a long wait does not need.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/park.hpp>

namespace weft::inline v0::sched {

// A wait that has lasted for a second gives the stack below it back to the system. What is there was left by calls that have
// returned; whoever comes to need it again pays for a page fault. It is for waits that may end for no reason, since only the
// waiter itself knows where its frames end:
//     for (;;) { park_at(..., form); return if it was for something; if (give_back_idle_stack()) form = one that keeps it; }
// A fiber is woken for that at most once a second while it uses such waits, and not any more once its wait has been so long.

// give_back_idle_stack does so if the caller's last park_at has lasted for so long; false: it has not.
WEFT_API bool give_back_idle_stack() noexcept;

}  // namespace weft::inline v0::sched
