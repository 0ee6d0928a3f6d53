// socket_address: an endpoint as the system's calls want it.
#pragma once

#include <weft/net/endpoint.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

namespace weft::inline v0::net {

struct socket_address {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_storage storage;
  };
  socklen_t size = sizeof(sockaddr_storage);

  socket_address() noexcept : storage{} {}
  // REQUIRES: e names something.
  explicit socket_address(const endpoint& e) noexcept;

  // An IPv4 peer of a dual-stack socket comes as ::ffff:a.b.c.d and is given back as IPv4.
  endpoint to_endpoint() const noexcept;
};

// local_for is the local end for a peer: a wildcard becomes that of the peer's family.
inline endpoint local_for(const endpoint& local, const endpoint& remote) noexcept {
  if (!local.is_wildcard()) return local;
  return remote.is_ipv4() ? endpoint::ipv4({}, local.port()) : endpoint::ipv6({}, local.port());
}

// Of a socket whose number the caller owns or has pinned; endpoint() if the system has none to tell.
endpoint local_endpoint_of(int fd) noexcept;
endpoint remote_endpoint_of(int fd) noexcept;

}  // namespace weft::inline v0::net
