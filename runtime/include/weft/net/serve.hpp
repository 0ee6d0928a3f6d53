// serve: the accept loop, one fiber a connection. server: the same, and its orderly end.
#pragma once

#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/fiber.hpp>
#include <weft/mutex.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/clock.hpp>
#include <weft/scope.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft::inline v0::net {

// What serve tells its caller about, and its limits. Empty functions are not called; what they throw is not caught.
struct serve_options {
  explicit serve_options() = default;

  // A connection could not be accepted, or no fiber started for it; called at most once a second. serve goes on.
  std::function<void(const std::error_code& error)> on_accept_error;

  // A std::system_error escaped the handler. Called on the connection's fiber, after the connection was closed.
  std::function<void(const endpoint& peer, const std::system_error& error)> on_connection_error;

  // Connections in being at which no more are accepted, until one ends; further ones stay queued. Each
  // further call of server::serve may bring one more. 0: no limit.
  std::size_t max_connections = 0;
};

namespace detail {

// census counts the connections in being and the accept loops that may bring more. Thread-safe.
class WEFT_API census {
 public:
  void loop_begins() noexcept { change(0, 1); }
  void loop_ends() noexcept { change(0, -1); }
  void connection_begins() noexcept { change(1, 0); }
  void connection_ends() noexcept { change(-1, 0); }

  std::size_t connections() const noexcept;

  // below gives a token that is stopped once there are fewer connections than n; nobody, once there is neither a
  // connection nor a loop. Throws std::bad_alloc.
  std::stop_token below(std::size_t n) { return watch(n, false); }
  std::stop_token nobody() { return watch(1, true); }

 private:
  struct watcher {
    std::size_t below = 0;
    bool loops_too = false;
    std::stop_source source;
  };

  bool met(const watcher& w) const noexcept { return connections_ < w.below && (!w.loops_too || loops_ == 0); }
  void change(std::ptrdiff_t connections, std::ptrdiff_t loops) noexcept;
  std::stop_token watch(std::size_t n, bool loops_too);

  mutable mutex mutex_;
  // Guarded by mutex_.
  std::size_t connections_ = 0;
  std::size_t loops_ = 0;
  std::vector<watcher> watchers_;
};

// service is what the fibers of one server share.
struct service {
  serve_options options;
  census counted;
  std::stop_source stop{std::nostopstate};  // ends the waits of the handlers
};

// accept_loop is the part of serve that knows no handler. Used by one fiber.
class WEFT_API accept_loop {
 public:
  accept_loop(tcp_listener& listener, service& shared) noexcept : listener_(listener), service_(shared) {
    service_.counted.loop_begins();
  }
  ~accept_loop() { service_.counted.loop_ends(); }
  accept_loop(const accept_loop&) = delete;
  accept_loop& operator=(const accept_loop&) = delete;

  // next waits for a connection, which is counted; false when the listener was closed or the caller stopped. Throws
  // io_error if the listener is broken.
  bool next(tcp_conn& conn);

  void started() noexcept { pause_ = 0; }
  // not_started lets the next call of next() begin with a pause. Rethrows what is being handled, if it won't pass.
  void not_started(const std::error_code& error);

 private:
  // These return false if the listener was closed or the caller stopped.
  bool wait_for_room();
  bool wait_out_pause();
  void report(const std::error_code& error);

  tcp_listener& listener_;
  service& service_;
  sched::nanotime pause_ = 0;  // what the last refusal cost; 0 after a success
  bool pause_due_ = false;
  bool reported_ = false;
  sched::nanotime last_report_ = 0;
};

// A handler that was stopped ends without a word.
WEFT_API void connection_failed(const serve_options& options, const endpoint& peer, const std::system_error& error);

// connection_count is one connection's place in the census, from its accept to the end of its handler.
class connection_count {
 public:
  explicit connection_count(std::shared_ptr<service> shared) noexcept : shared_(std::move(shared)) {}
  connection_count(connection_count&&) noexcept = default;
  connection_count& operator=(connection_count&&) = delete;
  ~connection_count() {
    if (shared_ != nullptr) shared_->counted.connection_ends();
  }
  service& operator*() const noexcept { return *shared_; }

