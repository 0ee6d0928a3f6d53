#include "../io_error.hpp"
#include "../runtime_access.hpp"
#include "dial_race.hpp"
#include "lookup.hpp"
#include "socket.hpp"
#include "socket_address.hpp"

#include <weft/detail/time_span.hpp>
#include <weft/error.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace weft::inline v0::net {

namespace {

std::error_code bind_to(int fd, const endpoint& local) noexcept {
  // Lets the system choose the port at connect, when it knows the peer: it has more to choose from then.
  if (local.port() == 0) static_cast<void>(set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
  const socket_address address(local);
  return to_error_code(static_cast<int>(-sched::sys_call(bind, fd, &address.any, address.size)));
}

// One connect on a socket of its own.
std::error_code connect_once(const std::shared_ptr<poll::poller>& poller, const endpoint& remote,
                             const dial_options& options, sched::nanotime until, tcp_conn& conn) {
  int error = 0;
  new_socket made(open_stream_socket(remote, options.no_delay, options.keep_alive, error));
  const int fd = made.get();
  if (fd < 0) return to_error_code(error);
  // Where the system doesn't have it, the connect is as usual.
  if (options.fast_open) static_cast<void>(set_option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1));
  if (options.local) {
    if (const std::error_code code = bind_to(fd, local_for(options.local, remote))) return code;
  }
  if (options.control) {
    if (const std::error_code code = options.control(fd, remote)) return code;
  }
  const socket_address address(remote);
  const long connected = sched::sys_call(connect, fd, &address.any, address.size);
  if (connected != 0 && connected != -EINPROGRESS && connected != -EINTR) {
    return to_error_code(static_cast<int>(-connected));
  }
  // Registered only now: a socket that is not connecting yet would report itself as hung up at once.
  poll::descriptor_ptr d = made.hand_over(poller, poll::kind::tcp, error);
  if (d == nullptr) return to_error_code(error);
  if (connected != 0) {
    if (until != sched::never) error = d->set_deadline(poll::side::write, until);
    if (error == poll::ok) error = d->finish_connect();
    // A deadline that passes at this moment is forgotten with the rest: the connection has none.
    if (error == poll::ok && until != sched::never) error = d->set_deadline(poll::side::write, sched::never);
    if (error != poll::ok) return to_error_code(error);
  }
  // Nobody else knows this descriptor yet, so its number cannot have been released.
  const endpoint local = local_endpoint_of(fd);
  const endpoint peer = remote.is_wildcard() ? remote_endpoint_of(fd) : remote;
  conn = tcp_access::connection(std::move(d), local, peer);
  return {};
}

// A dial to an unused port of the ephemeral range may be given that very port as its own, and then connects to itself;
// and the system may run out of such ports for a moment. Both go away with another try. Whoever asked for a port of his
// own gets what he asked for.
std::error_code connect_to(const std::shared_ptr<poll::poller>& poller, const endpoint& remote,
                           const dial_options& options, sched::nanotime until, tcp_conn& conn) {
  if (!remote) return to_error_code(EDESTADDRREQ);
  const int tries = options.local.port() == 0 ? 3 : 1;
  std::error_code code;
  for (int i = 0; i < tries; ++i) {
    code = connect_once(poller, remote, options, until, conn);
    if (!code) {
      if (tries == 1 || conn.local_endpoint() != conn.remote_endpoint()) return {};
      conn = tcp_conn();
      code = to_error_code(ECONNREFUSED);
    } else if (code != std::errc::address_not_available) {
      return code;
    }
  }
  return code;
}

// share_out splits the addresses by the family of the first one that `local` allows.
void share_out(const std::vector<endpoint>& remotes, const dial_options& options, dial_plan& plan) {
  const endpoint& local = options.local;
  for (const endpoint& remote : remotes) {
    if (local && !local.is_wildcard() && local.is_ipv4() != remote.is_ipv4()) continue;
    const bool alike = plan.primaries.empty() || plan.primaries.front().is_ipv4() == remote.is_ipv4();
    (alike || options.fallback_delay.count() < 0 ? plan.primaries : plan.fallbacks).push_back(remote);
  }
}

tcp_conn dial(const address& where, const dial_options& options, failure& f) {
  dial_plan plan;
  plan.until = std::min(sched::after(weft::detail::saturated(options.timeout)),
                        weft::detail::saturated(options.deadline.time_since_epoch()));
  plan.attempt = options.attempt_timeout.count();
  plan.delay = options.fallback_delay.count();
  plan.name = where.text();
  std::vector<endpoint> remotes{where.endpoint()};
  if (where.is_text()) remotes = lookup(where.text(), "dial", absent_host::this_machine, plan.until, f);
  if (remotes.empty()) return {};
  const std::string source = options.local.to_string();
  plan.source = source;
  share_out(remotes, options, plan);
  const std::shared_ptr<poll::poller> poller = current_poller();
  if (plan.primaries.empty() || poller == nullptr) {
    plan.primaries.assign(1, remotes.front());
    plan.fallbacks.clear();
  }
  // Before the fibers of the race, to which the caller's stop comes a moment later.
  if (sched::stop_requested()) {
    f.code = to_error_code(poll::canceled);
    f.what = {"dial", "tcp", source, where.is_text() ? std::string(where.text()) : where.endpoint().to_string()};
    return {};
  }
  return race(
      plan,
      [&](const endpoint& remote, sched::nanotime until, tcp_conn& conn) -> std::error_code {
        if (poller == nullptr) return errc::no_runtime;
        return connect_to(poller, remote, options, until, conn);
      },
      f);
}

}  // namespace

tcp_conn dial_tcp(address where, const dial_options& options) {
  failure f;
  tcp_conn conn = dial(where, options, f);
  if (f.code) throw_failure(f.code, f.what);
  return conn;
}

tcp_conn dial_tcp(address where, const dial_options& options, std::error_code& ec) {
  failure f;
  tcp_conn conn = dial(where, options, f);
  ec = f.code;
  return conn;
}

}  // namespace weft::inline v0::net
