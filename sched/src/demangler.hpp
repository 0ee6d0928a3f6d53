// demangler: the names of symbols as they are written in C++.
#pragma once

#include "text_buffer.hpp"

#include <cstddef>

namespace weft::inline v0::sched {

// demangler writes demangled names on a stack of its own: the C++ runtime's demangler takes 72 bytes of stack for each
// character of a name before it begins, which neither an alternate signal stack nor a small fiber has. The stack is a mapping,
// made with the demangler. One call at a time. Async-signal-safe, if malloc is not allowed.
class demangler {
 public:
  // Some builds of libstdc++, Debian's shared one among them, only have a demangler with malloc.
  enum class allocation : bool { forbidden, allowed };

  // Longer names stay as they are: the runtime's demangler gives up on them, too.
  static constexpr std::size_t longest_name = 1024;

  explicit demangler(allocation malloc) noexcept;
  ~demangler();
  demangler(const demangler&) = delete;
  demangler& operator=(const demangler&) = delete;

  // append appends what `name`, with a zero at its end, is short for; or the name itself, if it isn't mangled, is damaged or
  // too long, if there was no memory, or if the C++ runtime is one without this service.
  void append(const char* name, text_buffer& out) noexcept;

 private:
  std::byte* memory_;  // null without
  const allocation malloc_;
};

}  // namespace weft::inline v0::sched
