// Listening with options, and many acceptors at once.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace testing_support;
using namespace std::chrono_literals;
using weft::net::dial_tcp;
using weft::net::endpoint;
using weft::net::listen_options;
using weft::net::listen_tcp;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

bool has_ipv6() {
  std::error_code ec;
  static_cast<void>(listen_tcp("[::1]:0", ec));
  return !ec;
}

std::string port_of(const tcp_listener& listener) { return std::to_string(listener.local_endpoint().port()); }

// While connections are queued, no acceptor waits, for a connection or for another acceptor: each of the ten is given a
// worker once and takes all of its share in one go.
TEST(TcpAcceptors, DoNotWaitForOneAnotherWhileConnectionsAreQueued) {  // covers F84
  weft::runtime rt;
  constexpr int acceptors = 10;
  constexpr int each = 20;
  rt.spawn([&] {
      tcp_listener listener = listen_tcp("127.0.0.1:0");
      std::vector<tcp_conn> clients;
      for (int i = 0; i < acceptors * each; ++i) clients.push_back(dial_tcp(listener.local_endpoint()));
      const std::uint64_t before = rt.stats().dispatches;
      std::vector<weft::fiber<>> fibers;
      for (int a = 0; a < acceptors; ++a) {
        fibers.push_back(weft::spawn([&] {
          for (int i = 0; i < each; ++i) EXPECT_TRUE(listener.accept().is_open());
        }));
      }
      for (auto& fiber : fibers) fiber.join();
      // One for each acceptor, and one for each join that had to wait.
      EXPECT_LE(rt.stats().dispatches - before, 2u * acceptors + 5);
    }).join();
}

// One acceptor stands in line, another comes when a connection does: it takes that without queueing behind the first.
TEST(TcpAcceptors, WhoeverComesFirstToAConnectionTakesIt) {  // covers F84
  weft::runtime rt(with_workers(1));
  rt.spawn([&] {
      tcp_listener listener = listen_tcp("127.0.0.1:0");
      auto first = weft::spawn([&] { return listener.accept().is_open(); });
      for (int i = 0; i < 3; ++i) weft::this_fiber::yield();
      const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in where{};
      where.sin_family = AF_INET;
      where.sin_port = htons(listener.local_endpoint().port());
      where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      EXPECT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
      const std::uint64_t before = rt.stats().dispatches;
      EXPECT_TRUE(listener.accept().is_open());
      EXPECT_EQ(rt.stats().dispatches, before) << "it waited";
      close(client);
      const tcp_conn next = dial_tcp(listener.local_endpoint());
      EXPECT_TRUE(first.join());
    }).join();
}

// An acceptor that turns to its connection leaves the queue to the others.
TEST(TcpAcceptors, EachGetsItsShareWhenTheyHaveToWait) {  // covers F84
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    constexpr int acceptors = 10;
    std::array<std::atomic<int>, acceptors> served{};
    std::atomic<int> waiting{0};
    std::vector<weft::fiber<std::error_code>> fibers;
    for (int a = 0; a < acceptors; ++a) {
      fibers.push_back(weft::spawn([&, a] {
        std::error_code ec;
        for (;;) {
          ++waiting;
          tcp_conn conn = listener.accept(ec);
          --waiting;
          if (ec) return ec;
          ++served[a];
          std::array<char, 1> one;
          EXPECT_EQ(conn.read_full(one), 1u);
          conn.write(one);
        }
      }));
    }
    for (int i = 0; i < 20 * acceptors; ++i) {
      while (waiting != acceptors) weft::this_fiber::yield();
      tcp_conn conn = dial_tcp(listener.local_endpoint());
      while (waiting == acceptors) weft::this_fiber::yield();
      conn.write("x");
      std::array<char, 1> one;
      EXPECT_EQ(conn.read_full(one), 1u);
    }
    listener.close();
    for (auto& fiber : fibers) EXPECT_EQ(fiber.join(), weft::errc::closed);
    for (const auto& n : served) EXPECT_GT(n, 0);
  });
}

