#include "socket.hpp"

#include <weft/net/tcp.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace weft::inline v0::net {

namespace {

// The system takes no more than an int holds.
template <class Duration>
int clamped(Duration time) noexcept {
  return static_cast<int>(std::clamp<std::int64_t>(time.count(), 0, std::numeric_limits<int>::max()));
}

auto set_tcp(int name, int value) noexcept {
  return [=](poll::descriptor& d) { return detail::set_option(d, IPPROTO_TCP, name, &value, sizeof value); };
}

auto keep_alive_with(const keep_alive& options) noexcept {
  return [&](poll::descriptor& d) { return pinned(&d, [&](int fd) { return apply_keep_alive(fd, options); }); };
}

auto linger_for(std::optional<std::chrono::seconds> time) noexcept {
  linger value{};
  if (time) value = {1, clamped(*time)};
  return [=](poll::descriptor& d) { return detail::set_option(d, SOL_SOCKET, SO_LINGER, &value, sizeof value); };
}

}  // namespace

const detail::tcp_ends& tcp_conn::ends() const noexcept {
  static constexpr detail::tcp_ends none;
  return descriptor_ != nullptr ? name_by(*descriptor_) : none;
}

failed_operation detail::tcp_ends::describe() const {
  return {{}, "tcp", local ? local.to_string() : std::string(), remote ? remote.to_string() : std::string()};
}

void tcp_conn::set_no_delay(bool on) { io::detail::throwing(*this, "set no_delay of", set_tcp(TCP_NODELAY, on)); }
void tcp_conn::set_no_delay(bool on, std::error_code& ec) noexcept {
  io::detail::reporting(*this, ec, set_tcp(TCP_NODELAY, on));
}

void tcp_conn::set_keep_alive(const keep_alive& options) {
  io::detail::throwing(*this, "set keep_alive of", keep_alive_with(options));
}
void tcp_conn::set_keep_alive(const keep_alive& options, std::error_code& ec) noexcept {
  io::detail::reporting(*this, ec, keep_alive_with(options));
}

void tcp_conn::set_linger(std::optional<std::chrono::seconds> time) {
  io::detail::throwing(*this, "set linger of", linger_for(time));
}
void tcp_conn::set_linger(std::optional<std::chrono::seconds> time, std::error_code& ec) noexcept {
  io::detail::reporting(*this, ec, linger_for(time));
}

void tcp_conn::set_user_timeout(std::chrono::milliseconds time) {
  io::detail::throwing(*this, "set user timeout of", set_tcp(TCP_USER_TIMEOUT, clamped(time)));
}
void tcp_conn::set_user_timeout(std::chrono::milliseconds time, std::error_code& ec) noexcept {
  io::detail::reporting(*this, ec, set_tcp(TCP_USER_TIMEOUT, clamped(time)));
}

void tcp_conn::set_quick_ack(bool on) { io::detail::throwing(*this, "set quick_ack of", set_tcp(TCP_QUICKACK, on)); }
void tcp_conn::set_quick_ack(bool on, std::error_code& ec) noexcept {
  io::detail::reporting(*this, ec, set_tcp(TCP_QUICKACK, on));
}

}  // namespace weft::inline v0::net
