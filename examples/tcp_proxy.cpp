// A TCP proxy: two fibers a connection, one for each direction. The end of one direction is passed on and leaves the
// other alone (half-close).
#include "support/flags.hpp"
#include "support/on_stop.hpp"

#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>

namespace {

using weft::net::shutdown_side;
using weft::net::tcp_conn;

// Copies until one side ends or breaks. What breaks on one side breaks on the other: both are reset, which ends the
// fiber that copies the other way, too.
void copy(tcp_conn& from, tcp_conn& to) {
  std::error_code error;
  weft::io::copy(to, from, error);
  std::error_code ignored;
  if (!error) {
    to.shutdown(shutdown_side::write, ignored);
    return;
  }
  for (tcp_conn* conn : {&from, &to}) {
    conn->set_linger(std::chrono::seconds(0), ignored);
    conn->close(ignored);
  }
}

void relay(tcp_conn client, const std::string& target) {
  tcp_conn server = weft::net::dial_tcp(target);
  auto back = weft::spawn([&] { copy(server, client); });
  copy(client, server);
  back.join();
}

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:7001";
  std::string target = "127.0.0.1:7000";
  weft::runtime_options options;
  support::flags("tcp_proxy", "relays every connection to another address.")
      .text("--listen", "HOST:PORT", "where to listen; port 0 lets the system choose", address)
      .text("--connect", "HOST:PORT", "where to relay to", target)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  return support::report_errors("tcp_proxy", [&] {
    return weft::run(
        [&] {
          weft::net::tcp_listener listener = weft::net::listen_tcp(address);
          const support::on_stop stop([&listener] {
            std::error_code ignored;
            listener.close(ignored);
          });
          std::printf("listening on %s\n", listener.local_endpoint().to_string().c_str());
          std::fflush(stdout);

          weft::net::serve_options reports;
          reports.on_accept_error = [](const std::error_code& error) {
            std::fprintf(stderr, "tcp_proxy: accept: %s\n", error.message().c_str());
          };
          reports.on_connection_error = [](const weft::net::endpoint& peer, const std::system_error& error) {
            std::fprintf(stderr, "tcp_proxy: client %s: %s\n", peer.to_string().c_str(), error.what());
          };
          weft::net::serve(
              listener, [&target](tcp_conn client) { relay(std::move(client), target); }, reports);
        },
        options);
  });
}
