#include "socket_address.hpp"

#include <weft/net/udp.hpp>
#include <weft/sched/fault.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace weft::inline v0::net {

namespace {

using poll::io_result;
using poll::mode;
using sched::sys_call;

// Not in every C library that runs on a kernel with them.
constexpr int udp_segment = 103;  // UDP_SEGMENT
constexpr int udp_gro = 104;      // UDP_GRO

constexpr std::size_t batch_of_system = 64;  // messages in one system call; a guess between stack and calls saved

// attempt makes one system call in shared turns: datagrams are whole by themselves.
template <class Call>
poll::descriptor::outcome attempt(poll::descriptor& d, mode m, Call call) noexcept {
  return d.call(
      m, poll::turns::shared, [](void* c, int fd) -> long { return (*static_cast<Call*>(c))(fd); }, &call);
}

// peer_address is where a datagram goes: none to the peer of a connected socket; an IPv4 address in its IPv6 form
// through a socket of both families.
class peer_address {
 public:
  peer_address() noexcept = default;
  peer_address(const endpoint& to, bool from_ipv6) noexcept {
    if (!to) return;
    if (!to.is_ipv4() || !from_ipv6) {
      address_ = socket_address(to);
    } else {
      endpoint::ipv6_address mapped{};
      mapped[10] = mapped[11] = 0xff;
      std::copy_n(to.address().begin(), 4, mapped.begin() + 12);
      address_ = socket_address(endpoint::ipv6(mapped, to.port()));
    }
    given_ = true;
  }
  void put_into(msghdr& message) noexcept {
    if (!given_) return;
    message.msg_name = &address_.any;
    message.msg_namelen = address_.size;
  }

 private:
  socket_address address_;
  bool given_ = false;
};

// Room for the ancillary message that we look for, behind those that set_option may have asked for: the system puts
// time stamps and counts first.
struct alignas(cmsghdr) control_room {
  char bytes[192];
};

std::uint16_t segment_of(msghdr& message) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_UDP || c->cmsg_type != udp_gro) continue;
    int size = 0;
    std::memcpy(&size, CMSG_DATA(c), sizeof size);
    return static_cast<std::uint16_t>(size);
  }
  return 0;
}

received received_as(msghdr& message, std::size_t size, const socket_address& from) noexcept {
  received r;
  r.size = size;
  r.from = from.to_endpoint();
  r.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  r.segment = segment_of(message);
  return r;
}

