// symbols: names for addresses of code, for what the process says about itself: an overflow report, a dump of its fibers.
//
// The names come from the symbol tables of the files that the process was loaded from. Where there is none - a stripped
// program, a file that is gone or is another one by now, a library's internal function - the place in the module is all
// there is, and of code in no module the address. Nothing here fails otherwise.
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace weft::inline v0::sched {

// What an address of code is. A return address belongs to the call before it: a call that never returns may be the last
// instruction of its function, and what lies behind it is another one. So the byte before it is looked up.
enum class code_address : std::uint8_t {
  exact,           // where something runs, or begins: a faulting instruction, a function's entry
  return_address,  // all frames of a backtrace but for an interrupted one
};

// code_location is what is known of an address. The texts are views; where they lie is said by whoever fills it in.
struct code_location {
  std::uintptr_t address = 0;          // as given
  std::string_view module;             // the file's name without its directory, 64 characters at most; empty: in no module
  std::uintptr_t module_offset = 0;    // as addr2line and objdump take it
  std::string_view function;           // as written in C++, cut with three dots at the end; empty: not known
  std::uintptr_t function_offset = 0;  // of the address as given: of a return address it may be the function's whole size
};

// locate looks an address up. The texts lie in `names`, and are cut if that is small.
//
// Async-signal-safe: allocates nothing, takes no lock (but see walk_to_module in sched/src/code_module.hpp for systems
// without glibc 2.35), needs less than 8 KiB of stack, and errno is as it was. Opens and reads the module's file, once for
// each call: tens of microseconds for a small program, milliseconds for a very big one.
WEFT_API code_location locate(const void* address, code_address kind, std::span<char> names) noexcept;

// print_location writes a location as one of
//     weft::net::tcp_conn::read_some(weft::mutable_buffer)+0x3c (echo_server+0x12345)
//     libc.so.6+0x8b3a1
//     0x7f31c2a4d010
// into `room`, without a zero at the end, and returns that text. Of a name that is too long the rest is left out, three
// dots tell. Async-signal-safe.
WEFT_API std::string_view print_location(const code_location& location, std::span<char> room) noexcept;

// symbolizer locates many addresses: it reads each module once and remembers each address, so that the second look at one
// is a look into a hash table. Not thread-safe, and not for signal handlers: it allocates. The texts live as long as it does.
// For one report and no longer: it keeps files open, and takes no notice of modules that are unloaded and loaded meanwhile.
class WEFT_API symbolizer {
 public:
  symbolizer() noexcept;
  ~symbolizer();
  symbolizer(const symbolizer&) = delete;
  symbolizer& operator=(const symbolizer&) = delete;

  // locate is as the function of that name, with functions cut at 512 characters. Without memory: the address alone.
  code_location locate(const void* address, code_address kind) noexcept;

 private:
  struct state;
  std::unique_ptr<state> state_;  // null without memory
};

}  // namespace weft::inline v0::sched
