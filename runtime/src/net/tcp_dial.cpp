#include "../io_error.hpp"
#include "../runtime_access.hpp"
#include "lookup.hpp"
#include "socket.hpp"
#include "socket_address.hpp"

#include <weft/error.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <span>

namespace weft::inline v0::net {

namespace {

// One connect on a socket of its own. Returns 0 and the connection, an errno value, or one of poll::error.
int connect_once(const std::shared_ptr<poll::poller>& poller, const endpoint& remote, tcp_conn& conn) noexcept {
  int error = 0;
  const int fd = open_stream_socket(remote, error);
  if (fd < 0) return error;
  const socket_address address(remote);
  const long connected = sched::sys_call(connect, fd, &address.any, address.size);
  // Registered only now: a socket that is not connecting yet would report itself as hung up at once.
  poll::descriptor_ptr d;
  if (connected == 0 || connected == -EINPROGRESS || connected == -EINTR) {
    d = poll::descriptor::open(poller, fd, poll::kind::tcp, error);
  } else {
    error = static_cast<int>(-connected);
  }
  if (d == nullptr) {
    close_socket(fd);
    return error;
  }
  if (connected != 0) error = d->finish_connect();
  if (error != poll::ok) return error;
  // Nobody else knows this descriptor yet, so its number cannot have been released.
  const endpoint local = local_endpoint_of(fd);
  const endpoint peer = remote.is_wildcard() ? remote_endpoint_of(fd) : remote;
  conn = tcp_access::connection(std::move(d), local, peer);
  return 0;
}

// A dial to an unused port of the ephemeral range may be given that very port as its own, and then connects to itself;
// and the system may run out of such ports for a moment. Both go away with another try.
int connect_to(const std::shared_ptr<poll::poller>& poller, const endpoint& remote, tcp_conn& conn) noexcept {
  constexpr int tries = 3;
  int error = 0;
  for (int i = 0; i < tries; ++i) {
    error = connect_once(poller, remote, conn);
    if (error == 0) {
      if (conn.local_endpoint() != conn.remote_endpoint()) return 0;
      conn = tcp_conn();
      error = ECONNREFUSED;
    } else if (error != EADDRNOTAVAIL) {
      return error;
    }
  }
  return error;
}

failed_operation label(std::string_view address, const endpoint& e) {
  const std::string numeric = e.to_string();
  if (address.empty() || address == numeric) return {"dial", "tcp", {}, numeric};
  return {"dial", "tcp", {}, std::string(address) + " (" + numeric + ")"};
}

std::error_code try_one(const std::shared_ptr<poll::poller>& poller, const endpoint& remote, tcp_conn& conn) noexcept {
  if (poller == nullptr) return errc::no_runtime;
  if (sched::stop_requested()) return to_error_code(poll::canceled);
  return to_error_code(remote ? connect_to(poller, remote, conn) : EDESTADDRREQ);
}

// Tries each address; the failure is that of the first. `address` is the text they come from, if any.
tcp_conn dial_each(std::string_view address, std::span<const endpoint> remotes, failure& f) {
  const std::shared_ptr<poll::poller> poller = current_poller();
  tcp_conn conn;
  f = {};
  for (const endpoint& remote : remotes) {
    const std::error_code code = try_one(poller, remote, conn);
    if (!code) {
      f = {};
      return conn;
    }
    const bool canceled = code == std::errc::operation_canceled;
    if (!f.code || canceled) f = {code, label(address, remote)};
    if (canceled) break;
  }
  return {};
}

tcp_conn dial(std::string_view address, failure& f) {
  const std::vector<endpoint> remotes = lookup(address, "dial", absent_host::this_machine, f);
  return remotes.empty() ? tcp_conn() : dial_each(address, remotes, f);
}

}  // namespace

tcp_conn dial_tcp(std::string_view address) {
  failure f;
  tcp_conn conn = dial(address, f);
  if (f.code) throw_failure(f.code, f.what);
  return conn;
}

tcp_conn dial_tcp(std::string_view address, std::error_code& ec) {
  failure f;
  tcp_conn conn = dial(address, f);
  ec = f.code;
  return conn;
}

tcp_conn dial_tcp(const endpoint& address) {
  failure f;
  tcp_conn conn = dial_each({}, std::span(&address, 1), f);
  if (f.code) throw_failure(f.code, f.what);
  return conn;
}

tcp_conn dial_tcp(const endpoint& address, std::error_code& ec) {
  failure f;
  tcp_conn conn = dial_each({}, std::span(&address, 1), f);
  ec = f.code;
  return conn;
}

}  // namespace weft::inline v0::net
