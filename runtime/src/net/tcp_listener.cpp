#include "../io_error.hpp"
#include "../runtime_access.hpp"
#include "lookup.hpp"
#include "socket.hpp"
#include "socket_address.hpp"

#include <weft/error.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <span>

namespace weft::inline v0::net {

namespace {

// Called before bind, which looks at some of these, and before listen, from which accepted sockets inherit.
std::error_code prepare(int fd, const endpoint& where, const listen_options& options) {
  int error = options.reuse_address ? set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) : 0;
  if (error == 0 && options.reuse_port) error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (error == 0 && where.is_ipv6()) error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0);
  if (error == 0 && options.fast_open > 0) error = set_option(fd, IPPROTO_TCP, TCP_FASTOPEN, options.fast_open);
  if (error == 0 && options.defer_accept.count() > 0) {
    const std::int64_t seconds = std::min<std::int64_t>(options.defer_accept.count(), std::numeric_limits<int>::max());
    error = set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, static_cast<int>(seconds));
  }
  if (error != 0) return to_error_code(error);
  return options.control ? options.control(fd, where) : std::error_code();
}

int bind_and_listen(int fd, const endpoint& where, int backlog) noexcept {
  const socket_address address(where);
  if (const long bound = sched::sys_call(bind, fd, &address.any, address.size); bound < 0) {
    return static_cast<int>(-bound);
  }
  // The system lowers what is too much to its limit, somaxconn.
  return static_cast<int>(-sched::sys_call(listen, fd, backlog > 0 ? backlog : std::numeric_limits<int>::max()));
}

// Accepted sockets inherit TCP_NODELAY, SO_KEEPALIVE and its times from their listener, which spares each of them five
// calls; so the listener is made with the options of its connections.
std::error_code listen_once(const std::shared_ptr<poll::poller>& poller, const endpoint& where,
                            const listen_options& options, tcp_listener& listener) {
  if (!where) return to_error_code(EDESTADDRREQ);
  int error = 0;
  new_socket made(open_stream_socket(where, options.no_delay, options.keep_alive, error));
  if (made.get() < 0) return to_error_code(error);
  if (const std::error_code code = prepare(made.get(), where, options)) return code;
  error = bind_and_listen(made.get(), where, options.backlog);
  if (error != 0) return to_error_code(error);
  const endpoint local = local_endpoint_of(made.get());
  poll::descriptor_ptr d = made.hand_over(poller, poll::kind::listener, error);
  if (d == nullptr) return to_error_code(error);
  listener = tcp_access::listener(std::move(d), poller, local);
  return {};
}

bool family_is_absent(const std::error_code& code) noexcept {
  return code == std::errc::address_family_not_supported || code == std::errc::address_not_available;
}

// Listens at the first of `where` whose family this machine has. `address` is the text they come from, if any.
tcp_listener listen_at(std::string_view address, std::span<const endpoint> where, const listen_options& options,
                       failure& f) {
  f = {};
  const std::shared_ptr<poll::poller> poller = current_poller();
  tcp_listener listener;
  for (const endpoint& e : where) {
    f.code = poller == nullptr ? std::error_code(errc::no_runtime) : listen_once(poller, e, options, listener);
    if (!family_is_absent(f.code)) break;
  }
  if (!f.code) return listener;
  const std::string numeric = where.front().to_string();
  f.what = {"listen", "tcp", {}, address.empty() ? numeric : std::string(address)};
  if (!address.empty() && address.front() != ':' && address != numeric) f.what.target += " (" + numeric + ")";
  return {};
}

tcp_listener listen_at(const address& where, const listen_options& options, failure& f) {
  if (!where.is_text()) return listen_at({}, std::span(&where.endpoint(), 1), options, f);
  const std::string_view text = where.text();
  std::vector<endpoint> found = lookup(text, "listen", absent_host::every_interface, sched::never, f);
  if (found.empty()) return {};
  if (text.front() != ':') {
    const auto ipv4 = std::ranges::find_if(found, &endpoint::is_ipv4);
    found = {ipv4 == found.end() ? found.front() : *ipv4};
  }
  return listen_at(text, found, options, f);
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
  new_socket made(got.fd);
  poll::descriptor_ptr d = made.hand_over(std::move(poller), poll::kind::tcp, error);
  if (d == nullptr) return {};
  return tcp_access::connection(std::move(d), local, peer.to_endpoint());
}

}  // namespace

tcp_listener listen_tcp(address where, const listen_options& options) {
  failure f;
  tcp_listener listener = listen_at(where, options, f);
  if (f.code) throw_failure(f.code, f.what);
  return listener;
}

tcp_listener listen_tcp(address where, const listen_options& options, std::error_code& ec) {
  failure f;
  tcp_listener listener = listen_at(where, options, f);
  ec = f.code;
  return listener;
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