 private:
  std::shared_ptr<service> shared_;
};

template <class Handler>
void handle(Handler& handler, service& shared, tcp_conn conn) {
  const endpoint peer = conn.remote_endpoint();
  const stop_scope until_the_drain_ends(shared.stop.get_token());
  try {
    std::invoke(handler, std::move(conn));
  } catch (const std::system_error& error) {
    connection_failed(shared.options, peer, error);
  }
}

template <class Handler>
void serve(tcp_listener& listener, Handler&& handler, const std::shared_ptr<service>& shared) {
  const std::shared_ptr<std::decay_t<Handler>> one(new std::decay_t<Handler>(std::forward<Handler>(handler)));
  accept_loop loop(listener, *shared);
  tcp_conn conn;
  while (loop.next(conn)) {
    connection_count counted(shared);
    try {
      go([one, counted = std::move(counted), accepted = std::move(conn)]() mutable {
        handle(*one, *counted, std::move(accepted));
      });
      loop.started();
    } catch (const std::system_error& error) {
      loop.not_started(error.code());
    }
  }
}

template <class Handler>
concept connection_handler = std::invocable < std::decay_t<Handler>
&, tcp_conn > ;

}  // namespace detail

// serve accepts connections and calls handler(tcp_conn) for each, on a fiber of its own; all of them share one handler.
// It returns when the listener is closed, also in the middle of a pause, or the calling fiber stopped; connections in
// being go on.
//
// Without descriptors or memory for the next connection it pauses, from 5 ms up to 1 s, and leaves it queued. A
// std::system_error that escapes the handler ends that connection only; other exceptions end as those of go() do.
template <class Handler>
requires detail::connection_handler<Handler>
void serve(tcp_listener& listener, Handler&& handler, const serve_options& options) {
  const std::shared_ptr<detail::service> shared(new detail::service{options, {}, std::stop_source(std::nostopstate)});
  detail::serve(listener, std::forward<Handler>(handler), shared);
}
template <class Handler>
requires detail::connection_handler<Handler>
void serve(tcp_listener& listener, Handler&& handler) {
  net::serve(listener, std::forward<Handler>(handler), serve_options());
}

// With a listener that nobody else will close: until the calling fiber is stopped.
template <class Handler>
requires detail::connection_handler<Handler>
void serve(tcp_listener&& listener, Handler&& handler, const serve_options& options) {
  net::serve(listener, std::forward<Handler>(handler), options);
}
template <class Handler>
requires detail::connection_handler<Handler>
void serve(tcp_listener&& listener, Handler&& handler) {
  net::serve(listener, std::forward<Handler>(handler), serve_options());
}

// server is serve with an orderly end: it knows its connections, and can wait for them.
// Thread-safe: close, drain and connections may be called at any time, serve by several fibers at once. It has to exist
// until every serve has returned; the connections may outlive it.
class WEFT_API server {
 public:
  explicit server(tcp_listener listener) : server(std::move(listener), serve_options()) {}
  server(tcp_listener listener, const serve_options& options);
  server(const server&) = delete;
  server& operator=(const server&) = delete;

  const endpoint& local_endpoint() const noexcept { return listener_.local_endpoint(); }

  // serve is net::serve: it returns after close or drain, or when the calling fiber is stopped.
  template <class Handler>
  requires detail::connection_handler<Handler>
  void serve(Handler&& handler) { detail::serve(listener_, std::forward<Handler>(handler), service_); }

  // connections are those whose handler has not returned.
  std::size_t connections() const noexcept { return service_->counted.connections(); }

  // close ends the accepting; connections in being go on. Again: nothing.
  void close() noexcept;

  // drain closes, then waits until the last connection has ended, for at most that long. Those left then are cut off:
  // whatever their handlers wait in or call fails with std::errc::operation_canceled (canceled_error), which nobody
  // hears of. Returns how many were left, without waiting for them. A stop of the caller ends the wait at once.
  // From a handler it would wait for itself.
  template <class Rep, class Period>
  std::size_t drain(const std::chrono::duration<Rep, Period>& time) {
    return drain_until(weft::detail::to_nanotime(time));
  }
  std::size_t drain(std::chrono::steady_clock::time_point deadline) {
    return drain_until(weft::detail::to_nanotime(deadline));
  }

 private:
  std::size_t drain_until(sched::nanotime until);

  tcp_listener listener_;
  const std::shared_ptr<detail::service> service_;
};

}  // namespace weft::inline v0::net