TEST(TcpAcceptors, OnFibersAndThreadsAllEndWithTheListener) {  // covers F84
  weft::runtime rt;
  const auto inside = rt.enter();
  tcp_listener listener = listen_tcp("127.0.0.1:0");
  std::atomic<int> accepted{0};
  const auto accept_all = [&] {
    std::error_code ec;
    for (;;) {
      const tcp_conn conn = listener.accept(ec);
      if (ec) break;
      ++accepted;
    }
    EXPECT_EQ(ec, weft::errc::closed);
  };
  std::vector<std::thread> threads;
  std::vector<weft::fiber<>> fibers;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back(accept_all);  // an open listener works on any thread
    fibers.push_back(rt.spawn(accept_all));
  }
  std::vector<tcp_conn> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(dial_tcp(listener.local_endpoint()));
  EXPECT_TRUE(eventually([&] { return accepted == 100; })) << accepted;
  listener.close();
  for (auto& thread : threads) thread.join();
  for (auto& fiber : fibers) fiber.join();
}

TEST(TcpListen, AgainAtOnceAfterAClose) {  // covers F87
  on_fibers([] {
    tcp_listener first = listen_tcp("127.0.0.1:0");
    const endpoint where = first.local_endpoint();
    tcp_conn client = dial_tcp(where);
    first.accept().close();  // leaves the port in TIME_WAIT
    first.close();
    for (int i = 0; i < scaled(50); ++i) {
      tcp_listener again = listen_tcp(where);
      again.close();
      std::error_code ec;
      static_cast<void>(again.accept(ec));
      EXPECT_EQ(ec, weft::errc::closed);
      EXPECT_FALSE(dial_tcp(where, ec).is_open());
      EXPECT_EQ(ec, std::errc::connection_refused);
    }
  });
}

TEST(TcpListen, ThePortOfEndedConnectionsIsKeptWithoutReuse) {
  on_fibers([] {
    tcp_listener first = listen_tcp("127.0.0.1:0");
    const endpoint where = first.local_endpoint();
    tcp_conn client = dial_tcp(where);
    {
      tcp_conn server = first.accept();
      server.shutdown(weft::net::shutdown_side::write);
      std::array<char, 1> one;
      EXPECT_EQ(client.read_some(one), 0u);
      client.close();
      EXPECT_EQ(server.read_some(one), 0u);
    }
    first.close();
    listen_options options;
    options.reuse_address = false;
    std::error_code ec;
    EXPECT_FALSE(listen_tcp(where, options, ec).is_open());
    EXPECT_EQ(ec, std::errc::address_in_use);
    EXPECT_TRUE(listen_tcp(where).is_open());
  });
}

// Every kind of listener with every kind of client.
TEST(TcpListen, FamiliesReachOneAnotherOrAreRefused) {
  on_fibers([] {
    if (!has_ipv6()) GTEST_SKIP() << "no IPv6 loopback";
    struct row {
      const char* listen;
      bool v6_only;
      bool four;
      bool six;
    };
    // The same port of the other family may be somebody else's: then another one is taken.
    const auto nobody_at = [](const std::string& where) {
      std::error_code ec;
      static_cast<void>(dial_tcp(where, ec));
      return ec == std::errc::connection_refused;
    };
    for (const row& r :
         {row{"127.0.0.1:0", false, true, false}, row{"[::1]:0", false, false, true}, row{":0", false, true, true},
          row{"[::]:0", false, true, true}, row{"[::]:0", true, false, true}, row{":0", true, false, true},
          row{"0.0.0.0:0", false, true, false}, row{"[::ffff:127.0.0.1]:0", false, true, false}}) {
      listen_options options;
      options.v6_only = r.v6_only;
      tcp_listener listener = listen_tcp(r.listen, options);
      for (int i = 0; i < 5; ++i) {
        if ((r.four || nobody_at("127.0.0.1:" + port_of(listener))) &&
            (r.six || nobody_at("[::1]:" + port_of(listener)))) {
          break;
        }
        listener = listen_tcp(r.listen, options);
      }
      for (const bool six : {false, true}) {
        const std::string where = (six ? "[::1]:" : "127.0.0.1:") + port_of(listener);
        std::error_code ec;
        tcp_conn client = dial_tcp(where, ec);
        EXPECT_EQ(!ec, six ? r.six : r.four) << r.listen << " from " << where << ": " << ec.message();
        if (ec || !(six ? r.six : r.four)) continue;
        tcp_conn server = listener.accept();
        EXPECT_EQ(server.remote_endpoint(), client.local_endpoint());
        EXPECT_EQ(server.local_endpoint(), client.remote_endpoint());
        client.write("hello");
        std::array<char, 5> buffer;
        EXPECT_EQ(server.read_full(buffer), 5u);
      }
    }
  });
}

