// debugger: where things lie in memory, told to a debugger, which reads a program or its core from outside.
#pragma once

#include <cstdint>

namespace weft::inline v0::sched {

// debugger_field is an offset, a size or a number that a debugger needs. Its name is part of it, so that a table is read
// without a pointer being followed.
struct debugger_field {
  char name[24];
  std::uint64_t value;
};

// debugger_table is what one component tells. Constant.
struct debugger_table {
  const debugger_field* fields;
  std::uint64_t count;
};

// Of fibers, their schedulers and their stacks.
extern const debugger_table debugger_layout;

}  // namespace weft::inline v0::sched
