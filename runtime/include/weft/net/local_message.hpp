// What local sockets of every kind have in common: messages that carry descriptors, and who is at the other end.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/net/local_endpoint.hpp>
#include <weft/netpoll/descriptor.hpp>
#include <weft/os/native_fd.hpp>

#include <cstddef>
#include <span>
#include <stop_token>
#include <system_error>
#include <vector>

namespace weft::inline v0::net {

// Who was at the other end when the connection was made.
struct peer_credentials {
  int pid = 0;
  unsigned uid = 0;
  unsigned gid = 0;
};

// What a message was: its size in the buffer, the descriptors that came with it (each close-on-exec), and whether part
// of either had no room and is lost.
struct local_message {
  std::size_t size = 0;
  local_endpoint from;
  std::vector<os::native_fd> descriptors;
  bool truncated = false;
};

namespace detail {

struct local_ends {
  const char* network;
  local_endpoint local;
  local_endpoint remote;
  WEFT_API failed_operation describe() const;
};

// One message out, with descriptors; of a stream perhaps a part. One message in, with at most max_descriptors.
WEFT_API poll::io_result send_message(poll::descriptor& d, const_buffer b, const local_endpoint& to,
                                      std::span<const int> descriptors) noexcept;
WEFT_API poll::io_result receive_message(poll::descriptor& d, mutable_buffer b, std::size_t max_descriptors,
                                         local_message& what) noexcept;
WEFT_API int credentials_of(poll::descriptor& d, peer_credentials& who) noexcept;

}  // namespace detail

// message_calls: messages with descriptors, on every local socket. On a stream a message is what one call sends, and a
// plain read stops before the bytes that the next descriptors came with.
template <class H>
class message_calls {
 public:
  // send_message sends bytes, at least one, together with duplicates of up to 253 descriptors of this process: all of
  // the bytes, or the count says how many. receive_message takes the next message and at most so many descriptors; the
  // system closes those that there is no room for, and `truncated` tells.
  void send_message(const_buffer b, std::span<const int> descriptors) {
    io::detail::throwing(self(), "send", out(b, descriptors));
  }
  std::size_t send_message(const_buffer b, std::span<const int> descriptors, std::error_code& ec) noexcept {
    return io::detail::reporting(self(), ec, out(b, descriptors));
  }
  void send_message(const_buffer b, std::span<const int> descriptors, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    send_message(b, descriptors);
  }
  std::size_t send_message(const_buffer b, std::span<const int> descriptors, const std::stop_token& stop,
                           std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return send_message(b, descriptors, ec);
  }
  local_message receive_message(mutable_buffer b, std::size_t max_descriptors) {
    local_message what;
    io::detail::throwing(self(), "receive", in(b, max_descriptors, what));
    return what;
  }
  local_message receive_message(mutable_buffer b, std::size_t max_descriptors, std::error_code& ec) noexcept {
    local_message what;
    io::detail::reporting(self(), ec, in(b, max_descriptors, what));
    return what;
  }
  local_message receive_message(mutable_buffer b, std::size_t max_descriptors, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return receive_message(b, max_descriptors);
  }
  local_message receive_message(mutable_buffer b, std::size_t max_descriptors, const std::stop_token& stop,
                                std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return receive_message(b, max_descriptors, ec);
  }

 protected:
  message_calls() noexcept = default;
  ~message_calls() = default;
  message_calls(message_calls&&) noexcept = default;
  message_calls& operator=(message_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto out(const_buffer b, std::span<const int> descriptors) noexcept {
    return [=](poll::descriptor& d) { return detail::send_message(d, b, local_endpoint(), descriptors); };
  }
  static auto in(mutable_buffer b, std::size_t max, local_message& what) noexcept {
    return [=, &what](poll::descriptor& d) { return detail::receive_message(d, b, max, what); };
  }
};

// connected_calls: the two ends of a local connection, and who is at the other.
template <class H>
class connected_calls {
 public:
  peer_credentials credentials() const {
    peer_credentials who;
    io::detail::throwing(self(), "get credentials of", ask(who));
    return who;
  }
  peer_credentials credentials(std::error_code& ec) const noexcept {
    peer_credentials who;
    io::detail::reporting(self(), ec, ask(who));
    return who;
  }

 protected:
  connected_calls() noexcept = default;
  ~connected_calls() = default;
  connected_calls(connected_calls&&) noexcept = default;
  connected_calls& operator=(connected_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto ask(peer_credentials& who) noexcept {
    return [&who](poll::descriptor& d) { return detail::credentials_of(d, who); };
  }
};

// local_ends_of are the two sockets of a pair.
template <class Conn>
struct local_ends_of {
  Conn first;
  Conn second;
};

}  // namespace weft::inline v0::net