TEST(TcpListen, ConnectionsInheritTheOptions) {
  on_fibers([] {
    listen_options options;
    options.no_delay = false;
    options.keep_alive.idle = 9s;
    options.keep_alive.interval = 4s;
    options.keep_alive.count = 3;
    tcp_listener listener = listen_tcp("127.0.0.1:0", options);
    tcp_conn client = dial_tcp(listener.local_endpoint());
    const tcp_conn server = listener.accept();
    EXPECT_EQ(server.get_option(IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(server.get_option(SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(server.get_option(IPPROTO_TCP, TCP_KEEPIDLE), 9);
    EXPECT_EQ(server.get_option(IPPROTO_TCP, TCP_KEEPINTVL), 4);
    EXPECT_EQ(server.get_option(IPPROTO_TCP, TCP_KEEPCNT), 3);
    options.keep_alive.enabled = false;
    tcp_listener silent = listen_tcp("127.0.0.1:0", options);
    client = dial_tcp(silent.local_endpoint());
    EXPECT_EQ(silent.accept().get_option(SOL_SOCKET, SO_KEEPALIVE), 0);
  });
}

TEST(TcpListen, ControlSeesTheSocketBeforeItIsBound) {
  on_fibers([] {
    listen_options options;
    options.control = [](int fd, const endpoint& where) -> std::error_code {
      EXPECT_EQ(where.to_string(), "127.0.0.1:0");
      sockaddr_in bound{};
      socklen_t size = sizeof bound;
      EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size), 0);
      EXPECT_EQ(bound.sin_port, 0);
      const int mark = 12;
      EXPECT_EQ(setsockopt(fd, IPPROTO_IP, IP_TOS, &mark, sizeof mark), 0);
      return {};
    };
    const tcp_listener listener = listen_tcp("127.0.0.1:0", options);
    EXPECT_EQ(listener.get_option(IPPROTO_IP, IP_TOS), 12);
    options.control = [](int, const endpoint&) { return std::make_error_code(std::errc::operation_not_permitted); };
    const auto [code, what] = thrown_by([&] { static_cast<void>(listen_tcp("127.0.0.1:0", options)); });
    EXPECT_EQ(code, std::errc::operation_not_permitted);
    EXPECT_EQ(what, "listen tcp 127.0.0.1:0: operation not permitted");
    options.control = [](int, const endpoint&) -> std::error_code { throw std::runtime_error("mine"); };
    EXPECT_THROW(static_cast<void>(listen_tcp("127.0.0.1:0", options)), std::runtime_error);
  });
}

TEST(TcpListen, DeferredConnectionsComeWithTheirFirstBytes) {
  on_fibers([] {
    listen_options options;
    options.defer_accept = 30s;
    tcp_listener listener = listen_tcp("127.0.0.1:0", options);
    EXPECT_GE(listener.get_option(IPPROTO_TCP, TCP_DEFER_ACCEPT), 30);
    tcp_conn silent = dial_tcp(listener.local_endpoint());
    tcp_conn talks = dial_tcp(listener.local_endpoint());
    talks.write("first");
    EXPECT_EQ(listener.accept().remote_endpoint(), talks.local_endpoint());
    silent.write("second");
    EXPECT_EQ(listener.accept().remote_endpoint(), silent.local_endpoint());
  });
}

TEST(TcpListen, FastOpenHasAQueue) {
  on_fibers([] {
    listen_options options;
    options.fast_open = 23;
    EXPECT_EQ(listen_tcp("127.0.0.1:0", options).get_option(IPPROTO_TCP, TCP_FASTOPEN), 23);
    EXPECT_EQ(listen_tcp("127.0.0.1:0").get_option(IPPROTO_TCP, TCP_FASTOPEN), 0);
  });
}

}  // namespace
