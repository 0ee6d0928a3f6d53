#include <weft/net/socket_calls.hpp>

#include "socket.hpp"

#include <weft/sched/sys.hpp>

#include <sys/socket.h>

#include <cerrno>

namespace weft::inline v0::net::detail {

int set_option(poll::descriptor& d, int level, int name, const void* value, std::size_t size) noexcept {
  return pinned(&d, [=](int fd) {
    return static_cast<int>(-sched::sys_call(setsockopt, fd, level, name, value, static_cast<socklen_t>(size)));
  });
}

int get_option(poll::descriptor& d, int level, int name, void* value, std::size_t size) noexcept {
  return pinned(&d, [=](int fd) {
    auto room = static_cast<socklen_t>(size);
    return static_cast<int>(-sched::sys_call(getsockopt, fd, level, name, value, &room));
  });
}

int shutdown(poll::descriptor& d, shutdown_side side) noexcept {
  switch (side) {
    case shutdown_side::read: return d.shutdown_side(SHUT_RD);
    case shutdown_side::write: return d.shutdown_side(SHUT_WR);
    case shutdown_side::both: return d.shutdown_side(SHUT_RDWR);
  }
  return EINVAL;
}

int set_buffer(poll::descriptor& d, bool receive, int bytes) noexcept {
  return set_option(d, SOL_SOCKET, receive ? SO_RCVBUF : SO_SNDBUF, &bytes, sizeof bytes);
}

int get_buffer(poll::descriptor& d, bool receive, int& bytes) noexcept {
  return get_option(d, SOL_SOCKET, receive ? SO_RCVBUF : SO_SNDBUF, &bytes, sizeof bytes);
}

}  // namespace weft::inline v0::net::detail
