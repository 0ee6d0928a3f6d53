// UDP: datagrams.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/io/raw_calls.hpp>
#include <weft/net/address.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/socket_calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <system_error>

namespace weft::inline v0::net {

namespace detail {

// What an error says of a UDP call's object.
struct udp_ends {
  endpoint local;
  endpoint remote;
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

// received tells of a datagram that was put into a buffer.
struct received {
  std::size_t size = 0;  // of what is in the buffer; a datagram may be empty
  endpoint from;
  bool truncated = false;     // the datagram was larger than the buffer, and the rest of it is lost
  std::uint16_t segment = 0;  // not 0: several datagrams of this size (the last may be shorter), joined by the system
};

// datagram is one of a batch that is received, or sent.
struct incoming_datagram {
  mutable_buffer buffer;  // where it goes
  received what;          // set by receive_batch
};
struct outgoing_datagram {
  const_buffer data;
  endpoint to;  // names nothing: to the peer of a connected socket
};

// udp_socket sends and receives datagrams: a movable handle, closed when it is destroyed. Any number of fibers and
// plain threads may send and receive at once; they don't wait for one another while there is something for each.
// Deadlines, close, readiness: io/calls.hpp; options: net/socket_calls.hpp.
//
// Errors of the network: that a datagram found nobody (ICMP port unreachable) comes back to a connected socket alone,
// as std::errc::connection_refused of its next receive or send, also of one that waits already. An unconnected socket
// does not hear of it: Linux would tell only who asks by IP_RECVERR, and could not say whose send it was.
class WEFT_API udp_socket : public io::handle_calls<udp_socket>,
                            public io::readable_calls<udp_socket>,
                            public io::writable_calls<udp_socket>,
                            public io::raw_calls<udp_socket>,
                            public socket_calls<udp_socket> {
 public:
  udp_socket() noexcept = default;  // every call gives errc::closed

  // receive_from waits for a datagram and puts it into the buffer, cut to the buffer's size. receive returns the size
  // alone. An empty buffer takes a datagram too.
  received receive_from(mutable_buffer b);
  received receive_from(mutable_buffer b, std::error_code& ec) noexcept;
  received receive_from(mutable_buffer b, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return receive_from(b);
  }
  received receive_from(mutable_buffer b, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return receive_from(b, ec);
  }
  std::size_t receive(mutable_buffer b) { return receive_from(b).size; }
  std::size_t receive(mutable_buffer b, std::error_code& ec) noexcept { return receive_from(b, ec).size; }
  std::size_t receive(mutable_buffer b, const std::stop_token& stop) { return receive_from(b, stop).size; }
  std::size_t receive(mutable_buffer b, const std::stop_token& stop, std::error_code& ec) noexcept {
    return receive_from(b, stop, ec).size;
  }

  // send_to sends one datagram, whole; send sends it to the peer of a connected socket. An empty one is sent too. More
  // than the network carries is std::errc::message_size.
  void send_to(const_buffer b, const endpoint& to);
  std::size_t send_to(const_buffer b, const endpoint& to, std::error_code& ec) noexcept;
  void send_to(const_buffer b, const endpoint& to, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    send_to(b, to);
  }
  std::size_t send_to(const_buffer b, const endpoint& to, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return send_to(b, to, ec);
  }
  void send(const_buffer b) { send_to(b, endpoint()); }
  std::size_t send(const_buffer b, std::error_code& ec) noexcept { return send_to(b, endpoint(), ec); }
  void send(const_buffer b, const std::stop_token& stop) { send_to(b, endpoint(), stop); }
  std::size_t send(const_buffer b, const std::stop_token& stop, std::error_code& ec) noexcept {
    return send_to(b, endpoint(), stop, ec);
  }

  // receive_batch waits for a datagram, then takes as many as are there and there is room for, in one system call.
  // Returns how many. send_batch sends them all, as many as it can in one system call; its count tells how many went
  // out before an error.
  std::size_t receive_batch(std::span<incoming_datagram> batch);
  std::size_t receive_batch(std::span<incoming_datagram> batch, std::error_code& ec) noexcept;
  std::size_t receive_batch(std::span<incoming_datagram> batch, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return receive_batch(batch);
  }
  std::size_t receive_batch(std::span<incoming_datagram> batch, const std::stop_token& stop,
                            std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return receive_batch(batch, ec);
  }
  void send_batch(std::span<const outgoing_datagram> batch);
  std::size_t send_batch(std::span<const outgoing_datagram> batch, std::error_code& ec) noexcept;
  void send_batch(std::span<const outgoing_datagram> batch, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    send_batch(batch);
  }
  std::size_t send_batch(std::span<const outgoing_datagram> batch, const std::stop_token& stop,
                         std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return send_batch(batch, ec);
  }

  // send_segments sends one buffer as many datagrams of `segment` bytes, the last maybe shorter, cut by the system or
  // the network card (UDP_SEGMENT, Linux 4.18; at most 64 datagrams and 64 KiB); of 0, as one. A kernel without it
  // refuses with std::errc::no_protocol_option.
  void send_segments(const_buffer b, std::uint16_t segment, const endpoint& to = endpoint());
  std::size_t send_segments(const_buffer b, std::uint16_t segment, const endpoint& to, std::error_code& ec) noexcept;
  void send_segments(const_buffer b, std::uint16_t segment, const endpoint& to, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    send_segments(b, segment, to);
  }
  std::size_t send_segments(const_buffer b, std::uint16_t segment, const endpoint& to, const std::stop_token& stop,
                            std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return send_segments(b, segment, to, ec);
  }

  // set_receive_segments lets the system join datagrams of one sender (UDP_GRO, Linux 5.0); `segment` of what is
  // received tells. A kernel without it refuses with std::errc::no_protocol_option.
  void set_receive_segments(bool on);
  void set_receive_segments(bool on, std::error_code& ec) noexcept;

  // join_group receives what is sent to a multicast address (its port is not used) by way of an interface: its number,
  // 0 for the system's choice. leave_group ends that.
  void join_group(const endpoint& group, unsigned interface = 0);
  void join_group(const endpoint& group, unsigned interface, std::error_code& ec) noexcept;
  void leave_group(const endpoint& group, unsigned interface = 0);
  void leave_group(const endpoint& group, unsigned interface, std::error_code& ec) noexcept;
  // What is sent to groups: through which interface, whether this machine's own members get it (they do), and over how
  // many routers it goes (1: none).
  void set_multicast_interface(unsigned interface);
  void set_multicast_interface(unsigned interface, std::error_code& ec) noexcept;
  void set_multicast_loop(bool on);
  void set_multicast_loop(bool on, std::error_code& ec) noexcept;
  void set_multicast_hops(int hops);
  void set_multicast_hops(int hops, std::error_code& ec) noexcept;

  // set_broadcast(false) refuses to send to broadcast addresses; allowed by default, as in Go.
  void set_broadcast(bool on);
  void set_broadcast(bool on, std::error_code& ec) noexcept;

  // The two ends; the remote one names nothing unless the socket was dialled. They stay known after close.
  const endpoint& local_endpoint() const noexcept { return local_; }
  const endpoint& remote_endpoint() const noexcept { return remote_; }

 private:
  friend struct io::access;
  friend class udp_access;

  detail::udp_ends name() const noexcept { return {local_, remote_}; }

  poll::descriptor_ptr descriptor_;
  endpoint local_;
  endpoint remote_;
};

struct udp_options {
  explicit udp_options() = default;

