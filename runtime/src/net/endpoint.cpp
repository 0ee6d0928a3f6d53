#include <weft/net/endpoint.hpp>

#include "host_port.hpp"
#include "socket_address.hpp"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ostream>
#include <span>

namespace weft::inline v0::net {

namespace {

constexpr std::array<std::uint8_t, 12> mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// Long enough for any address with the name of an interface; longer texts are names, or nothing.
constexpr std::size_t longest_numeric = INET6_ADDRSTRLEN + IF_NAMESIZE;

template <class Number>
bool read_number(std::string_view text, Number& value) noexcept {
  const char* const end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc{} && stop == end;
}

// A scope is the number of an interface or its name; 0 if it is neither.
std::uint32_t read_scope(const char* text) noexcept {
  std::uint32_t number = 0;
  if (read_number(text, number)) return number;
  return if_nametoindex(text);
}

}  // namespace

const char* split_host_port(std::string_view text, host_port& parts) noexcept {
  if (text.empty()) return "the address is empty";
  if (std::ranges::any_of(text, [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
    return "the address has a blank or a control character";
  }
  std::size_t colon = text.rfind(':');
  if (text.front() == '[') {
    const std::size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return "the bracket is not closed";
    if (bracket + 1 == text.size()) return "the port is missing";
    if (text[bracket + 1] != ':') return "after the bracket a colon and a port are expected";
    parts.host = text.substr(1, bracket - 1);
    parts.bracketed = true;
    colon = bracket + 1;
  } else {
    if (colon == std::string_view::npos) return "the port is missing";
    parts.host = text.substr(0, colon);
    parts.bracketed = false;
    if (parts.host.find(':') != std::string_view::npos) return "an IPv6 address needs brackets";
  }
  if (parts.host.find_first_of("[]") != std::string_view::npos) return "a bracket is out of place";
  parts.port = text.substr(colon + 1);
  if (parts.port.empty()) return "the port is missing";
  return nullptr;
}

const char* numeric_port(std::string_view text, std::uint16_t& port) noexcept {
  return read_number(text, port) ? nullptr : "the port is not a number from 0 to 65535";
}

const char* numeric_endpoint(const host_port& parts, endpoint& e, bool& is_name) noexcept {
  is_name = false;
  if (parts.host.empty()) return "the host is missing";
  std::uint16_t port = 0;
  const char* const port_problem = numeric_port(parts.port, port);
  if (parts.host.size() <= longest_numeric) {
    char host[longest_numeric + 1] = {};
    std::memcpy(host, parts.host.data(), parts.host.size());
    endpoint::ipv4_address v4;
    if (!parts.bracketed && inet_pton(AF_INET, host, v4.data()) == 1) {
      e = endpoint::ipv4(v4, port);
      return port_problem;
    }
    char* const percent = std::strchr(host, '%');
    if (percent != nullptr) *percent = '\0';
    endpoint::ipv6_address v6;
    if (parts.bracketed && inet_pton(AF_INET6, host, v6.data()) == 1) {
      const std::uint32_t scope = percent == nullptr ? 0 : read_scope(percent + 1);
      if (percent != nullptr && scope == 0) return "the scope is not an interface";
      e = endpoint::ipv6(v6, port, scope);
      return port_problem;
    }
  }
  if (parts.bracketed) return "the brackets do not hold an IPv6 address";
  is_name = true;
  return "the host is not a numeric address";
}

std::string quoted(std::string_view text) {
  constexpr std::size_t longest = 120;
  std::string result = "\"";
  for (unsigned char c : text.substr(0, longest)) result += c < ' ' || c == 0x7f ? '?' : static_cast<char>(c);
  return result + (text.size() > longest ? "...\"" : "\"");
}

endpoint endpoint::parse(std::string_view text) {
  host_port parts;
  endpoint e;
  bool is_name = false;
  const char* problem = split_host_port(text, parts);
  if (problem == nullptr) problem = numeric_endpoint(parts, e, is_name);
  if (problem == nullptr) return e;
  throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                          "endpoint " + quoted(text) + ": " + problem);
}

endpoint endpoint::parse(std::string_view text, std::error_code& ec) {
  host_port parts;
  endpoint e;
  bool is_name = false;
  ec.clear();
  if (split_host_port(text, parts) == nullptr && numeric_endpoint(parts, e, is_name) == nullptr) return e;
  ec = std::make_error_code(std::errc::invalid_argument);
  return {};
}

bool endpoint::is_wildcard() const noexcept { return family_ != family::none && bytes_ == ipv6_address{}; }

bool endpoint::is_loopback() const noexcept {
  if (is_ipv4()) return bytes_[0] == 127;
  constexpr ipv6_address loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return is_ipv6() && bytes_ == loopback;
}

std::string endpoint::to_string() const {
  if (family_ == family::none) return {};
  char text[INET6_ADDRSTRLEN] = {};
  if (is_ipv4()) {
    inet_ntop(AF_INET, bytes_.data(), text, sizeof text);
    return std::string(text) + ":" + std::to_string(port_);
  }
  inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
  std::string result = "[" + std::string(text);
  if (scope_ != 0) {
    char name[IF_NAMESIZE];
    result += "%";
    result += if_indextoname(scope_, name) != nullptr ? std::string(name) : std::to_string(scope_);
  }
  return result + "]:" + std::to_string(port_);
}

std::string to_string(const endpoint& e) { return e.to_string(); }

std::ostream& operator<<(std::ostream& out, const endpoint& e) { return out << e.to_string(); }

socket_address::socket_address(const endpoint& e) noexcept : storage{} {
  if (e.is_ipv4()) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(e.port());
    std::memcpy(&v4.sin_addr, e.address().data(), sizeof v4.sin_addr);
    size = sizeof v4;
  } else {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(e.port());
    v6.sin6_scope_id = e.scope();
    std::memcpy(&v6.sin6_addr, e.address().data(), sizeof v6.sin6_addr);
    size = sizeof v6;
  }
}

endpoint socket_address::to_endpoint() const noexcept {
  endpoint::ipv4_address four;
  if (size >= sizeof v4 && any.sa_family == AF_INET) {
    std::memcpy(four.data(), &v4.sin_addr, four.size());
    return endpoint::ipv4(four, ntohs(v4.sin_port));
  }
  if (size < sizeof v6 || any.sa_family != AF_INET6) return {};
  endpoint::ipv6_address sixteen;
  std::memcpy(sixteen.data(), &v6.sin6_addr, sixteen.size());
  if (std::ranges::equal(mapped_prefix, std::span(sixteen).first<mapped_prefix.size()>())) {
    std::copy_n(sixteen.data() + mapped_prefix.size(), four.size(), four.data());
    return endpoint::ipv4(four, ntohs(v6.sin6_port));
  }
  return endpoint::ipv6(sixteen, ntohs(v6.sin6_port), v6.sin6_scope_id);
}

}  // namespace weft::inline v0::net
