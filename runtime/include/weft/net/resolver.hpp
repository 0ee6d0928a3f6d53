// resolver: from the names of hosts and services to addresses and ports.
//
// Without more, the system's getaddrinfo does it, on a thread that it blocks while other fibers go on. A program that
// links weft::resolver as well asks the servers itself and blocks no thread; everything that takes a name then goes
// that way: resolve, dial_tcp, listen_tcp.
#pragma once

#include <weft/export.hpp>
#include <weft/net/endpoint.hpp>

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace weft::inline v0::net {

// What a lookup fails with, beside std::errc::operation_canceled and what the system refuses.
enum class lookup_errc {
  no_such_host = 1,        // the name does not exist, or has no address
  server_misbehaving = 2,  // no server gave a proper answer; is_temporary
  timed_out = 3,           // no server answered in time; is_timeout, and equal to std::errc::timed_out
  no_such_service = 4,     // no port has that name
};

// lookup_category names the codes of lookup_errc ("lookup").
WEFT_API const std::error_category& lookup_category() noexcept;
WEFT_API std::error_code make_error_code(lookup_errc e) noexcept;

struct resolver_options {
  explicit resolver_options() = default;

  // The addresses that are wanted; none: both families.
  endpoint::family family = endpoint::family::none;

  // What follows is for weft::resolver alone; without it, a lookup in which any of these is set fails with
  // std::errc::not_supported.

  // Asked in this order, at most 8; a port of 0 is 53. Empty: those of config_file, or this machine.
  std::vector<endpoint> servers{};
  // How long one server has for its answer; doubled in each further attempt. 0: as config_file says, or 5 s.
  std::chrono::milliseconds timeout{0};
  // How often each server is asked. 0: as config_file says, or 2.
  int attempts = 0;
  // Read again when they have changed. A name that hosts_file has is not asked for.
  std::string config_file = "/etc/resolv.conf";
  std::string hosts_file = "/etc/hosts";
};

// set_resolver_defaults sets the options of lookups that are given none: those of resolve, dial and listen, in the
// whole process. Lookups under way keep theirs.
WEFT_API void set_resolver_defaults(const resolver_options& options);

// resolve returns the addresses of a host, each once and with port 0, at least one and at most 128, in the order in
// which they are to be tried. The text of an address is its own answer. Throws io_error ("lookup example.org: no such
// host"), or canceled_error when the token or a stop of the fiber ends it: it doesn't wait for an answer then. A call
// from a plain thread or inside blocking() is not ended by a stop while it is in getaddrinfo.
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, std::error_code& ec);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, const std::stop_token& stop);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, const std::stop_token& stop,
                                                     std::error_code& ec);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, const resolver_options& options);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, const resolver_options& options,
                                                     std::error_code& ec);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, const resolver_options& options,
                                                     const std::stop_token& stop);
[[nodiscard]] WEFT_API std::vector<endpoint> resolve(std::string_view host, const resolver_options& options,
                                                     const std::stop_token& stop, std::error_code& ec);

// resolve_service returns the TCP port of that name ("http": 80) in the system's list of services. A number is its own
// answer. Returns 0 on failure in the ec form.
[[nodiscard]] WEFT_API std::uint16_t resolve_service(std::string_view name);
[[nodiscard]] WEFT_API std::uint16_t resolve_service(std::string_view name, std::error_code& ec);

}  // namespace weft::inline v0::net

template <>
struct std::is_error_code_enum<weft::net::lookup_errc> : std::true_type {};