auto receive_into(mutable_buffer b, received& what) noexcept {
  return [b, &what](poll::descriptor& d) {
    iovec where{b.data(), b.size()};
    socket_address from;
    control_room control;
    msghdr message{};
    const auto r = attempt(d, mode::read, [&](int fd) noexcept {
      message = {&from.any, sizeof from.storage, &where, 1, &control, sizeof control, 0};
      return sys_call(::recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
    });
    from.size = message.msg_namelen;
    if (r.error == EFAULT) [[unlikely]] sched::check_fault(b.data(), b.size());
    if (r.error == poll::ok) what = received_as(message, static_cast<std::size_t>(r.value), from);
    return io_result{what.size, r.error};
  };
}

auto send_from(const_buffer b, const endpoint& to, bool from_ipv6, std::uint16_t segment) noexcept {
  return [=](poll::descriptor& d) {
    // A kernel that knows no segments would skip the request, and send one large datagram.
    if (int ignored = 0; segment != 0) {
      if (const int error = detail::get_option(d, SOL_UDP, udp_segment, &ignored, sizeof ignored); error != 0) {
        return io_result{0, error};
      }
    }
    iovec what{const_cast<void*>(b.data()), b.size()};
    peer_address peer(to, from_ipv6);
    control_room control;
    msghdr message{};
    message.msg_iov = &what;
    message.msg_iovlen = 1;
    peer.put_into(message);
    if (segment != 0) {
      control = {};
      message.msg_control = &control;
      message.msg_controllen = CMSG_SPACE(sizeof segment);
      cmsghdr* const c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_UDP;
      c->cmsg_type = udp_segment;
      c->cmsg_len = CMSG_LEN(sizeof segment);
      std::memcpy(CMSG_DATA(c), &segment, sizeof segment);
    }
    const auto r =
        attempt(d, mode::write, [&](int fd) noexcept { return sys_call(::sendmsg, fd, &message, MSG_NOSIGNAL); });
    if (r.error == EFAULT) [[unlikely]] sched::check_fault(b.data(), b.size());
    return io_result{static_cast<std::size_t>(r.value), r.error};
  };
}

auto receive_many(std::span<incoming_datagram> batch) noexcept {
  return [batch](poll::descriptor& d) {
    std::array<mmsghdr, batch_of_system> messages;
    std::array<iovec, batch_of_system> where;
    std::array<socket_address, batch_of_system> from;
    std::array<control_room, batch_of_system> control;
    const std::size_t n = std::min(batch.size(), batch_of_system);
    if (n == 0) return io_result{0, static_cast<int>(d.with_fd([](void*, int) -> long { return 0; }, nullptr))};
    const auto r = attempt(d, mode::read, [&](int fd) noexcept {
      for (std::size_t i = 0; i < n; ++i) {
        where[i] = {batch[i].buffer.data(), batch[i].buffer.size()};
        messages[i] = {{&from[i].any, sizeof from[i].storage, &where[i], 1, &control[i], sizeof control[i], 0}, 0};
      }
      // MSG_WAITFORONE is for blocking sockets; this one takes what is there.
      return sys_call(::recvmmsg, fd, messages.data(), static_cast<unsigned>(n), MSG_CMSG_CLOEXEC, nullptr);
    });
    if (r.error == EFAULT) [[unlikely]] {
      for (const incoming_datagram& each : batch) sched::check_fault(each.buffer.data(), each.buffer.size());
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(r.value); ++i) {
      from[i].size = messages[i].msg_hdr.msg_namelen;
      batch[i].what = received_as(messages[i].msg_hdr, messages[i].msg_len, from[i]);
    }
    return io_result{static_cast<std::size_t>(r.value), r.error};
  };
}

// send_some sends as many of the batch as fit one system call; how many were taken, or -errno.
long send_some(int fd, std::span<const outgoing_datagram> batch, bool from_ipv6) noexcept {
  std::array<mmsghdr, batch_of_system> messages;
  std::array<iovec, batch_of_system> what;
  std::array<peer_address, batch_of_system> peers;
  const std::size_t n = std::min(batch.size(), batch_of_system);
  for (std::size_t i = 0; i < n; ++i) {
    what[i] = {const_cast<void*>(batch[i].data.data()), batch[i].data.size()};
    peers[i] = peer_address(batch[i].to, from_ipv6);
    messages[i] = {};
    messages[i].msg_hdr.msg_iov = &what[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    peers[i].put_into(messages[i].msg_hdr);
  }
  return sys_call(::sendmmsg, fd, messages.data(), static_cast<unsigned>(n), MSG_NOSIGNAL);
}

// All in one call, which pins the descriptor: the handle may go between two system calls.
auto send_many(std::span<const outgoing_datagram> batch, bool from_ipv6) noexcept {
  return [=](poll::descriptor& d) {
    std::size_t count = 0;
    const auto r = attempt(d, mode::write, [&](int fd) noexcept -> long {
      while (count < batch.size()) {
        const long n = send_some(fd, batch.subspan(count), from_ipv6);
        if (n < 0) return n;
        count += static_cast<std::size_t>(n);
      }
      return 0;
    });
    if (r.error == EFAULT) [[unlikely]] {
      for (const outgoing_datagram& each : batch) sched::check_fault(each.data.data(), each.data.size());
    }
    return io_result{count, r.error};
  };
}

// An option that the two families have under different names.
struct family_option {
  int ipv4;
  int ipv6;
};

// A socket of both families sends to groups of either, by separate settings; one that has IPv6 alone refuses the other.
template <class V4, class V6>
auto set_for(const endpoint& local, family_option name, const V4& v4, const V6& v6) noexcept {
  const bool is_ipv6 = local.is_ipv6();
  return [=](poll::descriptor& d) {
    if (!is_ipv6) return detail::set_option(d, IPPROTO_IP, name.ipv4, &v4, sizeof v4);
    const int error = detail::set_option(d, IPPROTO_IPV6, name.ipv6, &v6, sizeof v6);
    int only = 0;
    if (error != 0 || detail::get_option(d, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0 || only != 0)
      return error;
    return detail::set_option(d, IPPROTO_IP, name.ipv4, &v4, sizeof v4);
  };
}

auto change_group(const endpoint& group, unsigned interface, family_option name) noexcept {
  return [=](poll::descriptor& d) {
    if (group.is_ipv6()) {
      ipv6_mreq request{};
      std::memcpy(&request.ipv6mr_multiaddr, group.address().data(), sizeof request.ipv6mr_multiaddr);
      request.ipv6mr_interface = interface;
      return detail::set_option(d, IPPROTO_IPV6, name.ipv6, &request, sizeof request);
    }
    ip_mreqn request{};
    std::memcpy(&request.imr_multiaddr, group.address().data(), sizeof request.imr_multiaddr);
    request.imr_ifindex = static_cast<int>(interface);
    return detail::set_option(d, IPPROTO_IP, name.ipv4, &request, sizeof request);
  };
}

constexpr family_option join{IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP};
constexpr family_option leave{IP_DROP_MEMBERSHIP, IPV6_LEAVE_GROUP};

auto send_through(const endpoint& local, unsigned interface) noexcept {
  ip_mreqn v4{};
  v4.imr_ifindex = static_cast<int>(interface);
  return set_for(local, {IP_MULTICAST_IF, IPV6_MULTICAST_IF}, v4, static_cast<int>(interface));
}
auto loop(const endpoint& local, bool on) noexcept {
  return set_for(local, {IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP}, int{on}, int{on});
}
auto hops_of(const endpoint& local, int hops) noexcept {
  return set_for(local, {IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS}, hops, hops);
}
auto set_flag(int level, int name, bool on) noexcept {
  return [=](poll::descriptor& d) {
    const int value = on;
    return detail::set_option(d, level, name, &value, sizeof value);
  };
}

}  // namespace

failed_operation detail::udp_ends::describe() const {
  return {{}, "udp", local ? local.to_string() : std::string(), remote ? remote.to_string() : std::string()};
}

using io::detail::reporting;
using io::detail::throwing;

received udp_socket::receive_from(mutable_buffer b) {
  received what;
  throwing(*this, "receive", receive_into(b, what));
  return what;
}
received udp_socket::receive_from(mutable_buffer b, std::error_code& ec) noexcept {
  received what;
  reporting(*this, ec, receive_into(b, what));
  return what;
}

void udp_socket::send_to(const_buffer b, const endpoint& to) { send_segments(b, 0, to); }
std::size_t udp_socket::send_to(const_buffer b, const endpoint& to, std::error_code& ec) noexcept {
  return send_segments(b, 0, to, ec);
}

std::size_t udp_socket::receive_batch(std::span<incoming_datagram> batch) {
  return throwing(*this, "receive", receive_many(batch));
}
std::size_t udp_socket::receive_batch(std::span<incoming_datagram> batch, std::error_code& ec) noexcept {
  return reporting(*this, ec, receive_many(batch));
}
void udp_socket::send_batch(std::span<const outgoing_datagram> batch) {
  throwing(*this, "send", send_many(batch, local_.is_ipv6()));
}
std::size_t udp_socket::send_batch(std::span<const outgoing_datagram> batch, std::error_code& ec) noexcept {
  return reporting(*this, ec, send_many(batch, local_.is_ipv6()));
}

void udp_socket::send_segments(const_buffer b, std::uint16_t segment, const endpoint& to) {
  const detail::udp_ends ends{local_, to ? to : remote_};  // in an error, the target is the datagram's
  poll::descriptor* const d = descriptor_.get();
  const auto call = send_from(b, to, local_.is_ipv6(), segment);
  const io_result r = d != nullptr ? call(*d) : io_result{0, poll::closed};
  if (r.error != poll::ok) io::detail::fail(r.error, "send", ends.describe(), r.count);
}
std::size_t udp_socket::send_segments(const_buffer b, std::uint16_t segment, const endpoint& to,
                                      std::error_code& ec) noexcept {
  return reporting(*this, ec, send_from(b, to, local_.is_ipv6(), segment));
}

void udp_socket::set_receive_segments(bool on) {
  throwing(*this, "set receive segments of", set_flag(SOL_UDP, udp_gro, on));
}
void udp_socket::set_receive_segments(bool on, std::error_code& ec) noexcept {
  reporting(*this, ec, set_flag(SOL_UDP, udp_gro, on));
}

void udp_socket::join_group(const endpoint& group, unsigned interface) {
  throwing(*this, "join group with", change_group(group, interface, join));
}
void udp_socket::join_group(const endpoint& group, unsigned interface, std::error_code& ec) noexcept {
  reporting(*this, ec, change_group(group, interface, join));
}
void udp_socket::leave_group(const endpoint& group, unsigned interface) {
  throwing(*this, "leave group with", change_group(group, interface, leave));
}
void udp_socket::leave_group(const endpoint& group, unsigned interface, std::error_code& ec) noexcept {
  reporting(*this, ec, change_group(group, interface, leave));
}

void udp_socket::set_multicast_interface(unsigned interface) {
  throwing(*this, "set multicast interface of", send_through(local_, interface));
}
void udp_socket::set_multicast_interface(unsigned interface, std::error_code& ec) noexcept {
  reporting(*this, ec, send_through(local_, interface));
}
void udp_socket::set_multicast_loop(bool on) { throwing(*this, "set multicast loop of", loop(local_, on)); }
void udp_socket::set_multicast_loop(bool on, std::error_code& ec) noexcept { reporting(*this, ec, loop(local_, on)); }
void udp_socket::set_multicast_hops(int hops) { throwing(*this, "set multicast hops of", hops_of(local_, hops)); }
void udp_socket::set_multicast_hops(int hops, std::error_code& ec) noexcept {
  reporting(*this, ec, hops_of(local_, hops));
}

void udp_socket::set_broadcast(bool on) { throwing(*this, "set broadcast of", set_flag(SOL_SOCKET, SO_BROADCAST, on)); }
void udp_socket::set_broadcast(bool on, std::error_code& ec) noexcept {
  reporting(*this, ec, set_flag(SOL_SOCKET, SO_BROADCAST, on));
}

}  // namespace weft::inline v0::net
