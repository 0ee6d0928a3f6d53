// An echo server: each connection is a fiber that reads and writes as if nobody else were there.
#include "support/flags.hpp"
#include "support/on_stop.hpp"

#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace {

template <class Conn>
void echo(Conn conn) {
  std::array<std::byte, 16 * 1024> buffer;
  while (const std::size_t n = conn.read_some(buffer)) conn.write(std::span(buffer).first(n));
}

void say_listening(const std::string& where) {
  std::printf("listening on %s\n", where.c_str());
  std::fflush(stdout);
}

void report(const std::error_code& error) {
  std::fprintf(stderr, "echo_server: accept: %s\n", error.message().c_str());
}

void serve_tcp(const std::string& address) {
  weft::net::serve_options reports;
  reports.on_accept_error = report;
  // A connection that breaks is its client's business: no on_connection_error.
  weft::net::server server(weft::net::listen_tcp(address), reports);
  const support::on_stop stop([&server] { server.close(); });
  say_listening(server.local_endpoint().to_string());
  server.serve(echo<weft::net::tcp_conn>);
  server.drain(std::chrono::milliseconds(500));
}

// The accept loop by hand.
void serve_local(const std::string& path) {
  weft::net::local_listener listener = weft::net::listen_local(path);
  const support::on_stop stop([&listener] {
    std::error_code ignored;
    listener.close(ignored);
  });
  say_listening("unix:" + listener.local().to_string());
  for (;;) {
    std::error_code error;
    weft::net::local_conn conn = listener.accept(error);
    if (!error) {
      weft::go([c = std::move(conn)]() mutable {
        try {
          echo(std::move(c));
        } catch (const weft::io_error&) {
        }
      });
    } else if (weft::is_temporary(error)) {
      report(error);
      weft::this_fiber::sleep_for(std::chrono::milliseconds(100));
    } else {
      return;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:7000";
  weft::runtime_options options;
  support::flags("echo_server", "sends back what it receives, on every connection.")
      .text("--listen", "HOST:PORT", "where to listen; port 0 lets the system choose; or unix:PATH, unix:@NAME",
            address)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  return support::report_errors("echo_server", [&] {
    return weft::run(
        [&] {
          constexpr std::string_view local = "unix:";
          if (address.starts_with(local)) {
            serve_local(address.substr(local.size()));
          } else {
            serve_tcp(address);
          }
        },
        options);
  });
}
