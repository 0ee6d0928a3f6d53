// endpoint: an IP address and a port.
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

// endpoint names one end of a connection. A value: small, without heap memory, ordered and hashable. A default
// constructed one names nothing and prints as "".
class WEFT_API endpoint {
 public:
  enum class family : std::uint8_t { none, ipv4, ipv6 };
  using ipv4_address = std::array<std::uint8_t, 4>;
  using ipv6_address = std::array<std::uint8_t, 16>;

  constexpr endpoint() noexcept = default;
  static constexpr endpoint ipv4(const ipv4_address& address, std::uint16_t port) noexcept {
    endpoint e;
    for (std::size_t i = 0; i < address.size(); ++i) e.bytes_[i] = address[i];
    e.port_ = port;
    e.family_ = family::ipv4;
    return e;
  }
  // `scope` is the number of the interface that a link-local address belongs to; 0 for others.
  static constexpr endpoint ipv6(const ipv6_address& address, std::uint16_t port, std::uint32_t scope = 0) noexcept {
    endpoint e;
    e.bytes_ = address;
    e.scope_ = scope;
    e.port_ = port;
    e.family_ = family::ipv6;
    return e;
  }

  // parse reads "127.0.0.1:80", "[::1]:80" and "[fe80::1%eth0]:80"; host names need a lookup and are refused. The
  // exception's text names `text` and what is wrong with it; its code is std::errc::invalid_argument. The ec form
  // returns endpoint() on failure.
  [[nodiscard]] static endpoint parse(std::string_view text);
  [[nodiscard]] static endpoint parse(std::string_view text, std::error_code& ec);

  constexpr family address_family() const noexcept { return family_; }
  constexpr bool is_ipv4() const noexcept { return family_ == family::ipv4; }
  constexpr bool is_ipv6() const noexcept { return family_ == family::ipv6; }
  constexpr explicit operator bool() const noexcept { return family_ != family::none; }

  constexpr std::uint16_t port() const noexcept { return port_; }
  constexpr std::uint32_t scope() const noexcept { return scope_; }
  // The address in network order: the first 4 bytes for IPv4, all 16 for IPv6.
  constexpr const ipv6_address& address() const noexcept { return bytes_; }

  // The address that listens on every interface: 0.0.0.0 or [::].
  bool is_wildcard() const noexcept;
  bool is_loopback() const noexcept;

  constexpr endpoint with_port(std::uint16_t port) const noexcept {
    endpoint other = *this;
    other.port_ = port;
    return other;
  }

  std::string to_string() const;  // what parse reads

  friend constexpr auto operator<=>(const endpoint& a, const endpoint& b) noexcept {
    if (auto order = a.family_ <=> b.family_; order != 0) return order;
    for (std::size_t i = 0; i < a.bytes_.size(); ++i) {
      if (auto order = a.bytes_[i] <=> b.bytes_[i]; order != 0) return order;
    }
    if (auto order = a.scope_ <=> b.scope_; order != 0) return order;
    return a.port_ <=> b.port_;
  }
  friend constexpr bool operator==(const endpoint&, const endpoint&) noexcept = default;

 private:
  ipv6_address bytes_{};
  std::uint32_t scope_ = 0;
  std::uint16_t port_ = 0;
  family family_ = family::none;
};

WEFT_API std::string to_string(const endpoint& e);
WEFT_API std::ostream& operator<<(std::ostream& out, const endpoint& e);

}  // namespace weft::inline v0::net

template <>
struct std::hash<weft::net::endpoint> {
  std::size_t operator()(const weft::net::endpoint& e) const noexcept {
    std::uint64_t h = 0xcbf29ce484222325;  // FNV-1a
    for (std::uint8_t byte : e.address()) h = (h ^ byte) * 0x100000001b3;
    return static_cast<std::size_t>((h ^ e.port() ^ (std::uint64_t{e.scope()} << 16)) * 0x100000001b3);
  }
};
