// Messages between local sockets, with descriptors, and who is at the other end.
#include "local_address.hpp"
#include "socket.hpp"

#include <weft/net/local_datagram.hpp>
#include <weft/net/local_message.hpp>
#include <weft/sched/fault.hpp>
#include <weft/sched/sys.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

namespace weft::inline v0::net {

namespace {

using poll::io_result;
using poll::mode;
using sched::sys_call;

constexpr std::size_t most_descriptors = 253;  // SCM_MAX_FD

template <class Call>
long call_with(void* call, int fd) noexcept {
  return (*static_cast<Call*>(call))(fd);
}

struct alignas(cmsghdr) control_room {
  char bytes[CMSG_SPACE(most_descriptors * sizeof(int))];
};

// take moves the descriptors of a message into `what`; those that have no room there, for want of memory, are closed.
void take(msghdr& message, std::size_t most, local_message& what) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < n; ++i) {
      int number;
      std::memcpy(&number, CMSG_DATA(c) + i * sizeof number, sizeof number);
      os::native_fd owner(number);
      if (what.descriptors.size() < most) {
        try {
          what.descriptors.push_back(std::move(owner));
          continue;
        } catch (const std::bad_alloc&) {
        }
      }
      what.truncated = true;
    }
  }
}

}  // namespace

failed_operation detail::local_ends::describe() const { return {{}, network, local.to_string(), remote.to_string()}; }

io_result detail::send_message(poll::descriptor& d, const_buffer b, const local_endpoint& to,
                               std::span<const int> descriptors) noexcept {
  if (descriptors.size() > most_descriptors || (!descriptors.empty() && b.empty())) return {0, EINVAL};
  iovec what{const_cast<void*>(b.data()), b.size()};
  local_address address(to);
  control_room control;
  msghdr message{};
  message.msg_iov = &what;
  message.msg_iovlen = 1;
  if (to) {
    message.msg_name = &address.any;
    message.msg_namelen = address.size;
  }
  if (!descriptors.empty()) {
    std::memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  // A stream may take a part, and the descriptors with it. All in one call, which pins the descriptor: the handle may
  // go between two system calls.
  std::size_t count = 0;
  auto attempt = [&](int fd) noexcept -> long {
    do {
      const long n = sys_call(::sendmsg, fd, &message, MSG_NOSIGNAL);
      if (n < 0) return n;
      count += static_cast<std::size_t>(n);
      what = {static_cast<char*>(const_cast<void*>(b.data())) + count, b.size() - count};
      message.msg_control = nullptr;
      message.msg_controllen = 0;
    } while (count < b.size());
    return 0;
  };
  // A full queue of somebody we aren't connected to says when it has room only to those whose datagrams it holds; and
  // who waits for one receiver must not hold up what goes to another.
  const auto r = to ? d.call_again(mode::write, poll::turns::shared, &call_with<decltype(attempt)>, &attempt)
                    : d.call(mode::write, poll::turns::ordered, &call_with<decltype(attempt)>, &attempt);
  if (r.error == EFAULT) [[unlikely]] sched::check_fault(b.data(), b.size());
  return {count, r.error};
}

io_result detail::receive_message(poll::descriptor& d, mutable_buffer b, std::size_t max_descriptors,
                                  local_message& what) noexcept {
  const std::size_t most = std::min(max_descriptors, most_descriptors);
  iovec where{b.data(), b.size()};
  local_address from;
  control_room control;
  msghdr message{};
  auto attempt = [&](int fd) noexcept {
    message = {&from.any, sizeof from.local, &where, 1, &control, most != 0 ? CMSG_SPACE(most * sizeof(int)) : 0, 0};
    return sys_call(::recvmsg, fd, &message, MSG_CMSG_CLOEXEC);
  };
  const auto r = d.call(mode::read, poll::turns::ordered, &call_with<decltype(attempt)>, &attempt);
  if (r.error == EFAULT) [[unlikely]] sched::check_fault(b.data(), b.size());
  if (r.error != poll::ok) return {0, r.error};
  from.size = message.msg_namelen;
  what.size = static_cast<std::size_t>(r.value);
  what.from = from.to_endpoint();
  what.truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  take(message, most, what);
  return {what.size, poll::ok};
}

int detail::credentials_of(poll::descriptor& d, peer_credentials& who) noexcept {
  ucred c{};
  const int error = get_option(d, SOL_SOCKET, SO_PEERCRED, &c, sizeof c);
  who = {c.pid, c.uid, c.gid};
  return error;
}

void local_datagram::send_to(const_buffer b, const local_endpoint& to) {
  const poll::io_result r =
      descriptor_ != nullptr ? detail::send_message(*descriptor_, b, to, {}) : io_result{0, poll::closed};
  if (r.error != poll::ok) {
    io::detail::fail(r.error, "send", detail::local_ends{"unixgram", local_, to}.describe(), r.count);
  }
}
std::size_t local_datagram::send_to(const_buffer b, const local_endpoint& to, std::error_code& ec) noexcept {
  return io::detail::reporting(*this, ec, [&](poll::descriptor& d) { return detail::send_message(d, b, to, {}); });
}

}  // namespace weft::inline v0::net
