// Fault runs: a server under conditions that it did not choose, with figures of what became of everybody.
#include "runtime/tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::eventually;
using testing_support::on_fibers;
using testing_support::scaled;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

// echo_until_end gives back what comes, whatever happens to the peer. Returns the bytes it gave back.
std::size_t echo_until_end(tcp_conn& conn, std::error_code& ec) {
  std::array<std::byte, 4096> buffer;
  std::size_t total = 0;
  while (const std::size_t n = conn.read_some(buffer, ec)) {
    total += conn.write(std::span(buffer).first(n), ec);
    if (ec) break;
  }
  return total;
}

// content is what message i consists of: its own bytes, so that a mix-up shows.
std::string content(int i, std::size_t size) {
  std::string s = "message " + std::to_string(i) + ":";
  while (s.size() < size) s += static_cast<char>('a' + (static_cast<std::size_t>(i) + s.size()) % 26);
  s.resize(size);
  return s;
}

bool echoed(tcp_conn& conn, const std::string& sent, std::error_code& ec) {
  std::string got(sent.size(), '\0');
  conn.write(sent, ec);
  if (ec) return false;
  return conn.read_full(got, ec) == sent.size() && got == sent;
}

// other_process is the echo server with a limit of descriptors, as `ulimit -n` sets it.
class limited_server {
 public:
  limited_server(const std::string& program, int descriptors) {
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const rlimit limit{static_cast<rlim_t>(descriptors), static_cast<rlim_t>(descriptors)};
      ::setrlimit(RLIMIT_NOFILE, &limit);
      ::dup2(out[1], 1);
      ::execl(program.c_str(), program.c_str(), "--listen", "127.0.0.1:0", "--workers", "2", nullptr);
      ::_exit(127);
    }
    ::close(out[1]);
    std::string line;
    char c;
    while (::read(out[0], &c, 1) == 1 && c != '\n') line += c;
    ::close(out[0]);
    constexpr std::string_view before = "listening on ";
    if (line.starts_with(before)) address_ = line.substr(before.size());
  }
  ~limited_server() {
    ::kill(pid_, SIGTERM);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  const std::string& address() const { return address_; }
  std::size_t descriptors() const {
    std::size_t n = 0;
    DIR* dir = ::opendir(("/proc/" + std::to_string(pid_) + "/fd").c_str());
    while (dir != nullptr && ::readdir(dir) != nullptr) ++n;
    if (dir != nullptr) ::closedir(dir);
    return n - 2;
  }
  double cpu_seconds() const {
    std::FILE* f = std::fopen(("/proc/" + std::to_string(pid_) + "/stat").c_str(), "r");
    unsigned long user = 0, system = 0;
    if (f != nullptr) {
      if (std::fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) user = 0;
      std::fclose(f);
    }
    return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

 private:
  pid_t pid_ = -1;
  std::string address_;
};

// covers F86
TEST(Faults, SixtyFourDescriptorsServeFiveHundredClients) {
  const char* const examples = std::getenv("WEFT_EXAMPLES");
  if (examples == nullptr || ::access((std::string(examples) + "/echo_server").c_str(), X_OK) != 0) {
    GTEST_SKIP() << "WEFT_EXAMPLES names no directory with echo_server";
  }
  limited_server server(std::string(examples) + "/echo_server", 64);
  ASSERT_NE(server.address(), "");
  const std::size_t before = server.descriptors();
  const int clients = 500;
  std::atomic<int> served{0};
  std::atomic<int> lost{0};
  std::atomic<int> waiting{0};
  on_fibers([&] {
    // Those that are served hold on until more than the server can have are connected, then let go.
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < clients; ++i) {
      all.push_back(weft::spawn([&, i] {
        std::error_code ec;
        tcp_conn conn = weft::net::dial_tcp(server.address(), ec);
        ++waiting;
        if (!ec && echoed(conn, content(i, 1000), ec)) {
          while (waiting.load() < 200) weft::this_fiber::sleep_for(1ms);
          ++served;
        } else {
          ++lost;
        }
      }));
    }
    for (auto& f : all) f.join();
  });
  EXPECT_EQ(served, clients);
  EXPECT_EQ(lost, 0);
  EXPECT_TRUE(eventually([&] { return server.descriptors() == before; })) << server.descriptors();
  std::printf("descriptors 64, clients %d: served %d, lost %d, server CPU %.2f s, descriptors left %zu of %zu\n", clients,
              served.load(), lost.load(), server.cpu_seconds(), server.descriptors(), before);
}

// covers E70
TEST(Faults, TwentyThousandResetsCostTheirOwnFibersOnly) {
  const int resets = scaled(20'000);
  std::atomic<int> accepted{0}, ended{0}, by_reset{0};
  int good = 0;
  on_fibers([&] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    weft::fiber<void> server = weft::spawn([&] {
      weft::net::serve(listener, [&](tcp_conn conn) {
        ++accepted;
        std::error_code ec;
        echo_until_end(conn, ec);
        if (ec == std::errc::connection_reset || ec == std::errc::broken_pipe) ++by_reset;
        ++ended;
      });
    });
    std::atomic<bool> over{false};
    // One that behaves, all the while.
    weft::fiber<int> regular = weft::spawn([&] {
      tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
      int n = 0;
      std::error_code ec;
      while (!over && echoed(conn, content(n, 300), ec)) ++n;
      EXPECT_FALSE(ec) << ec.message();
      return n;
    });
    std::vector<weft::fiber<void>> clients;
    for (int c = 0; c < 20; ++c) {
      clients.push_back(weft::spawn([&, c] {
        for (int i = c; i < resets; i += 20) {
          tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
          if (i % 3 != 0) conn.write(content(i, static_cast<std::size_t>(i % 3000)));
          conn.set_linger(0s);
          conn.close();
        }
      }));
    }
    for (auto& f : clients) f.join();
    while (ended.load() < accepted.load() - 1) weft::this_fiber::yield();
    over = true;
    good = regular.join();
    listener.close();
    server.join();
    while (ended.load() < accepted.load()) weft::this_fiber::yield();
  });
  EXPECT_GT(good, 0);
  std::printf("resets %d: accepted %d, ended %d (%d by the reset), echoes of the one that behaves %d\n", resets,
              accepted.load(), ended.load(), by_reset.load(), good);
}

