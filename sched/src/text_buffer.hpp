// text_buffer: text in memory that somebody else gave, for code that may not allocate.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weft::inline v0::sched {

// text_buffer appends to a text until the room is used up; what goes beyond is dropped, and the last three characters
// become dots. Control characters become question marks: a file's name or a symbol can hold anything. Async-signal-safe.
class text_buffer {
 public:
  explicit text_buffer(std::span<char> room) noexcept : room_(room) {}

  void append(std::string_view more) noexcept {
    const std::size_t fits = std::min(more.size(), room_.size() - used_);
    for (char c : more.substr(0, fits)) {
      const auto code = static_cast<unsigned char>(c);
      room_[used_++] = code < 0x20 || code == 0x7f ? '?' : c;
    }
    if (fits != more.size()) cut();
  }
  // append_hex appends 0x and the digits of n.
  void append_hex(std::uintptr_t n) noexcept {
    char digits[2 + 2 * sizeof n];
    char* const end = digits + sizeof digits;
    char* first = end;
    do *--first = "0123456789abcdef"[n % 16];
    while ((n /= 16) != 0);
    *--first = 'x';
    *--first = '0';
    append({first, static_cast<std::size_t>(end - first)});
  }
  // cut makes the text look cut whether or not there is room for more.
  void cut() noexcept {
    cut_ = true;
    const std::size_t dots = std::min<std::size_t>(3, room_.size());
    used_ = std::min(used_ + dots, room_.size());
    std::fill_n(room_.data() + used_ - dots, dots, '.');
  }
  void clear() noexcept {
    used_ = 0;
    cut_ = false;
  }

  bool is_cut() const noexcept { return cut_; }
  std::string_view text() const noexcept { return {room_.data(), used_}; }

 private:
  const std::span<char> room_;
  std::size_t used_ = 0;
  bool cut_ = false;
};

}  // namespace weft::inline v0::sched
