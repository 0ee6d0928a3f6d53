// The echo server of examples/echo_server.cpp in the variants that the example doesn't need: slow handlers (--slow),
// and connections that hold no buffer while they are idle (--wait).
#include "peers/server.hpp"

#include <weft/weft.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <utility>

namespace {

using weft::net::tcp_conn;

void handle_slowly(std::byte kind) {
  if (kind == std::byte('c')) bench::compute();
  if (kind == std::byte('w')) weft::this_fiber::sleep_for(bench::slow_time);
}

void echo_slowly(tcp_conn conn) {
  std::array<std::byte, 16 * 1024> buffer;
  while (const std::size_t n = conn.read_some(buffer)) {
    handle_slowly(buffer[0]);
    conn.write(std::span(buffer).first(n));
  }
}

// answer is a call of its own so that its buffer is off the stack while the connection is idle.
[[gnu::noinline]] bool answer(tcp_conn& conn) {
  std::array<std::byte, 16 * 1024> buffer;
  const std::size_t n = conn.read_some(buffer);
  conn.write(std::span(buffer).first(n));
  return n > 0;
}

void echo_after_waiting(tcp_conn conn) {
  do conn.wait_readable();
  while (answer(conn));
}

}  // namespace

int main(int argc, char** argv) {
  bool wait = false;
  if (argc > 1 && std::string_view(argv[argc - 1]) == "--wait") {
    wait = true;
    --argc;
  }
  const bench::server_options told = bench::server_options_from(argc, argv);
  weft::runtime_options options;
  options.workers = told.workers;
  return weft::run(
      [&] {
        weft::net::tcp_listener listener = weft::net::listen_tcp(told.host + ":" + std::to_string(told.port));
        bench::print_endpoint(told.host, listener.local_endpoint().port());
        weft::net::serve(listener, wait ? echo_after_waiting : echo_slowly);
      },
      options);
}