  bool reuse_address = false;  // share the address with others that ask for it, as multicast receivers do
  bool reuse_port = false;     // share it, and let the system spread senders over the sockets
  bool ipv6_only = false;      // at [::]: no IPv4. Otherwise both families
};

// listen_udp makes a socket that receives at "HOST:PORT" or an endpoint: a numeric address, ":PORT" for every
// interface, or a name, of which the first IPv4 address is taken, else the first. Port 0 lets the system choose.
// dial_udp makes one that is connected: it sends to one peer and receives from that alone. A token ends the lookup of a
// name. Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API udp_socket listen_udp(address where, const udp_options& options);
[[nodiscard]] WEFT_API udp_socket listen_udp(address where, const udp_options& options, std::error_code& ec);
[[nodiscard]] inline udp_socket listen_udp(address where) { return listen_udp(where, udp_options()); }
[[nodiscard]] inline udp_socket listen_udp(address where, std::error_code& ec) {
  return listen_udp(where, udp_options(), ec);
}
[[nodiscard]] inline udp_socket listen_udp(address where, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return listen_udp(where);
}
[[nodiscard]] inline udp_socket listen_udp(address where, const std::stop_token& stop, std::error_code& ec) {
  const sched::stop_link link(stop);
  return listen_udp(where, ec);
}
// `local` is where it sends from, and decides which family of a name's addresses is taken; names nothing: the system
// chooses.
[[nodiscard]] WEFT_API udp_socket dial_udp(address where, const endpoint& local);
[[nodiscard]] WEFT_API udp_socket dial_udp(address where, const endpoint& local, std::error_code& ec);
[[nodiscard]] inline udp_socket dial_udp(address where) { return dial_udp(where, endpoint()); }
[[nodiscard]] inline udp_socket dial_udp(address where, std::error_code& ec) { return dial_udp(where, endpoint(), ec); }
[[nodiscard]] inline udp_socket dial_udp(address where, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return dial_udp(where);
}
[[nodiscard]] inline udp_socket dial_udp(address where, const std::stop_token& stop, std::error_code& ec) {
  const sched::stop_link link(stop);
  return dial_udp(where, ec);
}

}  // namespace weft::inline v0::net
