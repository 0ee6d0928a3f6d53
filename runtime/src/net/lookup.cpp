#include "lookup.hpp"

#include "../io_error.hpp"
#include "host_port.hpp"
#include "socket_address.hpp"

#include <weft/net/tcp.hpp>
#include <weft/sched/blocking.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <netdb.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

namespace weft::inline v0::net {

namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "lookup"; }
  std::string message(int value) const override { return gai_strerror(value); }
};

struct free_list {
  void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

// The system's lookup. Blocks its thread; does not suspend.
std::error_code ask_system(const std::string& host, const std::string& port,
                           std::unique_ptr<addrinfo, free_list>& list) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  int refused = 0;
  auto call = [&] {
    addrinfo* found = nullptr;
    refused = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
    list.reset(found);
    return refused == EAI_SYSTEM ? -1 : 0;
  };
  const sched::blocking_region others_go_on;
  const long result = sched::sys_call([](auto* c) { return (*c)(); }, &call);
  if (result < 0) return to_error_code(static_cast<int>(-result));
  return refused == 0 ? std::error_code() : std::error_code(refused, lookup_category());
}

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

std::vector<endpoint> lookup(std::string_view address, std::string_view operation, absent_host absent, failure& f) {
  f = {};
  host_port parts;
  if (const char* problem = split_host_port(address, parts)) return invalid(address, operation, problem, f);
  std::uint16_t port = 0;
  if (parts.port.front() >= '0' && parts.port.front() <= '9') {
    // getaddrinfo takes 65616 for 80.
    if (const char* problem = numeric_port(parts.port, port)) return invalid(address, operation, problem, f);
    if (parts.host.empty() && !parts.bracketed) {
      if (absent == absent_host::every_interface) {
        return {endpoint::ipv6({}, port), endpoint::ipv4({}, port)};
      }
      return {endpoint::ipv4({127, 0, 0, 1}, port),
              endpoint::ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, port)};
    }
  }
  endpoint numeric;
  bool is_name = false;
  const char* const problem = numeric_endpoint(parts, numeric, is_name);
  if (problem == nullptr) return {numeric};
  if (!is_name) return invalid(address, operation, problem, f);

  f.what = {std::string(operation), "tcp", {}, quoted(address) + ": lookup " + std::string(parts.host)};
  if (sched::stop_requested()) {
    f.code = std::make_error_code(std::errc::operation_canceled);
    return {};
  }
  std::unique_ptr<addrinfo, free_list> list;
  f.code = ask_system(std::string(parts.host), std::string(parts.port), list);
  if (f.code) return {};
  std::vector<endpoint> found;
  for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
    socket_address s;
    s.size = std::min<socklen_t>(a->ai_addrlen, sizeof s.storage);
    std::memcpy(&s.storage, a->ai_addr, s.size);
    const endpoint e = s.to_endpoint();
    if (e && std::ranges::find(found, e) == found.end()) found.push_back(e);
  }
  if (found.empty()) f.code = std::error_code(EAI_NONAME, lookup_category());
  return found;
}

}  // namespace weft::inline v0::net
