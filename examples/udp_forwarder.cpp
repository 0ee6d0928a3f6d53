// A UDP forwarder: what a client sends goes to the target, and the answers go back to that client. Each client has a
// socket of its own to the target, and a fiber that waits for answers on it until the client has been silent for a while.
#include "support/flags.hpp"
#include "support/stop_signals.hpp"

#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <unordered_map>

namespace {

using weft::net::endpoint;
using weft::net::udp_socket;

// Owned by its fibers too: those of sessions may outlive main's.
class forwarder : public std::enable_shared_from_this<forwarder> {
 public:
  forwarder(const std::string& listen, std::string target, std::chrono::seconds idle)
      : front_(weft::net::listen_udp(listen)), target_(std::move(target)), idle_(idle) {}

  udp_socket& front() { return front_; }

  // run forwards until the front socket is closed.
  void run() {
    std::array<char, 65536> buffer;
    std::error_code error;
    for (;;) {
      const weft::net::received got = front_.receive_from(buffer, error);
      if (error) return;
      try {
        std::error_code lost;  // as any datagram may be
        session_of(got.from)->send({buffer.data(), got.size}, lost);
      } catch (const std::system_error& e) {
        std::fprintf(stderr, "udp_forwarder: client %s: %s\n", got.from.to_string().c_str(), e.what());
      }
    }
  }

 private:
  using session = std::shared_ptr<udp_socket>;

  session session_of(const endpoint& client) {
    const std::lock_guard lock(mutex_);
    session& s = sessions_[client];
    if (s == nullptr) {
      try {
        s = std::make_shared<udp_socket>(weft::net::dial_udp(target_));
        weft::go([self = shared_from_this(), client, answers = s] { self->pass_back(client, *answers); });
      } catch (...) {
        sessions_.erase(client);
        throw;
      }
    }
    // The client is there: its answers are waited for a while longer. Next to no cost, for each datagram.
    s->set_read_deadline(idle_);
    return s;
  }

  void pass_back(const endpoint& client, udp_socket& answers) {
    std::array<char, 65536> buffer;
    std::error_code error;
    for (;;) {
      const std::size_t n = answers.receive(buffer, error);
      if (error == std::errc::connection_refused) continue;  // nobody at the target now; maybe later
      if (error) break;
      front_.send_to({buffer.data(), n}, client, error);
    }
    const std::lock_guard lock(mutex_);
    sessions_.erase(client);
  }

  udp_socket front_;
  const std::string target_;
  const std::chrono::seconds idle_;
  weft::mutex mutex_;
  std::unordered_map<endpoint, session> sessions_;  // guarded by mutex_
};

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:7002";
  std::string target = "127.0.0.1:53";
  unsigned idle = 30;
  weft::runtime_options options;
  support::flags("udp_forwarder", "forwards datagrams to another address, and the answers back.")
      .text("--listen", "HOST:PORT", "where to listen; port 0 lets the system choose", address)
      .text("--to", "HOST:PORT", "where to forward to", target)
      .number("--idle", "SECONDS", "silence after which a client is forgotten", idle, 1u, 86400u)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  support::stop_signals signals;
  return support::report_errors("udp_forwarder", [&] {
    return weft::run(
        [&] {
          const auto shared = std::make_shared<forwarder>(address, target, std::chrono::seconds(idle));
          const auto stop = signals.on_stop([&] {
            std::error_code ignored;
            shared->front().close(ignored);
          });
          std::printf("listening on %s\n", shared->front().local_endpoint().to_string().c_str());
          std::fflush(stdout);
          shared->run();
        },
        options);
  });
}
