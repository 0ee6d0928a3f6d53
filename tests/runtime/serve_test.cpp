// The accept loop: it survives its connections, a want of descriptors, and ends when it is told to.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace testing_support;
using weft::net::endpoint;
using weft::net::serve;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

void echo(tcp_conn conn) {
  std::array<char, 1000> buffer;
  while (const std::size_t n = conn.read_some(buffer)) conn.write(std::span(buffer).first(n));
}

std::string ask(tcp_conn& conn, const std::string& text) {
  conn.write(text);
  std::string answer(text.size(), '\0');
  answer.resize(conn.read_full(answer));
  return answer;
}

TEST(Serve, GivesEachConnectionAFiberAndEndsWithTheListener) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    auto server = weft::spawn([&] { serve(listener, echo); });
    std::vector<tcp_conn> conns;
    for (int i = 0; i < 50; ++i) conns.push_back(weft::net::dial_tcp(listener.local_endpoint()));
    for (int i = 49; i >= 0; --i) EXPECT_EQ(ask(conns[i], std::to_string(i)), std::to_string(i));
    listener.close();
    server.join();
    EXPECT_EQ(ask(conns[0], "still here"), "still here");
  });
}

TEST(Serve, EndsWhenItsFiberIsStopped) {
  on_fibers([] {
    auto server = weft::spawn([] { serve(weft::net::listen_tcp("127.0.0.1:0"), echo); });
    weft::this_fiber::yield();
    server.request_stop();
    EXPECT_NO_THROW(server.join());
  });
}

TEST(Serve, AnErrorEndsItsOwnConnectionOnlyAndIsReported) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    weft::mutex mutex;
    std::vector<endpoint> peers;
    std::vector<std::string> texts;
    weft::wait_group reported;
    reported.add(2);
    weft::net::serve_options options;
    options.on_connection_error = [&](const endpoint& peer, const std::system_error& error) {
      const std::scoped_lock lock(mutex);
      peers.push_back(peer);
      texts.push_back(error.what());
      reported.done();
    };
    auto server = weft::spawn([&] { serve(listener, echo, options); });
    tcp_conn survivor = weft::net::dial_tcp(listener.local_endpoint());
    EXPECT_EQ(ask(survivor, "before"), "before");
    std::vector<endpoint> broken;
    for (int i = 0; i < 2; ++i) {
      tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
      EXPECT_EQ(ask(conn, "x"), "x");
      broken.push_back(conn.local_endpoint());
      conn.set_linger(std::chrono::seconds(0));
      conn.close();
    }
    reported.wait();
    EXPECT_EQ(ask(survivor, "after"), "after");
    std::sort(peers.begin(), peers.end());
    std::sort(broken.begin(), broken.end());
    EXPECT_EQ(peers, broken);
    for (const std::string& text : texts) {
      EXPECT_EQ(text.find("read tcp " + listener.local_endpoint().to_string() + "->"), 0u) << text;
    }
    listener.close();
    server.join();
  });
}

TEST(Serve, OtherExceptionsEndAsThoseOfGo) {
  std::atomic<int> unhandled{0};
  weft::runtime_options options;
  options.on_unhandled = [&](const weft::unhandled_exception& e) {
    EXPECT_THROW(std::rethrow_exception(e.error), std::logic_error);
    ++unhandled;
  };
  on_fibers(
      [] {
        tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
        auto server = weft::spawn([&] { serve(listener, [](tcp_conn) { throw std::logic_error("a mistake"); }); });
        tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
        std::array<char, 1> one;
        EXPECT_EQ(conn.read_some(one), 0u);
        listener.close();
        server.join();
      },
      options);
  EXPECT_EQ(unhandled, 1);
}

