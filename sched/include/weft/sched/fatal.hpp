// fatal: the end of a program that misused the library in a way that corrupts it.
#pragma once

#include <weft/export.hpp>

namespace weft::inline v0::sched {

// fatal prints "weft: fatal: " and the formatted text as one line on standard error, and which fiber the caller is, if it is
// one; has the rest of the process described, if fatal_report_by was called; then aborts. It is for misuse by
// the caller (a second waiter on one direction, unlock by a stranger) and for states that cannot be; the text names
// the observed state. Any thread, any fiber; allocates nothing.
[[noreturn]] WEFT_API void fatal(const char* format, ...) noexcept __attribute__((format(printf, 1, 2)));

// fatal_report_by has report called by fatal, once. It may find any lock taken, and must come back all the same.
WEFT_API void fatal_report_by(void (*report)() noexcept) noexcept;

}  // namespace weft::inline v0::sched
