// A UDP forwarder: what a client sends goes to the target, and the answers go back to that client. Each client has a
// socket of its own to the target, and a fiber that waits for answers on it until the client has been silent for a
// while.
#include "support/flags.hpp"
#include "support/on_stop.hpp"

#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <cstddef>
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
  // The target is looked up once, and what is wrong with it said now.
  forwarder(const std::string& listen, const std::string& target, std::chrono::seconds idle, std::size_t most)
      : front_(weft::net::listen_udp(listen)),
        target_(weft::net::dial_udp(target).remote_endpoint()),
        idle_(idle),
        most_(most) {}

  udp_socket& front() { return front_; }

  // run forwards until the front socket is closed.
  void run() {
    std::array<char, 65536> buffer;
    std::error_code error;
    for (;;) {
      const weft::net::received got = front_.receive_from(buffer, error);
      if (weft::is_closed(error)) return;
      if (error) throw std::system_error(error, "receive");
      try {
        std::error_code lost;  // as any datagram may be
        if (const session s = session_of(got.from)) s->send({buffer.data(), got.size}, lost);
      } catch (const std::system_error& e) {
        std::fprintf(stderr, "udp_forwarder: client %s: %s\n", got.from.to_string().c_str(), e.what());
      }
    }
  }

 private:
  using session = std::shared_ptr<udp_socket>;

  // Null if there are as many clients as there may be.
  session session_of(const endpoint& client) {
    const std::lock_guard lock(mutex_);
    const auto known = sessions_.find(client);
    if (known == sessions_.end() && sessions_.size() == most_) return nullptr;
    session s = known != sessions_.end() ? known->second : begin_locked(client);
    // The client is there: its answers are waited for a while longer. Next to no cost, for each datagram.
    s->set_read_deadline(idle_);
    return s;
  }

  session begin_locked(const endpoint& client) {
    const auto s = std::make_shared<udp_socket>(weft::net::dial_udp(target_));
    sessions_.emplace(client, s);
    try {
      weft::go([self = shared_from_this(), client, s] { self->pass_back(client, *s); });
    } catch (...) {
      sessions_.erase(client);
      throw;
    }
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
  const endpoint target_;
  const std::chrono::seconds idle_;
  const std::size_t most_;
  weft::mutex mutex_;
  std::unordered_map<endpoint, session> sessions_;  // guarded by mutex_
};

}  // namespace

int main(int argc, char** argv) {
  std::string address = "127.0.0.1:7002";
  std::string target = "127.0.0.1:53";
  unsigned idle = 30;
  unsigned most = 10'000;
  weft::runtime_options options;
  support::flags("udp_forwarder", "forwards datagrams to another address, and the answers back.")
      .text("--listen", "HOST:PORT", "where to listen; port 0 lets the system choose", address)
      .text("--to", "HOST:PORT", "where to forward to", target)
      .number("--idle", "SECONDS", "silence after which a client is forgotten", idle, 1u, 86'400u)
      .number("--clients", "N", "how many clients are served at a time; datagrams of others are dropped", most, 1u,
              1'000'000u)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  return support::report_errors("udp_forwarder", [&] {
    return weft::run(
        [&] {
          const auto shared = std::make_shared<forwarder>(address, target, std::chrono::seconds(idle), most);
          const support::on_stop stop([&] {
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
