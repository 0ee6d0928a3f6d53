// report_line: one line of a report on standard error, made where nothing may be allocated and no lock be taken.
#pragma once

#include <weft/sched/symbols.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <unistd.h>

namespace weft::inline v0::sched {

// report_line is written when it is destroyed; what doesn't fit is cut off. For signal handlers too.
class report_line {
 public:
  report_line() noexcept = default;
  report_line(const report_line&) = delete;
  report_line& operator=(const report_line&) = delete;
  ~report_line() {
    text_[used_] = '\n';
    std::size_t written = 0;
    while (written <= used_) {
      const long n = sys_call(::write, STDERR_FILENO, static_cast<const void*>(text_ + written), used_ + 1 - written);
      if (n == -EINTR) continue;
      if (n <= 0) return;
      written += static_cast<std::size_t>(n);
    }
  }

  report_line& operator<<(std::string_view s) noexcept {
    const std::size_t n = std::min(s.size(), room());
    std::memcpy(text_ + used_, s.data(), n);
    used_ += n;
    return *this;
  }
  report_line& operator<<(const char* s) noexcept { return *this << std::string_view(s); }
  report_line& operator<<(std::uint64_t n) noexcept { return number(n, 10); }
  report_line& operator<<(const void* address) noexcept {
    return (*this << "0x").number(reinterpret_cast<std::uintptr_t>(address), 16);
  }
  // code names a place in the program, by function if that can be told.
  report_line& code(const void* pc, code_address kind) noexcept;

 private:
  std::size_t room() const noexcept { return sizeof text_ - 1 - used_; }
  report_line& number(std::uint64_t n, int base) noexcept {
    const auto [end, error] = std::to_chars(text_ + used_, text_ + used_ + room(), n, base);
    if (error == std::errc()) used_ = static_cast<std::size_t>(end - text_);
    return *this;
  }

  char text_[512];
  std::size_t used_ = 0;
};

}  // namespace weft::inline v0::sched
