// TCP: connections and listeners.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/io/raw_calls.hpp>
#include <weft/net/address.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/socket_calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>

namespace weft::inline v0::net {

struct keep_alive {
  bool enabled = true;
  std::chrono::seconds idle{15};      // silence before the first probe
  std::chrono::seconds interval{15};  // between probes
  int count = 9;                      // unanswered probes that end the connection
};

namespace detail {

// What an error says of a TCP call's object.
struct tcp_ends {
  endpoint local;
  endpoint remote;
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

// tcp_conn is a stream of bytes to a peer: a movable handle, closed when it is destroyed. Dialled and accepted ones
// send small writes at once (TCP_NODELAY), probe a silent peer (keep_alive's defaults) and are not inherited by
// executed programs. Reading, writing, deadlines, close: io/calls.hpp; shutdown and options: net/socket_calls.hpp.
class WEFT_API tcp_conn : public io::handle_calls<tcp_conn>,
                          public io::reader_calls<tcp_conn>,
                          public io::writer_calls<tcp_conn>,
                          public io::raw_calls<tcp_conn>,
                          public shutdown_calls<tcp_conn>,
                          public socket_calls<tcp_conn> {
 public:
  tcp_conn() noexcept = default;  // every call gives errc::closed

  // The two ends, as they were when the connection was made; they stay known after close, until the handle is moved from,
  // assigned to or destroyed.
  const endpoint& local_endpoint() const noexcept { return ends().local; }
  const endpoint& remote_endpoint() const noexcept { return ends().remote; }

  // set_no_delay(false) lets the system hold back small writes to join them (Nagle).
  void set_no_delay(bool on);
  void set_no_delay(bool on, std::error_code& ec) noexcept;

  void set_keep_alive(const keep_alive& options);
  void set_keep_alive(const keep_alive& options, std::error_code& ec) noexcept;

  // set_linger decides what becomes of unsent bytes when the connection is closed: without a value the system goes on
  // sending them (the default), zero drops them and resets the connection, more bounds the time.
  void set_linger(std::optional<std::chrono::seconds> time);
  void set_linger(std::optional<std::chrono::seconds> time, std::error_code& ec) noexcept;

  // set_user_timeout bounds how long sent bytes may stay unacknowledged before the system gives the connection up
  // (TCP_USER_TIMEOUT); zero: as long as the system's own rules say.
  void set_user_timeout(std::chrono::milliseconds time);
  void set_user_timeout(std::chrono::milliseconds time, std::error_code& ec) noexcept;

  // set_quick_ack(true) acknowledges what arrives at once, until the system changes its mind (TCP_QUICKACK).
  void set_quick_ack(bool on);
  void set_quick_ack(bool on, std::error_code& ec) noexcept;

 private:
  friend class tcp_access;
  friend struct io::access;

  static const detail::tcp_ends& name_by(const poll::descriptor& d) noexcept {
    return *static_cast<const detail::tcp_ends*>(d.label());
  }
  const detail::tcp_ends& ends() const noexcept;
  detail::tcp_ends name() const noexcept { return ends(); }

  poll::descriptor_ptr descriptor_;  // its label: the two ends
};

struct listen_options {
  explicit listen_options() = default;

  int backlog = 0;            // connections that may wait to be accepted; 0: as many as the system allows
  bool reuse_address = true;  // take over an address of which an ended program's connections are left
  bool reuse_port = false;    // let several listeners share the address, and the system spread connections over them
  bool v6_only = false;       // an IPv6 wildcard takes no IPv4 connections
  int fast_open = 0;          // connections that may bring their first bytes along (TCP_FASTOPEN), 0: none
  std::chrono::seconds defer_accept{0};  // accept a connection when its first bytes are there, or after this time

  // Of the connections accepted.
  bool no_delay = true;
  net::keep_alive keep_alive{};

