// waits: what a wait for a descriptor is for, to whoever looks at the fiber that waits.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/debugger.hpp>

namespace weft::inline v0::poll {

// number_waited_for returns the number of the descriptor that a fiber is parked on, from the object that it gave when it
// parked to read or write; -1 for an end of a pipe in memory. REQUIRES: the fiber stays parked meanwhile.
WEFT_API int number_waited_for(const void* object) noexcept;

// The same for debuggers.
extern const sched::debugger_table debugger_layout;

}  // namespace weft::inline v0::poll
