// Local datagram sockets (AF_UNIX, SOCK_DGRAM).
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/io/raw_calls.hpp>
#include <weft/net/local_endpoint.hpp>
#include <weft/net/local_message.hpp>
#include <weft/net/socket_calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <cstddef>
#include <stop_token>
#include <string_view>
#include <system_error>

namespace weft::inline v0::net {

// local_datagram sends and receives datagrams without a connection, or with one peer. Nothing is lost between them: a
// sender waits while the receiver's queue is full.
class WEFT_API local_datagram : public io::handle_calls<local_datagram>,
                                public io::readable_calls<local_datagram>,
                                public io::writable_calls<local_datagram>,
                                public io::raw_calls<local_datagram>,
                                public message_calls<local_datagram>,
                                public socket_calls<local_datagram> {
 public:
  local_datagram() noexcept = default;  // every call gives errc::closed

  // send_to sends a datagram to a named socket; receive_message takes one and tells who sent it.
  void send_to(const_buffer b, const local_endpoint& to);
  std::size_t send_to(const_buffer b, const local_endpoint& to, std::error_code& ec) noexcept;
  void send_to(const_buffer b, const local_endpoint& to, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    send_to(b, to);
  }
  std::size_t send_to(const_buffer b, const local_endpoint& to, const std::stop_token& stop,
                      std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return send_to(b, to, ec);
  }

  const local_endpoint& local() const noexcept { return local_; }
  const local_endpoint& remote() const noexcept { return remote_; }

 private:
  friend struct io::access;
  friend struct local_access;
  detail::local_ends name() const noexcept { return {"unixgram", local_, remote_}; }

  poll::descriptor_ptr descriptor_;
  local_endpoint local_;
  local_endpoint remote_;
};

// listen_local_datagram makes a socket with a name, whose file stays; dial_local_datagram one that sends to a name, and
// has one itself if `local` is not empty ("@": an abstract one of the system's choice).
[[nodiscard]] WEFT_API local_datagram listen_local_datagram(std::string_view where);
[[nodiscard]] WEFT_API local_datagram listen_local_datagram(std::string_view where, std::error_code& ec);
[[nodiscard]] WEFT_API local_datagram dial_local_datagram(std::string_view where, std::string_view local = {});
[[nodiscard]] WEFT_API local_datagram dial_local_datagram(std::string_view where, std::string_view local,
                                                          std::error_code& ec);

// local_datagram_pair makes two connected, unnamed sockets.
[[nodiscard]] WEFT_API local_ends_of<local_datagram> local_datagram_pair();

}  // namespace weft::inline v0::net
