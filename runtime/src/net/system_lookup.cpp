#include "system_lookup.hpp"

#include "../io_error.hpp"
#include "socket_address.hpp"

#include <weft/fiber.hpp>
#include <weft/net/resolver.hpp>
#include <weft/sched/blocking.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>
#include <weft/sched/sys.hpp>
#include <weft/sched/waiter.hpp>

#include <netdb.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

namespace weft::inline v0::net {

namespace {

struct free_list {
  void operator()(addrinfo* list) const noexcept { freeaddrinfo(list); }
};

struct answer {
  std::error_code code;
  std::vector<endpoint> found;
};

std::error_code meaning_of(int refused) noexcept {
  switch (refused) {
    case 0:
      return {};
    case EAI_AGAIN:
    case EAI_FAIL:
      return lookup_errc::server_misbehaving;
    case EAI_MEMORY:
      return std::make_error_code(std::errc::not_enough_memory);
    case EAI_SERVICE:
      return lookup_errc::no_such_service;
    default:
      return lookup_errc::no_such_host;
  }
}

int wanted(endpoint::family family) noexcept {
  if (family == endpoint::family::none) return AF_UNSPEC;
  return family == endpoint::family::ipv4 ? AF_INET : AF_INET6;
}

// Either name may be null. Blocks its thread; does not suspend while the system is asked.
answer ask(const char* host, const char* service, endpoint::family family) {
  addrinfo hints{};
  hints.ai_family = wanted(family);
  hints.ai_socktype = SOCK_STREAM;
  std::unique_ptr<addrinfo, free_list> list;
  int refused = 0;
  auto call = [&] {
    addrinfo* found = nullptr;
    refused = getaddrinfo(host, service, &hints, &found);
    list.reset(found);
    return refused == EAI_SYSTEM ? -1 : 0;
  };
  long result = 0;
  {
    const sched::blocking_region others_go_on;
    result = sched::sys_call([](auto* c) { return (*c)(); }, &call);
  }
  answer a;
  if (result < 0) {
    a.code = to_error_code(static_cast<int>(-result));
    return a;
  }
  a.code = meaning_of(refused);
  for (const addrinfo* each = list.get(); each != nullptr; each = each->ai_next) {
    socket_address s;
    s.size = std::min<socklen_t>(each->ai_addrlen, sizeof s.storage);
    std::memcpy(&s.storage, each->ai_addr, s.size);
    const endpoint e = s.to_endpoint();
    if (e && std::ranges::find(a.found, e) == a.found.end()) a.found.push_back(e);
  }
  if (!a.code && a.found.empty()) a.code = lookup_errc::no_such_host;
  return a;
}

}  // namespace

std::error_code system_lookup(const std::string& host, endpoint::family family, std::vector<endpoint>& found) {
  answer a;
  // In a blocking region the thread may be the last that may block, so that another fiber's turn would never come.
  const bool in_region = sched::on_worker() && sched::current_waiter().is_thread();
  if (in_region || sched::current_scheduler() == nullptr) {
    a = ask(host.c_str(), nullptr, family);
  } else {
    fiber<answer> asking;
    try {
      asking = spawn(spawn_options("lookup"), [host, family] { return ask(host.c_str(), nullptr, family); });
      a = asking.join();
    } catch (const canceled_error&) {
      asking.detach();
      a.code = std::make_error_code(std::errc::operation_canceled);
    } catch (const std::system_error& refused) {
      a.code = refused.code();
    }
  }
  found = std::move(a.found);
  return a.code;
}

std::error_code system_port(const std::string& service, std::uint16_t& port) {
  const answer a = ask(nullptr, service.c_str(), endpoint::family::none);
  if (a.code == lookup_errc::no_such_host) return lookup_errc::no_such_service;
  if (!a.code) port = a.found.front().port();
  return a.code;
}

}  // namespace weft::inline v0::net