  // Called with the socket's number before it is bound, for options that have no name here. An error ends the call, as
  // does what it throws.
  std::function<std::error_code(int fd, const endpoint& local)> control;
};

// tcp_listener is where connections arrive: a movable handle, closed when it is destroyed. Any number of fibers and
// plain threads may accept at once, and none waits for another while connections are queued. close() ends every accept
// that waits with errc::closed and refuses the connections still queued. Deadlines, close: io/calls.hpp; a deadline fails
// accept though a connection be queued.
class WEFT_API tcp_listener : public io::handle_calls<tcp_listener>,
                              public io::raw_calls<tcp_listener>,
                              public socket_calls<tcp_listener> {
 public:
  tcp_listener() noexcept = default;  // every call gives errc::closed

  // accept waits for the next connection. Those that their peer aborted while they waited are passed over. Without a
  // free descriptor (EMFILE, ENFILE) or memory it fails and the connection stays queued: a later call finds it.
  [[nodiscard]] tcp_conn accept();
  [[nodiscard]] tcp_conn accept(std::error_code& ec) noexcept;
  [[nodiscard]] tcp_conn accept(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return accept();
  }
  [[nodiscard]] tcp_conn accept(const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return accept(ec);
  }

  // Where it listens, with the port that the system chose if 0 was asked for; known after close too.
  const endpoint& local_endpoint() const noexcept { return local_; }

 private:
  friend class tcp_access;
  friend struct io::access;

  detail::tcp_ends name() const noexcept { return {local_, endpoint()}; }

  poll::descriptor_ptr descriptor_;
  std::shared_ptr<poll::poller> poller_;  // accepted connections join the poller of their listener
  endpoint local_;
};

// listen_tcp listens at "HOST:PORT": a numeric address, ":PORT" for every interface (both families where there are
// both, as "[::]:PORT" does), or a name, of which the first IPv4 address is taken, else the first. Port 0 lets the
// system choose. The token ends the lookup of a name. Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API tcp_listener listen_tcp(address where, const listen_options& options);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(address where, const listen_options& options, std::error_code& ec);
[[nodiscard]] inline tcp_listener listen_tcp(address where, const listen_options& options,
                                             const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return listen_tcp(where, options);
}
[[nodiscard]] inline tcp_listener listen_tcp(address where, const listen_options& options, const std::stop_token& stop,
                                             std::error_code& ec) {
  const sched::stop_link link(stop);
  return listen_tcp(where, options, ec);
}
[[nodiscard]] inline tcp_listener listen_tcp(address where) { return listen_tcp(where, listen_options()); }
[[nodiscard]] inline tcp_listener listen_tcp(address where, std::error_code& ec) {
  return listen_tcp(where, listen_options(), ec);
}
[[nodiscard]] inline tcp_listener listen_tcp(address where, const std::stop_token& stop) {
  return listen_tcp(where, listen_options(), stop);
}
[[nodiscard]] inline tcp_listener listen_tcp(address where, const std::stop_token& stop, std::error_code& ec) {
  return listen_tcp(where, listen_options(), stop, ec);
}

struct dial_options {
  explicit dial_options() = default;

  // The end of the whole call, lookup of the name included: the earlier of a time from its begin and a time point.
  std::chrono::nanoseconds timeout = std::chrono::nanoseconds::max();
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  // What one address is given. Not set: an equal share, among the addresses left, of the time left, but not less than
  // 2 s while there is more; without a deadline, as long as the system tries.
  std::chrono::nanoseconds attempt_timeout = std::chrono::nanoseconds::max();

  // How much earlier the addresses of the first one's family are tried than those of the other. Negative: the others
  // come when the first have failed, and nothing is tried at the same time.
  std::chrono::nanoseconds fallback_delay = std::chrono::milliseconds(250);

  endpoint local;          // the local end; a wildcard stands for both families, port 0 for any
  bool fast_open = false;  // the first write goes along with the connect, if the peer was met before
                           // (TCP_FASTOPEN_CONNECT): until then a refusal is not seen, and nothing arrives
  bool no_delay = true;
  net::keep_alive keep_alive{};

  // Called with each socket's number before it connects, for options that have no name here; on a fiber, and perhaps
  // for two sockets at once. An error ends that attempt; what it throws comes out of the call.
  std::function<std::error_code(int fd, const endpoint& remote)> control;
};

// dial_tcp connects to "HOST:PORT"; without a host, to this machine. A name is looked up while other fibers go on. Its
// addresses, in the order of the lookup (RFC 6724), are tried one after the other, those of the other family beside
// them (RFC 8305, dial_options::fallback_delay). The first connection wins, and nothing is left of the others. The
// error is that of the first address; std::errc::timed_out if the time was up. A stop ends the call at any point: it
// fails, and leaves no connection. Once the call has returned, a stop changes nothing. Needs a runtime.
[[nodiscard]] WEFT_API tcp_conn dial_tcp(address where, const dial_options& options);
[[nodiscard]] WEFT_API tcp_conn dial_tcp(address where, const dial_options& options, std::error_code& ec);
[[nodiscard]] inline tcp_conn dial_tcp(address where, const dial_options& options, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return dial_tcp(where, options);
}
[[nodiscard]] inline tcp_conn dial_tcp(address where, const dial_options& options, const std::stop_token& stop,
                                       std::error_code& ec) {
  const sched::stop_link link(stop);
  return dial_tcp(where, options, ec);
}
[[nodiscard]] inline tcp_conn dial_tcp(address where) { return dial_tcp(where, dial_options()); }
[[nodiscard]] inline tcp_conn dial_tcp(address where, std::error_code& ec) {
  return dial_tcp(where, dial_options(), ec);
}
[[nodiscard]] inline tcp_conn dial_tcp(address where, const std::stop_token& stop) {
  return dial_tcp(where, dial_options(), stop);
}
[[nodiscard]] inline tcp_conn dial_tcp(address where, const std::stop_token& stop, std::error_code& ec) {
  return dial_tcp(where, dial_options(), stop, ec);
}

}  // namespace weft::inline v0::net
