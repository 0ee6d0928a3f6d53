// serve: the accept loop, one fiber a connection.
#pragma once

#include <weft/export.hpp>
#include <weft/fiber.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/clock.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0::net {

// What serve tells its caller about. Empty functions are not called; what they throw is not caught.
struct serve_options {
  explicit serve_options() = default;

  // A connection could not be accepted, or no fiber started for it; called at most once a second. serve goes on.
  std::function<void(const std::error_code& error)> on_accept_error;

  // A std::system_error escaped the handler. Called on the connection's fiber, after the connection was closed.
  std::function<void(const endpoint& peer, const std::system_error& error)> on_connection_error;
};

namespace detail {

// accept_loop is the part of serve that knows no handler. Used by one fiber.
class WEFT_API accept_loop {
 public:
  accept_loop(tcp_listener& listener, const serve_options& options) noexcept
      : listener_(listener), options_(options) {}

  // next waits for a connection; false when the listener was closed or the caller stopped. Throws io_error if the
  // listener is broken.
  bool next(tcp_conn& conn);

  void started() noexcept { pause_ = 0; }
  void not_started(const std::error_code& error);  // lets the next call of next() begin with a pause

 private:
  tcp_listener& listener_;
  const serve_options& options_;
  sched::nanotime pause_ = 0;  // what the last refusal cost; 0 after a success
  bool pause_due_ = false;
  bool reported_ = false;
  sched::nanotime last_report_ = 0;
};

// A handler that was stopped ends without a word.
WEFT_API void connection_failed(const serve_options& options, const endpoint& peer, const std::system_error& error);

template <class Handler>
struct service {
  Handler handler;
  serve_options options;

  void run(tcp_conn conn) {
    const endpoint peer = conn.remote_endpoint();
    try {
      std::invoke(handler, std::move(conn));
    } catch (const std::system_error& error) {
      connection_failed(options, peer, error);
    }
  }
};

}  // namespace detail

// serve accepts connections and calls handler(tcp_conn) for each, on a fiber of its own; all of them share one handler.
// It returns when the listener is closed or the calling fiber stopped; connections in being go on.
//
// Without descriptors or memory for the next connection it pauses, from 5 ms up to 1 s, and leaves it queued. A
// std::system_error that escapes the handler ends that connection only; other exceptions end as those of go() do.
template <class Handler>
  requires std::invocable<std::decay_t<Handler>&, tcp_conn>
void serve(tcp_listener& listener, Handler&& handler, const serve_options& options) {
  using service = detail::service<std::decay_t<Handler>>;
  const std::shared_ptr<service> shared(new service{std::forward<Handler>(handler), options});
  detail::accept_loop loop(listener, shared->options);
  tcp_conn conn;
  while (loop.next(conn)) {
    try {
      go([shared, accepted = std::move(conn)]() mutable { shared->run(std::move(accepted)); });
      loop.started();
    } catch (const std::system_error& error) {
      loop.not_started(error.code());
    }
  }
}
template <class Handler>
  requires std::invocable<std::decay_t<Handler>&, tcp_conn>
void serve(tcp_listener& listener, Handler&& handler) {
  serve(listener, std::forward<Handler>(handler), serve_options());
}

// With a listener that nobody else will close: until the calling fiber is stopped.
template <class Handler>
  requires std::invocable<std::decay_t<Handler>&, tcp_conn>
void serve(tcp_listener&& listener, Handler&& handler, const serve_options& options) {
  serve(listener, std::forward<Handler>(handler), options);
}
template <class Handler>
  requires std::invocable<std::decay_t<Handler>&, tcp_conn>
void serve(tcp_listener&& listener, Handler&& handler) {
  serve(listener, std::forward<Handler>(handler), serve_options());
}

}  // namespace weft::inline v0::net
