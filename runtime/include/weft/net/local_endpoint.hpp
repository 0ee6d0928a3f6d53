// local_endpoint: the name of a socket on this machine.
#pragma once

#include <weft/export.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <system_error>

namespace weft::inline v0::net {

// local_endpoint is the path of a socket's file, a name in the system's abstract space (written "@name"; it has no file
// and goes with its socket), or nothing: an unnamed socket. A value without heap memory, ordered and hashable.
class WEFT_API local_endpoint {
 public:
  static constexpr std::size_t longest = 107;  // bytes, of a path or an abstract name with its '@'

  local_endpoint() noexcept = default;  // unnamed

  // parse reads "/a/path", "a/path" and "@name". Longer names than `longest` and paths with a NUL are refused, with
  // std::errc::invalid_argument and a text that says why. The ec form returns local_endpoint() then.
  [[nodiscard]] static local_endpoint parse(std::string_view text);
  [[nodiscard]] static local_endpoint parse(std::string_view text, std::error_code& ec) noexcept;

  bool is_unnamed() const noexcept { return size_ == 0; }
  bool is_abstract() const noexcept { return size_ != 0 && text_[0] == '@'; }
  bool is_path() const noexcept { return size_ != 0 && text_[0] != '@'; }
  explicit operator bool() const noexcept { return !is_unnamed(); }

  // text is what parse reads; "" if unnamed.
  std::string_view text() const noexcept { return {text_.data(), size_}; }
  std::string to_string() const { return std::string(text()); }

  friend std::strong_ordering operator<=>(const local_endpoint& a, const local_endpoint& b) noexcept {
    return a.text() <=> b.text();
  }
  friend bool operator==(const local_endpoint& a, const local_endpoint& b) noexcept { return a.text() == b.text(); }

 private:
  friend class local_address;

  std::array<char, longest> text_{};
  std::uint8_t size_ = 0;
};

WEFT_API std::string to_string(const local_endpoint& e);
WEFT_API std::ostream& operator<<(std::ostream& out, const local_endpoint& e);

}  // namespace weft::inline v0::net

template <>
struct std::hash<weft::net::local_endpoint> {
  std::size_t operator()(const weft::net::local_endpoint& e) const noexcept {
    return std::hash<std::string_view>()(e.text());
  }
};
