// local_address: a local_endpoint as the system's calls want it.
#pragma once

#include <weft/net/local_endpoint.hpp>

#include <sys/socket.h>
#include <sys/un.h>

namespace weft::inline v0::net {

class local_address {
 public:
  union {
    sockaddr any;
    sockaddr_un local;
  };
  socklen_t size = sizeof(sockaddr_un);

  local_address() noexcept : local{} {}
  explicit local_address(const local_endpoint& e) noexcept;

  local_endpoint to_endpoint() const noexcept;
};

// Of a socket whose number the caller owns or has pinned.
local_endpoint local_name_of(int fd) noexcept;
local_endpoint peer_name_of(int fd) noexcept;

}  // namespace weft::inline v0::net
