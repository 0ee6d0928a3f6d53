#include "socket.hpp"

#include "socket_address.hpp"

#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace weft::inline v0::net {

namespace {

int whole_seconds(std::chrono::seconds s) noexcept {
  using limits = std::numeric_limits<int>;
  return static_cast<int>(std::clamp<std::int64_t>(s.count(), limits::min(), limits::max()));
}

}  // namespace

int set_option(int fd, int level, int name, int value) noexcept {
  const long result = sched::sys_call(setsockopt, fd, level, name, static_cast<const void*>(&value),
                                      static_cast<socklen_t>(sizeof value));
  return static_cast<int>(-result);
}

int apply_keep_alive(int fd, const keep_alive& options) noexcept {
  int error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, options.enabled ? 1 : 0);
  if (error != 0 || !options.enabled) return error;
  error = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(options.idle));
  if (error == 0) error = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(options.interval));
  if (error == 0) error = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, options.count);
  return error;
}

int open_stream_socket(const endpoint& e, bool no_delay, const keep_alive& probes, int& error) noexcept {
  const int domain = e.is_ipv4() ? AF_INET : AF_INET6;
  const long fd = sched::sys_call(socket, domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, int{IPPROTO_TCP});
  if (fd < 0) {
    error = static_cast<int>(-fd);
    return -1;
  }
  error = set_option(static_cast<int>(fd), IPPROTO_TCP, TCP_NODELAY, no_delay ? 1 : 0);
  if (error == 0) error = apply_keep_alive(static_cast<int>(fd), probes);
  if (error == 0) return static_cast<int>(fd);
  close_socket(static_cast<int>(fd));
  return -1;
}

// Not retried when interrupted: Linux has released the number by then, and it may be somebody else's already.
void close_socket(int fd) noexcept { sched::sys_call(::close, fd); }

endpoint local_endpoint_of(int fd) noexcept {
  socket_address address;
  return sched::sys_call(getsockname, fd, &address.any, &address.size) < 0 ? endpoint() : address.to_endpoint();
}

endpoint remote_endpoint_of(int fd) noexcept {
  socket_address address;
  return sched::sys_call(getpeername, fd, &address.any, &address.size) < 0 ? endpoint() : address.to_endpoint();
}

}  // namespace weft::inline v0::net
