#include <weft/net/resolver.hpp>

#include "../io_error.hpp"
#include "host_port.hpp"
#include "lookup.hpp"

#include <weft/sched/park.hpp>

#include <algorithm>

namespace weft::inline v0::net {

namespace {

// A name as it stands in an error: in quotes if it is none.
failed_operation describe(std::string_view name) {
  const bool plain = !name.empty() && name.size() <= 253 &&
                     std::ranges::none_of(name, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
  return {"lookup", {}, {}, plain ? std::string(name) : quoted(name)};
}

}  // namespace

std::vector<endpoint> resolve(std::string_view host, const resolver_options& options, std::error_code& ec) {
  std::vector<endpoint> found;
  ec = find_addresses(host, options, found);
  return found;
}

std::vector<endpoint> resolve(std::string_view host, const resolver_options& options) {
  std::error_code ec;
  std::vector<endpoint> found = resolve(host, options, ec);
  if (ec) throw_failure(ec, describe(host));
  return found;
}

std::vector<endpoint> resolve(std::string_view host, const resolver_options& options, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return resolve(host, options);
}
std::vector<endpoint> resolve(std::string_view host, const resolver_options& options, const std::stop_token& stop,
                              std::error_code& ec) {
  const sched::stop_link link(stop);
  return resolve(host, options, ec);
}

std::vector<endpoint> resolve(std::string_view host) { return resolve(host, *resolver_defaults()); }
std::vector<endpoint> resolve(std::string_view host, std::error_code& ec) {
  return resolve(host, *resolver_defaults(), ec);
}
std::vector<endpoint> resolve(std::string_view host, const std::stop_token& stop) {
  return resolve(host, *resolver_defaults(), stop);
}
std::vector<endpoint> resolve(std::string_view host, const std::stop_token& stop, std::error_code& ec) {
  return resolve(host, *resolver_defaults(), stop, ec);
}

std::uint16_t resolve_service(std::string_view name, std::error_code& ec) {
  std::uint16_t port = 0;
  ec = find_port(name, port);
  return port;
}

std::uint16_t resolve_service(std::string_view name) {
  std::error_code ec;
  const std::uint16_t port = resolve_service(name, ec);
  if (ec) throw_failure(ec, describe(name));
  return port;
}

}  // namespace weft::inline v0::net
