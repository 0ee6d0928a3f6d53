// host_port: the two halves of an address text, before anything is looked up.
#pragma once

#include <weft/net/endpoint.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace weft::inline v0::net {

struct host_port {
  std::string_view host;  // without brackets; empty for ":80"
  std::string_view port;
  bool bracketed = false;
};

// split_host_port cuts "HOST:PORT" or "[HOST]:PORT" in two. Returns null, or what is wrong with the text.
const char* split_host_port(std::string_view text, host_port& parts) noexcept;

// numeric_endpoint reads a numeric address and a numeric port, the host as split (without brackets). Returns null, or
// what is wrong. It sets `is_name` when the host may be a name to look up instead.
const char* numeric_endpoint(const host_port& parts, endpoint& e, bool& is_name) noexcept;

// numeric_port reads a port. Returns null, or what is wrong.
const char* numeric_port(std::string_view text, std::uint16_t& port) noexcept;

// quoted puts an address text that came from outside into quotes for an error: cut to a line's length, and with control
// characters replaced, so that it cannot forge lines of a log.
std::string quoted(std::string_view text);

}  // namespace weft::inline v0::net
