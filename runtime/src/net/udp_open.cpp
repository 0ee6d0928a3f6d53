// Where UDP sockets come from.
#include "../io_error.hpp"
#include "../runtime_access.hpp"
#include "lookup.hpp"
#include "socket.hpp"
#include "socket_address.hpp"

#include <weft/error.hpp>
#include <weft/net/udp.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace weft::inline v0::net {

class udp_access {
 public:
  static udp_socket socket(poll::descriptor_ptr d, const endpoint& local, const endpoint& remote) noexcept {
    udp_socket s;
    s.descriptor_ = std::move(d);
    s.local_ = local;
    s.remote_ = remote;
    return s;
  }
};

namespace {

using sched::sys_call;

int bind_to(int fd, const endpoint& local) noexcept {
  const socket_address address(local);
  return static_cast<int>(-sys_call(::bind, fd, &address.any, address.size));
}

int connect_to(int fd, const endpoint& remote) noexcept {
  const socket_address address(remote);
  return static_cast<int>(-sys_call(::connect, fd, &address.any, address.size));
}

// An unbound socket has no family of its own to say whether it speaks both; so options come before the address.
int apply(int fd, const endpoint& e, const udp_options& options) noexcept {
  int error = set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
  if (error == 0 && options.reuse_address) error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (error == 0 && options.reuse_port) error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (error == 0 && e.is_ipv6()) error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6_only ? 1 : 0);
  return error;
}

// Returns 0 and the socket, an errno value, or one of poll::error.
int open(const endpoint& local, const endpoint& remote, const udp_options& options, udp_socket& s) noexcept {
  const endpoint& known = remote ? remote : local;
  if (!known) return EDESTADDRREQ;
  const endpoint from = remote && local ? local_for(local, remote) : local;
  const long fd = sys_call(::socket, known.is_ipv4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                           int{IPPROTO_UDP});
  if (fd < 0) return static_cast<int>(-fd);
  new_socket made(static_cast<int>(fd));
  int error = apply(made.get(), known, options);
  if (error == 0 && from) error = bind_to(made.get(), from);
  if (error == 0 && remote) error = connect_to(made.get(), remote);
  if (error != 0) return error;
  const endpoint bound = local_endpoint_of(made.get());
  const endpoint peer = remote.is_wildcard() ? remote_endpoint_of(made.get()) : remote;
  poll::descriptor_ptr d = made.hand_over(current_poller(), poll::kind::datagram, error);
  if (d != nullptr) s = udp_access::socket(std::move(d), bound, peer);
  return error;
}

// The endpoint that `where` stands for: of a name the first of the family that `local` has, which is IPv4 if it leaves
// the choice, else the first. Or none and the reason.
endpoint resolved(const address& where, const char* operation, absent_host absent, const endpoint& local, failure& f) {
  if (!where.is_text()) return where.endpoint();
  std::vector<endpoint> found = lookup(where.text(), operation, absent, sched::never, f);
  f.what.network = "udp";
  if (found.empty()) return {};
  const bool any = where.text().front() == ':' && absent == absent_host::every_interface;
  const bool wants_ipv4 = !local || local.is_wildcard() || local.is_ipv4();
  const auto liked = std::ranges::find(found, wants_ipv4, &endpoint::is_ipv4);
  return any || liked == found.end() ? found.front() : *liked;
}

udp_socket open(const address& where, bool dial, const endpoint& local, const udp_options& options, failure& f) {
  udp_socket s;
  const char* const operation = dial ? "dial" : "listen";
  if (current_poller() == nullptr) {
    f.code = errc::no_runtime;
  } else {
    const absent_host absent = dial ? absent_host::this_machine : absent_host::every_interface;
    endpoint e = resolved(where, operation, absent, local, f);
    if (f.code) return s;
    f.code = to_error_code(dial ? open(local, e, options, s) : open(e, {}, options, s));
    // ":PORT" on a machine without IPv6.
    if (!dial && f.code == std::errc::address_family_not_supported && e.is_ipv6() && e.is_wildcard() &&
        !options.ipv6_only) {
      f.code = to_error_code(open(endpoint::ipv4({}, e.port()), {}, options, s));
    }
  }
  if (f.code) {
    f.what = {operation, "udp", {}, where.is_text() ? std::string(where.text()) : where.endpoint().to_string()};
  }
  return s;
}

}  // namespace

udp_socket listen_udp(address where, const udp_options& options) {
  failure f;
  udp_socket s = open(where, false, {}, options, f);
  if (f.code) throw_failure(f.code, f.what);
  return s;
}
udp_socket listen_udp(address where, const udp_options& options, std::error_code& ec) {
  failure f;
  udp_socket s = open(where, false, {}, options, f);
  ec = f.code;
  return s;
}
udp_socket dial_udp(address where, const endpoint& local) {
  failure f;
  udp_socket s = open(where, true, local, udp_options(), f);
  if (f.code) throw_failure(f.code, f.what);
  return s;
}
udp_socket dial_udp(address where, const endpoint& local, std::error_code& ec) {
  failure f;
  udp_socket s = open(where, true, local, udp_options(), f);
  ec = f.code;
  return s;
}

}  // namespace weft::inline v0::net
