#include "debugger.hpp"

#include "runtime_state.hpp"

#include <weft/mutex.hpp>
#include <weft/netpoll/waits.hpp>

#include <cstddef>
#include <iterator>

// A static library's script goes with every program that has the library in it, as text in a section that gdb looks for
// and that is not loaded with the program: 4 says that it is Python, then comes a name for it. A shared library has a file
// beside it instead (runtime/CMakeLists.txt): a system's gdb loads that unasked, and would warn of a section.
#if defined(WEFT_GDB_SCRIPT)
asm(R"(
  .pushsection .debug_gdb_scripts, "MS", @progbits, 1
  .byte 4
  .ascii "weft-gdb.py\n"
  .incbin ")" WEFT_GDB_SCRIPT R"("
  .byte 0
  .popsection
)");
#endif

namespace weft::inline v0::detail {

#pragma GCC diagnostic ignored "-Winvalid-offsetof"  // laid out as if they were of standard layout

struct debugger_access {
  static constexpr sched::debugger_field fields[] = {
      {"runtime.next", offsetof(runtime_state, next_)},
      {"runtime.scheduler", offsetof(runtime_state, scheduler_)},
      {"mutex.holder", offsetof(mutex, holder_)},
  };
};

static constinit const sched::debugger_table layout{debugger_access::fields, std::size(debugger_access::fields)};

// used: link-time optimisation sees nobody who reads the rest of it.
[[gnu::used]] constinit debugger_root root_for_debuggers{
    "weft debugger 1", 1, 3, {&sched::debugger_layout, &poll::debugger_layout, &layout}, nullptr};

}  // namespace weft::inline v0::detail
