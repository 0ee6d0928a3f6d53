// resolver_files: what /etc/resolv.conf and /etc/hosts say, read again when they have changed.
#pragma once

#include <weft/net/endpoint.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weft::inline v0::net {

// resolver_config is resolv.conf(5), as far as it concerns a resolver that caches nothing: nameserver, domain, search,
// and the options ndots, timeout, attempts and rotate. The limits are those of the C library, but for 8 servers.
struct resolver_config {
  std::vector<endpoint> servers;  // never empty
  std::vector<std::string> search;
  int ndots = 1;
  std::chrono::milliseconds timeout{5000};
  int attempts = 2;
  bool rotate = false;
};

inline constexpr std::size_t most_servers = 8;
inline constexpr int most_attempts = 10;

// host_table is hosts(5): the addresses of names in small letters, in the order of the file.
using host_table = std::unordered_map<std::string, std::vector<endpoint>>;

resolver_config parse_resolver_config(std::string_view text);
host_table parse_hosts(std::string_view text);

// Of the file as it is now; one that isn't there or can't be read is like an empty one. Any thread. Don't suspend.
std::shared_ptr<const resolver_config> read_resolver_config(const std::string& path);
std::shared_ptr<const host_table> read_hosts(const std::string& path);

// small returns the name in small letters, without the dot at its end.
std::string small(std::string_view name);

}  // namespace weft::inline v0::net
