// Dumps: what every fiber of the process is doing, without a debugger.
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace weft::inline v0::debug {

enum class dump_format { text, json };

// dump_options is what a dump shows.
struct dump_options {
  explicit dump_options() = default;

  dump_format format = dump_format::text;
  bool frames = true;  // the backtraces, which take most of the time
  std::size_t limit = ~std::size_t{0};  // fibers of each runtime that are described; the others are counted
};

// dump describes every live fiber of every runtime of the process: id, name, what it does and since when, what it waits for
// (a descriptor with both endpoints, a mutex and who holds it, a fiber it joins, ...), where it was spawned, its stack, and its
// backtrace. The rest of the process runs on; a fiber that is just being looked at is resumed a little later. The backtrace of
// one that runs is had by interrupting its thread with a signal, if runtime_options::handle_faults is on and no debugger is
// attached: a system call of that thread may end with EINTR.
// Times are told by a clock that lags by up to 10 ms. Throws std::bad_alloc. From fibers and plain threads.
//
// As text, a paragraph for each fiber. As JSON, an object:
//   {"fibers": [{"id": 7, "name": "...", "state": "parked", "wait": "read", "object": "tcp ...", "seconds": 1.25, ...}]}
[[nodiscard]] WEFT_API std::string dump(const dump_options& options);
[[nodiscard]] WEFT_API std::string dump();

// write_dump writes it to a descriptor, all of it, blocking the thread; errors end it. Never throws.
WEFT_API void write_dump(int fd, const dump_options& options = dump_options()) noexcept;

}  // namespace weft::inline v0::debug