// no_descriptors leaves the process no free number while it exists, and lets one client connect, which will wait.
class no_descriptors {
 public:
  explicit no_descriptors(const endpoint& listener) {
    getrlimit(RLIMIT_NOFILE, &before_);
    late_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rlimit none = before_;
    const int lowest_free = dup(0);
    close(lowest_free);
    none.rlim_cur = static_cast<rlim_t>(lowest_free);
    setrlimit(RLIMIT_NOFILE, &none);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(listener.port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(late_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~no_descriptors() {
    end();
    close(late_);
  }
  no_descriptors(const no_descriptors&) = delete;
  no_descriptors& operator=(const no_descriptors&) = delete;

  void end() const { setrlimit(RLIMIT_NOFILE, &before_); }
  int late() const { return late_; }

 private:
  rlimit before_{};
  int late_ = -1;
};

TEST(Serve, WithoutDescriptorsItPausesAndServesTheRestLater) {  // covers F86
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    std::atomic<int> refusals{0};
    weft::net::serve_options options;
    options.on_accept_error = [&](const std::error_code& error) {
      EXPECT_EQ(error, std::errc::too_many_files_open);
      ++refusals;
    };
    auto server = weft::spawn([&] { serve(listener, echo, options); });
    tcp_conn served = weft::net::dial_tcp(listener.local_endpoint());
    EXPECT_EQ(ask(served, "before"), "before");

    const no_descriptors limit(listener.local_endpoint());
    for (int i = 0; refusals == 0 && i < 10'000; ++i) weft::this_fiber::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(refusals, 1);
    EXPECT_EQ(ask(served, "meanwhile"), "meanwhile");
    weft::this_fiber::sleep_for(std::chrono::milliseconds(100));
    EXPECT_EQ(refusals, 1) << "more than one report a second";

    limit.end();
    EXPECT_EQ(send(limit.late(), "late", 4, MSG_NOSIGNAL), 4);
    char answer[4] = {};
    EXPECT_EQ(weft::blocking([&] { return recv(limit.late(), answer, sizeof answer, MSG_WAITALL); }), 4);
    EXPECT_EQ(std::string(answer, 4), "late");
    served.close();
    listener.close();
    server.join();
  });
}

// The second report comes with the ninth refusal, at the beginning of a pause of a second.
TEST(Serve, ACloseOrAStopEndsAPauseAtOnce) {
  for (const bool by_close : {true, false}) {
    on_fibers([&] {
      tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
      std::atomic<int> reports{0};
      weft::net::serve_options options;
      options.on_accept_error = [&](const std::error_code&) { ++reports; };
      const no_descriptors limit(listener.local_endpoint());
      auto server = weft::spawn([&] { serve(listener, echo, options); });
      for (int i = 0; reports < 2 && i < 10'000; ++i) weft::this_fiber::sleep_for(std::chrono::milliseconds(1));
      EXPECT_EQ(reports, 2);
      const auto begin = std::chrono::steady_clock::now();
      if (by_close) {
        listener.close();
      } else {
        server.request_stop();
      }
      server.join();
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(700));
    });
  }
}

TEST(Serve, AtItsLimitItLeavesConnectionsQueued) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    std::atomic<int> now{0};
    std::atomic<int> most{0};
    weft::net::serve_options options;
    options.max_connections = 3;
    auto server = weft::spawn([&] {
      serve(
          listener,
          [&](tcp_conn conn) {
            const int n = ++now;
            for (int m = most; m < n && !most.compare_exchange_weak(m, n);) {
            }
            echo(std::move(conn));
            --now;
          },
          options);
    });
    std::vector<tcp_conn> conns;
    for (int i = 0; i < 20; ++i) {
      conns.push_back(weft::net::dial_tcp(listener.local_endpoint()));
      conns.back().write("x");
    }
    std::array<char, 1> one;
    for (int i = 0; i < 3; ++i) EXPECT_EQ(conns[i].read_full(one), 1u);
    for (int i = 3; i < 20; ++i) {
      conns[i].set_read_deadline(std::chrono::steady_clock::time_point{});  // nothing has come, or may have yet
      conns[i - 3].close();
      conns[i].clear_deadline();
      EXPECT_EQ(conns[i].read_full(one), 1u);
    }
    EXPECT_EQ(most, 3);
    listener.close();  // with the place of three taken
    server.join();
    conns.clear();
    EXPECT_TRUE(eventually([&] {  // the last handlers are through with our counters
      weft::this_fiber::yield();
      return now == 0;
    }));
  });
}

TEST(Serve, AtItsLimitItEndsWithACloseOrAStop) {
  for (const bool by_close : {true, false}) {
    on_fibers([&] {
      tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
      weft::net::serve_options options;
      options.max_connections = 1;
      auto server = weft::spawn([&] { serve(listener, echo, options); });
      tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
      EXPECT_EQ(ask(conn, "in"), "in");
      tcp_conn queued = weft::net::dial_tcp(listener.local_endpoint());
      if (by_close) {
        listener.close();
      } else {
        server.request_stop();
      }
      server.join();
      EXPECT_EQ(ask(conn, "still"), "still");
    });
  }
}

TEST(Serve, OnAThreadWithoutARuntimeItSaysSo) {
  weft::runtime rt;
  std::optional<tcp_listener> listener;
  tcp_conn client;
  {
    const auto inside = rt.enter();
    listener.emplace(weft::net::listen_tcp("127.0.0.1:0"));
    client = weft::net::dial_tcp(listener->local_endpoint());
  }
  EXPECT_EQ(thrown_by([&] { serve(*listener, echo); }).first, weft::errc::no_runtime);
}

TEST(Serve, SharesOneHandlerAndKeepsItAlive) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    auto count = std::make_shared<std::atomic<int>>(0);
    auto server = weft::spawn([&] {
      serve(listener, [count](tcp_conn conn) {
        ++*count;
        echo(std::move(conn));
      });
    });
    tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
    EXPECT_EQ(ask(conn, "a"), "a");
    listener.close();
    server.join();
    EXPECT_EQ(count.use_count(), 2) << "the handler of a connection in being is gone";
    EXPECT_EQ(ask(conn, "b"), "b");
    conn.close();
    EXPECT_TRUE(eventually([&] {
      weft::this_fiber::yield();
      return count.use_count() == 1;
    }));
    EXPECT_EQ(*count, 1);
  });
}

}  // namespace
