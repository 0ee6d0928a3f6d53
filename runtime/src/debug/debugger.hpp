// debugger: where a debugger begins to look.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/debugger.hpp>

#include <cstdint>

namespace weft::inline v0::detail {

class runtime_state;

// debugger_root is read by runtime/gdb/weft-gdb.py, which knows this layout by the version: found by its name or, in a
// program without symbols, by the text that it begins with.
struct debugger_root {
  char text[16];
  std::uint32_t version;
  std::uint32_t table_count;
  const sched::debugger_table* tables[3];
  runtime_state* runtimes;  // the list of them; guarded by its lock, which is runtime_state's
};

// Exported for debuggers alone: a shared library without other symbols still has those.
extern WEFT_API debugger_root root_for_debuggers;

}  // namespace weft::inline v0::detail