// storm sends SIGPROF, with a handler that restarts nothing, to every thread of the process a thousand times a second.
class storm {
 public:
  storm() {
    struct sigaction action {};
    action.sa_handler = [](int) { hits_.fetch_add(1, std::memory_order_relaxed); };
    ::sigaction(SIGPROF, &action, &before_);
    thread_ = std::thread([this] {
      const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
      while (!stop_) {
        ::rewinddir(threads_);
        while (const dirent* entry = ::readdir(threads_)) {
          const int thread = std::atoi(entry->d_name);
          if (thread > 0 && thread != self) ::syscall(SYS_tgkill, ::getpid(), thread, SIGPROF);
        }
        std::this_thread::sleep_for(1ms);
      }
    });
  }
  ~storm() {
    stop_ = true;
    thread_.join();
    ::closedir(threads_);
    ::sigaction(SIGPROF, &before_, nullptr);
  }
  static long hits() { return hits_.load(); }

 private:
  static inline std::atomic<long> hits_{0};
  DIR* const threads_ = ::opendir("/proc/self/task");  // kept: the runs count descriptors
  std::atomic<bool> stop_{false};
  std::thread thread_;
  struct sigaction before_ {};
};

// covers L162
TEST(Faults, InterruptionsAThousandTimesASecondBreakNoCall) {
  const int rounds = scaled(3000);
  std::atomic<int> right{0};
  std::atomic<int> handlers{0};
  {
    const storm signals;
    on_fibers([&] {
      tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
      weft::fiber<void> server = weft::spawn([&] {
        weft::net::serve(listener, [&](tcp_conn conn) {
          std::error_code ec;
          echo_until_end(conn, ec);
          EXPECT_FALSE(ec) << ec.message();
          ++handlers;
        });
      });
      std::vector<weft::fiber<void>> clients;
      for (int c = 0; c < 8; ++c) {
        clients.push_back(weft::spawn([&, c] {
          for (int i = 0; i < rounds / 8; ++i) {
            std::error_code ec;
            tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint(), ec);
            EXPECT_FALSE(ec) << ec.message();
            conn.set_deadline(1h);
            if (echoed(conn, content(c * rounds + i, 20'000), ec)) ++right;
            EXPECT_FALSE(ec) << ec.message();
            weft::this_fiber::sleep_for(100us);
          }
        }));
      }
      for (auto& f : clients) f.join();
      while (handlers.load() < rounds / 8 * 8) weft::this_fiber::yield();
      listener.close();
      server.join();
    });
  }
  EXPECT_EQ(right, rounds / 8 * 8);
  std::printf("interruptions %ld: %d of %d echoes of 20 000 bytes right\n", storm::hits(), right.load(), rounds / 8 * 8);
}

// covers E73
TEST(Faults, TheSmallestSendBufferMovesEveryByte) {
  std::size_t moved = 0;
  on_fibers([&] {
    testing_support::tcp_pair pair = testing_support::connected_pair();
    pair.client.set_send_buffer(1);
    const std::string sent = content(1, static_cast<std::size_t>(scaled(4 << 20)));
    weft::fiber<void> writer = weft::spawn([&] {
      pair.client.write(sent);
      pair.client.shutdown(weft::net::shutdown_side::write);
    });
    std::string got;
    std::array<char, 3000> buffer;
    while (const std::size_t n = pair.server.read_some(buffer)) got.append(buffer.data(), n);
    writer.join();
    EXPECT_TRUE(got == sent);
    moved = got.size();
  });
  std::printf("SO_SNDBUF at its least: %zu bytes, all right\n", moved);
}

// vanish makes the socket go without a word to its peer.
bool vanish(tcp_conn& conn) {
  std::error_code ec;
  conn.set_option(IPPROTO_TCP, TCP_REPAIR, 1, ec);
  if (ec) return false;
  conn.close();
  return true;
}

// covers B22
TEST(Faults, PeersThatVanishAreGivenUpByTheirDeadline) {
  const int peers = scaled(500);
  std::atomic<int> timed_out{0}, otherwise{0};
  bool permitted = true;
  on_fibers([&] {
    std::vector<weft::fiber<void>> servers;
    for (int i = 0; i < peers && permitted; ++i) {
      testing_support::tcp_pair pair = testing_support::connected_pair();
      pair.server.set_read_deadline(50ms);
      servers.push_back(weft::spawn([&, conn = std::move(pair.server)]() mutable {
        std::error_code ec;
        std::array<char, 10> buffer;
        conn.read_some(buffer, ec);
        weft::is_timeout(ec) ? ++timed_out : ++otherwise;
      }));
      permitted = vanish(pair.client);
    }
    for (auto& f : servers) f.join();
  });
  if (!permitted) GTEST_SKIP() << "TCP_REPAIR needs CAP_NET_ADMIN";
  EXPECT_EQ(timed_out, peers);
  EXPECT_EQ(otherwise, 0);
  std::printf("vanished peers %d: %d given up by their deadline, %d otherwise\n", peers, timed_out.load(), otherwise.load());
}

}  // namespace
