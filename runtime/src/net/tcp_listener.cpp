#include "../io_error.hpp"
#include "../runtime_access.hpp"
#include "lookup.hpp"
#include "socket.hpp"
#include "socket_address.hpp"

#include <weft/error.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <span>

namespace weft::inline v0::net {

namespace {

// Accepted sockets inherit TCP_NODELAY, SO_KEEPALIVE and its times from their listener, which spares each of them five
// calls; so the listener is made with the defaults of a connection.
int bind_and_listen(int fd, const endpoint& where, const listen_options& options) noexcept {
  int error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (error == 0 && options.reuse_port) error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (error == 0 && where.is_ipv6()) error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (error != 0) return error;
  const socket_address address(where);
  if (const long bound = sched::sys_call(bind, fd, &address.any, address.size); bound < 0) {
    return static_cast<int>(-bound);
  }
  // The system lowers what is too much to its limit, somaxconn.
  const int backlog = options.backlog > 0 ? options.backlog : std::numeric_limits<int>::max();
  return static_cast<int>(-sched::sys_call(listen, fd, backlog));
}

// Returns 0 and the listener, an errno value, or one of poll::error.
int listen_once(const std::shared_ptr<poll::poller>& poller, const endpoint& where, const listen_options& options,
                tcp_listener& listener) noexcept {
  if (!where) return EDESTADDRREQ;
  int error = 0;
  const int fd = open_stream_socket(where, error);
  if (fd < 0) return error;
  error = bind_and_listen(fd, where, options);
  poll::descriptor_ptr d;
  endpoint local;
  if (error == 0) {
    local = local_endpoint_of(fd);
    d = poll::descriptor::open(poller, fd, poll::kind::listener, error);
  }
  if (d == nullptr) {
    close_socket(fd);
    return error;
  }
  listener = tcp_access::listener(std::move(d), poller, local);
  return 0;
}

bool family_is_absent(int error) noexcept { return error == EAFNOSUPPORT || error == EADDRNOTAVAIL; }

// Listens at the first of `where` whose family this machine has. `address` is the text they come from, if any.
tcp_listener listen_at(std::string_view address, std::span<const endpoint> where, const listen_options& options,
                       failure& f) {
  f = {};
  const std::shared_ptr<poll::poller> poller = current_poller();
  tcp_listener listener;
  int error = 0;
  for (const endpoint& e : where) {
    if (poller != nullptr) error = listen_once(poller, e, options, listener);
    if (!family_is_absent(error)) break;
  }
  f.code = poller == nullptr ? std::error_code(errc::no_runtime) : to_error_code(error);
  if (!f.code) return listener;
  const std::string numeric = where.front().to_string();
  f.what = {"listen", "tcp", {}, address.empty() ? numeric : std::string(address)};
  if (!address.empty() && address.front() != ':' && address != numeric) f.what.target += " (" + numeric + ")";
  return {};
}

tcp_listener listen_at(std::string_view address, const listen_options& options, failure& f) {
  std::vector<endpoint> found = lookup(address, "listen", absent_host::every_interface, f);
  if (found.empty()) return {};
  if (address.front() != ':') {
    const auto ipv4 = std::ranges::find_if(found, &endpoint::is_ipv4);
    found = {ipv4 == found.end() ? found.front() : *ipv4};
  }
  return listen_at(address, found, options, f);
}

// Returns a connection, or none and an errno value or one of poll::error.
tcp_conn accept_one(poll::descriptor* listener, std::shared_ptr<poll::poller> poller, endpoint local,
                    int& error) noexcept {
  error = poll::closed;
  if (listener == nullptr) return {};
  socket_address peer;
  const poll::descriptor::accepted got = listener->accept(&peer.any, &peer.size);
  error = got.error;
  if (error != poll::ok) return {};
  if (local.is_wildcard()) local = local_endpoint_of(got.fd);
  poll::descriptor_ptr d = poll::descriptor::open(std::move(poller), got.fd, poll::kind::tcp, error);
  if (d != nullptr) return tcp_access::connection(std::move(d), local, peer.to_endpoint());
  close_socket(got.fd);
  return {};
}

}  // namespace

tcp_listener listen_tcp(std::string_view address, const listen_options& options) {
  failure f;
  tcp_listener listener = listen_at(address, options, f);
  if (f.code) throw_failure(f.code, f.what);
  return listener;
}

tcp_listener listen_tcp(std::string_view address, const listen_options& options, std::error_code& ec) {
  failure f;
  tcp_listener listener = listen_at(address, options, f);
  ec = f.code;
  return listener;
}

tcp_listener listen_tcp(const endpoint& address, const listen_options& options) {
  failure f;
  tcp_listener listener = listen_at({}, std::span(&address, 1), options, f);
  if (f.code) throw_failure(f.code, f.what);
  return listener;
}

tcp_listener listen_tcp(const endpoint& address, const listen_options& options, std::error_code& ec) {
  failure f;
  tcp_listener listener = listen_at({}, std::span(&address, 1), options, f);
  ec = f.code;
  return listener;
}

tcp_listener listen_tcp(std::string_view address) { return listen_tcp(address, listen_options()); }
tcp_listener listen_tcp(std::string_view address, std::error_code& ec) {
  return listen_tcp(address, listen_options(), ec);
}
tcp_listener listen_tcp(const endpoint& address) { return listen_tcp(address, listen_options()); }
tcp_listener listen_tcp(const endpoint& address, std::error_code& ec) {
  return listen_tcp(address, listen_options(), ec);
}

tcp_conn tcp_listener::accept() {
  const detail::tcp_ends ends = name();
  int error = poll::ok;
  tcp_conn conn = accept_one(descriptor_.get(), poller_, local_, error);
  if (error != poll::ok) io::detail::fail(error, "accept", ends.describe(), 0);
  return conn;
}

tcp_conn tcp_listener::accept(std::error_code& ec) noexcept {
  int error = poll::ok;
  tcp_conn conn = accept_one(descriptor_.get(), poller_, local_, error);
  ec = to_error_code(error);
  return conn;
}

}  // namespace weft::inline v0::net
