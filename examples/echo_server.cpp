// An echo server: each connection is a fiber that reads and writes as if nobody else were there.
#include "support/flags.hpp"
#include "support/stop_signals.hpp"

#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <system_error>

namespace {

void echo(weft::net::tcp_conn conn) {
  std::array<std::byte, 16 * 1024> buffer;
  while (const std::size_t n = conn.read_some(buffer)) conn.write(std::span(buffer).first(n));
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:7000";
  weft::runtime_options options;
  support::flags("echo_server", "sends back what it receives, on every connection.")
      .text("--listen", "HOST:PORT", "where to listen; port 0 lets the system choose", address)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  support::stop_signals signals;
  return support::report_errors("echo_server", [&] {
    return weft::run(
        [&] {
          weft::net::serve_options reports;
          reports.on_accept_error = [](const std::error_code& error) {
            std::fprintf(stderr, "echo_server: accept: %s\n", error.message().c_str());
          };
          // A connection that breaks is its client's business: no on_connection_error.
          weft::net::server server(weft::net::listen_tcp(address), reports);
          const auto stop = signals.on_stop([&server] { server.close(); });
          std::printf("listening on %s\n", server.local_endpoint().to_string().c_str());
          std::fflush(stdout);

          server.serve(echo);
          server.drain(std::chrono::milliseconds(500));
        },
        options);
  });
}
