// black_hole: an address of this machine that answers no connect.
#pragma once

#include <weft/net/endpoint.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

namespace testing_support {

// black_hole listens with a queue for one connection, and fills it: the system drops what else wants to connect.
class black_hole {
 public:
  explicit black_hole(std::uint16_t port = 0, std::uint32_t host = INADDR_LOOPBACK) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address_.sin_family = AF_INET;
    address_.sin_port = htons(port);
    address_.sin_addr.s_addr = htonl(host);
    socklen_t size = sizeof address_;
    const int on = 1;
    works_ = setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
             bind(listener_, any(), sizeof address_) == 0 && listen(listener_, 0) == 0 &&
             getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &size) == 0;
    fill(SOCK_STREAM | SOCK_CLOEXEC);
    for (int i = 0; i < 3; ++i) fill(SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  }
  ~black_hole() {
    for (const int fd : fillers_) close(fd);
    close(listener_);
  }
  black_hole(const black_hole&) = delete;
  black_hole& operator=(const black_hole&) = delete;

  bool works() const { return works_; }
  weft::net::endpoint where() const {
    const std::uint32_t host = ntohl(address_.sin_addr.s_addr);
    const auto byte = [host](int shift) { return static_cast<std::uint8_t>(host >> shift); };
    return weft::net::endpoint::ipv4({byte(24), byte(16), byte(8), byte(0)}, ntohs(address_.sin_port));
  }
  // answer lets one connection in.
  void answer() const {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) close(fd);
  }

 private:
  const sockaddr* any() const { return reinterpret_cast<const sockaddr*>(&address_); }
  void fill(int type) {
    const int fd = socket(AF_INET, type, 0);
    static_cast<void>(connect(fd, any(), sizeof address_));
    fillers_.push_back(fd);
  }

  int listener_ = -1;
  bool works_ = false;
  sockaddr_in address_{};
  std::vector<int> fillers_;
};

}  // namespace testing_support
