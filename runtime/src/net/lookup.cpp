#include "lookup.hpp"

#include "../runtime_access.hpp"
#include "host_port.hpp"
#include "resolver_hook.hpp"
#include "system_lookup.hpp"

#include <weft/error.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <utility>

namespace weft::inline v0::net {

namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "lookup"; }

  std::string message(int value) const override {
    switch (static_cast<lookup_errc>(value)) {
      case lookup_errc::no_such_host:
        return "no such host";
      case lookup_errc::server_misbehaving:
        return "server misbehaving";
      case lookup_errc::timed_out:
        return "i/o timeout";
      case lookup_errc::no_such_service:
        return "unknown port";
    }
    return "unknown error " + std::to_string(value);
  }

  std::error_condition default_error_condition(int value) const noexcept override {
    if (value == static_cast<int>(lookup_errc::timed_out)) return std::errc::timed_out;
    return {value, *this};
  }
};

// Set before main by weft::resolver, if that is linked.
constinit std::atomic<resolver_function> registered{nullptr};

constinit std::mutex defaults_lock;
constinit std::shared_ptr<const resolver_options> defaults;

bool is_for_our_own(const resolver_options& o) {
  const resolver_options plain;
  return !o.servers.empty() || o.timeout.count() != 0 || o.attempts != 0 || o.config_file != plain.config_file ||
         o.hosts_file != plain.hosts_file;
}

// Whether a server could know such a name at all. 253: the longest in dots and letters.
bool may_exist(std::string_view host) noexcept {
  return !host.empty() && host.size() <= 253 + (host.back() == '.' ? 1 : 0) &&
         std::ranges::none_of(host, [](unsigned char c) { return c <= ' ' || c == 0x7f; });
}

bool is_number(std::string_view port) noexcept { return port.front() >= '0' && port.front() <= '9'; }

std::vector<endpoint> invalid(std::string_view address, std::string_view operation, const char* problem, failure& f) {
  f.code = std::make_error_code(std::errc::invalid_argument);
  f.what = {std::string(operation), "tcp", {}, quoted(address) + ": " + problem};
  return {};
}

}  // namespace

const std::error_category& lookup_category() noexcept {
  // Never destroyed: static destructors of the application may still report errors.
  alignas(category) static unsigned char storage[sizeof(category)];
  static const std::error_category& instance = *new (storage) category;
  return instance;
}

std::error_code make_error_code(lookup_errc e) noexcept { return {static_cast<int>(e), lookup_category()}; }

void register_resolver(resolver_function f) noexcept { registered.store(f, std::memory_order_release); }

void set_resolver_defaults(const resolver_options& options) {
  auto made = std::make_shared<const resolver_options>(options);
  const std::lock_guard lock(defaults_lock);
  defaults = std::move(made);
}

std::shared_ptr<const resolver_options> resolver_defaults() {
  {
    const std::lock_guard lock(defaults_lock);
    if (defaults != nullptr) return defaults;
  }
  return std::make_shared<const resolver_options>();
}

std::error_code find_port(std::string_view service, std::uint16_t& port) {
  if (service.empty()) return lookup_errc::no_such_service;
  if (!is_number(service)) return system_port(std::string(service), port);
  // getaddrinfo takes 65616 for 80.
  if (numeric_port(service, port) == nullptr) return {};
  return std::make_error_code(std::errc::invalid_argument);
}

std::error_code find_addresses(std::string_view host, const resolver_options& options, std::vector<endpoint>& found) {
  found.clear();
  const bool is_v6 = host.find(':') != std::string_view::npos;
  endpoint numeric;
  bool is_name = false;
  if (numeric_endpoint({host, "0", is_v6}, numeric, is_name) == nullptr) {
    if (options.family != endpoint::family::none && options.family != numeric.address_family()) {
      return lookup_errc::no_such_host;
    }
    found.push_back(numeric);
    return {};
  }
  if (!is_name || !may_exist(host)) return lookup_errc::no_such_host;
  if (sched::stop_requested()) return std::make_error_code(std::errc::operation_canceled);
  if (const resolver_function own = registered.load(std::memory_order_acquire)) {
    if (const std::shared_ptr<poll::poller> poller = current_poller()) {
      return own(poller, std::string(host), options, found);
    }
  }
  if (is_for_our_own(options)) return std::make_error_code(std::errc::not_supported);
  return system_lookup(std::string(host), options.family, found);
}

namespace {

// find_in_time is find_addresses until `until`.
std::error_code find_in_time(std::string_view host, sched::nanotime until, std::vector<endpoint>& found) {
  if (until != sched::never && sched::current_scheduler() == nullptr) return errc::no_runtime;
  std::error_code code;
  bool passed = false;
  {
    const sched::deadline_link link(until);
    code = find_addresses(host, *resolver_defaults(), found);
    passed = link.passed();
  }
  if (code != std::errc::operation_canceled || !passed || sched::stop_requested()) return code;
  return std::make_error_code(std::errc::timed_out);
}

}  // namespace

std::vector<endpoint> lookup(std::string_view address, std::string_view operation, absent_host absent,
                             sched::nanotime until, failure& f) {
  f = {};
  host_port parts;
  if (const char* problem = split_host_port(address, parts)) return invalid(address, operation, problem, f);
  std::uint16_t port = 0;
  if (is_number(parts.port)) {
    if (const char* problem = numeric_port(parts.port, port)) return invalid(address, operation, problem, f);
  } else if (const std::error_code code = find_port(parts.port, port)) {
    f = {code, {std::string(operation), "tcp", {}, quoted(address)}};
    return {};
  }
  if (parts.host.empty() && !parts.bracketed) {
    if (absent == absent_host::every_interface) return {endpoint::ipv6({}, port), endpoint::ipv4({}, port)};
    return {endpoint::ipv4({127, 0, 0, 1}, port),
            endpoint::ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, port)};
  }
  endpoint numeric;
  bool is_name = false;
  const char* const problem = numeric_endpoint({parts.host, "0", parts.bracketed}, numeric, is_name);
  if (problem == nullptr) return {numeric.with_port(port)};
  if (!is_name) return invalid(address, operation, problem, f);

  std::vector<endpoint> found;
  f.code = find_in_time(parts.host, until, found);
  if (f.code) {
    f.what = {std::string(operation), "tcp", {}, quoted(address) + ": lookup " + std::string(parts.host)};
    return {};
  }
  for (endpoint& e : found) e = e.with_port(port);
  return found;
}

}  // namespace weft::inline v0::net
