// Listening, accepting and dialling: what arrives, what is refused, and how that is said.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace testing_support;
using weft::net::endpoint;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

// few_descriptors leaves the process no free number while it exists.
class few_descriptors {
 public:
  few_descriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    const int lowest_free = dup(0);
    close(lowest_free);
    few.rlim_cur = static_cast<rlim_t>(lowest_free);
    setrlimit(RLIMIT_NOFILE, &few);
  }
  ~few_descriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(TcpListener, TenAcceptorsServeAHundredDials) {  // covers F84
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    std::atomic<int> accepted{0};
    std::vector<weft::fiber<std::error_code>> acceptors;
    for (int i = 0; i < 10; ++i) {
      acceptors.push_back(weft::spawn([&] {
        std::error_code ec;
        for (;;) {
          tcp_conn conn = listener.accept(ec);
          if (ec) return ec;
          ++accepted;
          conn.write("served");
        }
      }));
    }
    std::vector<weft::fiber<>> dials;
    for (int i = 0; i < 100; ++i) {
      dials.push_back(weft::spawn([&] {
        tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
        std::array<char, 16> buffer;
        EXPECT_EQ(conn.read_full(buffer), 6u);
      }));
    }
    for (auto& dial : dials) dial.join();
    EXPECT_EQ(accepted, 100);
    listener.close();
    for (auto& acceptor : acceptors) EXPECT_EQ(acceptor.join(), weft::errc::closed);
  });
}

TEST(TcpListener, AcceptAfterCloseIsClosed) {  // covers F87
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    const endpoint where = listener.local_endpoint();
    listener.close();
    EXPECT_FALSE(listener.is_open());
    EXPECT_EQ(listener.native_handle(), -1);
    const auto [code, what] = thrown_by([&] { static_cast<void>(listener.accept()); });
    EXPECT_EQ(code, weft::errc::closed);
    EXPECT_EQ(what, "accept tcp " + where.to_string() + ": " + code.message());
    EXPECT_EQ(thrown_by([&] { listener.close(); }).first, weft::errc::closed);
    EXPECT_EQ(thrown_by([&] { static_cast<void>(tcp_listener().accept()); }).first, weft::errc::closed);
    tcp_listener again = weft::net::listen_tcp(where);  // the number and the port are free
    EXPECT_EQ(again.local_endpoint(), where);
  });
}

TEST(TcpListener, ConnectionsHaveTheDefaults) {  // covers F91
  on_fibers([] {
    tcp_pair pair = connected_pair();
    for (tcp_conn* conn : {&pair.client, &pair.server}) {
      const int fd = conn->native_handle();
      EXPECT_NE(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
      EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
      auto option = [fd](int level, int name) {
        int value = -1;
        socklen_t size = sizeof value;
        EXPECT_EQ(getsockopt(fd, level, name, &value, &size), 0);
        return value;
      };
      EXPECT_NE(option(IPPROTO_TCP, TCP_NODELAY), 0);
      EXPECT_NE(option(SOL_SOCKET, SO_KEEPALIVE), 0);
      EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 15);
      EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPINTVL), 15);
      EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPCNT), 9);
    }
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    EXPECT_NE(fcntl(listener.native_handle(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(fcntl(listener.native_handle(), F_GETFL) & O_NONBLOCK, 0);
  });
}

TEST(TcpListener, WithoutDescriptorsAcceptFailsAndFindsTheConnectionLater) {  // covers F86
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    std::vector<tcp_conn> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(weft::net::dial_tcp(listener.local_endpoint()));
    {
      const few_descriptors limit;
      for (int i = 0; i < 3; ++i) {
        const auto [code, what] = thrown_by([&] { static_cast<void>(listener.accept()); });
        EXPECT_EQ(code, std::errc::too_many_files_open);
        EXPECT_EQ(what, "accept tcp " + listener.local_endpoint().to_string() + ": too many open files");
      }
      const auto [code, what] = thrown_by([&] { static_cast<void>(weft::net::dial_tcp("127.0.0.1:1")); });
      EXPECT_EQ(code, std::errc::too_many_files_open);
      EXPECT_EQ(what, "dial tcp 127.0.0.1:1: too many open files");
    }
    for (int i = 0; i < 3; ++i) {  // no further edge comes for these
      tcp_conn conn = listener.accept();
      conn.write("late");
    }
    for (tcp_conn& client : clients) {
      std::array<char, 8> buffer;
      EXPECT_EQ(client.read_full(buffer), 4u);
    }
  });
}

TEST(TcpListener, StopEndsAWaitingAcceptAndTheListenerGoesOn) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    for (int i = 0; i < 20; ++i) {
      auto acceptor = weft::spawn([&] { static_cast<void>(listener.accept()); });
      if (i % 2 == 0) weft::this_fiber::yield();
      acceptor.request_stop();
      EXPECT_THROW(acceptor.join(), weft::canceled_error);
    }
    tcp_conn client = weft::net::dial_tcp(listener.local_endpoint());
    EXPECT_EQ(listener.accept().remote_endpoint(), client.local_endpoint());
  });
}

TEST(TcpListener, AWildcardServesBothFamilies) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp(":0");
    EXPECT_TRUE(listener.local_endpoint().is_wildcard());
    const std::string port = std::to_string(listener.local_endpoint().port());
    tcp_conn four = weft::net::dial_tcp("127.0.0.1:" + port);
    tcp_conn accepted = listener.accept();
    EXPECT_EQ(accepted.remote_endpoint(), four.local_endpoint());  // as IPv4, though the socket is of both
    EXPECT_EQ(accepted.local_endpoint().to_string(), "127.0.0.1:" + port);
    if (listener.local_endpoint().is_ipv6()) {
      std::error_code ec;
      tcp_conn six = weft::net::dial_tcp("[::1]:" + port, ec);
      if (!ec) {
        EXPECT_EQ(listener.accept().remote_endpoint(), six.local_endpoint());
      }
    }
    tcp_conn nearest = weft::net::dial_tcp(":" + port);
    EXPECT_TRUE(nearest.remote_endpoint().is_loopback());
    tcp_conn wildcard = weft::net::dial_tcp("0.0.0.0:" + port);
    EXPECT_EQ(wildcard.remote_endpoint().to_string(), "127.0.0.1:" + port);
  });
}

TEST(TcpListener, PortIsTakenOnceUnlessShared) {
  on_fibers([] {
    tcp_listener first = weft::net::listen_tcp("127.0.0.1:0");
    const std::string where = first.local_endpoint().to_string();
    const auto [code, what] = thrown_by([&] { static_cast<void>(weft::net::listen_tcp(where)); });
    EXPECT_EQ(code, std::errc::address_in_use);
    EXPECT_EQ(what, "listen tcp " + where + ": address already in use");

    weft::net::listen_options shared;
    shared.reuse_port = true;
    tcp_listener a = weft::net::listen_tcp("127.0.0.1:0", shared);
    tcp_listener b = weft::net::listen_tcp(a.local_endpoint(), shared);
    EXPECT_EQ(a.local_endpoint(), b.local_endpoint());
  });
}

TEST(TcpListener, BacklogIsTheSystemsUnlessGiven) {
  on_fibers([] {
    auto backlog_of = [](const tcp_listener& listener) {
      tcp_info info{};
      socklen_t size = sizeof info;
      EXPECT_EQ(getsockopt(listener.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
      return info.tcpi_sacked;  // of a listener: the length its queue may have
    };
    std::ifstream file("/proc/sys/net/core/somaxconn");
    unsigned most = 0;
    file >> most;
    EXPECT_EQ(backlog_of(weft::net::listen_tcp("127.0.0.1:0")), most);
    weft::net::listen_options few;
    few.backlog = 7;
    EXPECT_EQ(backlog_of(weft::net::listen_tcp("127.0.0.1:0", few)), 7u);
  });
}

TEST(TcpDial, RefusalNamesOperationAndEndpoint) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    const endpoint where = listener.local_endpoint();
    listener.close();
    for (int i = 0; i < scaled(200); ++i) {
      std::error_code ec;
      tcp_conn conn = weft::net::dial_tcp(where, ec);
      EXPECT_EQ(ec, std::errc::connection_refused);
      EXPECT_FALSE(conn.is_open());
    }
    const auto [code, what] = thrown_by([&] { static_cast<void>(weft::net::dial_tcp(where.to_string())); });
    EXPECT_EQ(code, std::errc::connection_refused);
    EXPECT_EQ(what, "dial tcp " + where.to_string() + ": connection refused");
    const auto by_name =
        thrown_by([&] { static_cast<void>(weft::net::dial_tcp("localhost:" + std::to_string(where.port()))); });
    EXPECT_EQ(by_name.first, std::errc::connection_refused);
    EXPECT_EQ(by_name.second.find("dial tcp localhost:" + std::to_string(where.port()) + " ("), 0u) << by_name.second;
  });
}

TEST(TcpDial, BadAddressesNameTheTextAndTheProblem) {
  on_fibers([] {
    struct row {
      const char* text;
      const char* problem;
    };
    for (const row& r : {row{"", "the address is empty"}, row{"localhost", "the port is missing"},
                         row{"127.0.0.1:65536", "the port is not a number from 0 to 65535"},
                         row{"localhost:65616", "the port is not a number from 0 to 65535"},
                         row{"::1:80", "an IPv6 address needs brackets"},
                         row{"[1.2.3.4]:80", "the brackets do not hold an IPv6 address"},
                         row{"local host:80", "the address has a blank or a control character"}}) {
      const auto dial = thrown_by([&] { static_cast<void>(weft::net::dial_tcp(r.text)); });
      EXPECT_EQ(dial.first, std::errc::invalid_argument) << r.text;
      EXPECT_EQ(dial.second.find("dial tcp \"" + std::string(r.text) + "\": " + r.problem), 0u) << dial.second;
      const auto listen = thrown_by([&] { static_cast<void>(weft::net::listen_tcp(r.text)); });
      EXPECT_EQ(listen.first, std::errc::invalid_argument) << r.text;
      EXPECT_EQ(listen.second.find("listen tcp \"" + std::string(r.text) + "\": " + r.problem), 0u) << listen.second;
    }
  });
}

TEST(TcpDial, FailedLookupsSayWhatWasLookedUp) {
  on_fibers([] {
    const auto [code, what] = thrown_by([] { static_cast<void>(weft::net::dial_tcp("no..name:80")); });
    EXPECT_EQ(code.category(), weft::net::lookup_category());
    EXPECT_EQ(what, "dial tcp \"no..name:80\": lookup no..name: no such host");
    std::error_code ec;
    static_cast<void>(weft::net::listen_tcp("no..name:80", ec));
    EXPECT_EQ(ec, code);
  });
}

TEST(TcpDial, NamesAreLookedUpWhileOtherFibersGoOn) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("localhost:0");
    EXPECT_TRUE(listener.local_endpoint().is_loopback());
    std::atomic<bool> stop{false};
    auto other = weft::spawn([&] {
      while (!stop) weft::this_fiber::yield();
    });
    for (int i = 0; i < 20; ++i) {
      tcp_conn conn = weft::net::dial_tcp("localhost:" + std::to_string(listener.local_endpoint().port()));
      EXPECT_EQ(listener.accept().remote_endpoint(), conn.local_endpoint());
    }
    stop = true;
    other.join();
  });
}

TEST(TcpDial, NeverConnectsToItself) {
  on_fibers([] {
    // A port of the ephemeral range that nobody listens at. Linux gives connects every second port of it, one after the
    // other: the first one's parity, and after a round of them the dialled one itself.
    std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
    unsigned least = 0;
    unsigned most = 0;
    file >> least >> most;
    const std::uint16_t port = static_cast<std::uint16_t>(least + (most - least) / 4 * 2);
    for (int i = 0; i < scaled(15'000); ++i) {
      std::error_code ec;
      tcp_conn conn = weft::net::dial_tcp(endpoint::ipv4({127, 0, 0, 1}, port), ec);
      ASSERT_TRUE(ec || conn.local_endpoint() != conn.remote_endpoint()) << conn.local_endpoint();
    }
  });
}

TEST(TcpDial, StandingStopRefusesToBegin) {
  on_fibers([] {
    tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    const std::string by_name = "localhost:" + std::to_string(listener.local_endpoint().port());
    gate stopped;
    auto dial = weft::spawn([&] {
      stopped.pass();
      std::error_code ec;
      static_cast<void>(weft::net::dial_tcp(by_name, ec));
      EXPECT_EQ(ec, std::errc::operation_canceled);
      static_cast<void>(weft::net::dial_tcp(listener.local_endpoint()));
    });
    dial.request_stop();
    stopped.open();
    EXPECT_THROW(dial.join(), weft::canceled_error);
  });
}

TEST(TcpRuntime, NeedsOne) {
  const auto dial = thrown_by([] { static_cast<void>(weft::net::dial_tcp("127.0.0.1:1")); });
  EXPECT_EQ(dial.first, weft::errc::no_runtime);
  const auto listen = thrown_by([] { static_cast<void>(weft::net::listen_tcp("127.0.0.1:0")); });
  EXPECT_EQ(listen.first, weft::errc::no_runtime);
  EXPECT_EQ(listen.second.find("listen tcp 127.0.0.1:0: "), 0u) << listen.second;
}

TEST(TcpRuntime, PlainThreadsListenAndDialInside) {
  weft::runtime rt;
  const auto inside = rt.enter();
  tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
  std::thread dial([&] {
    const auto here = rt.enter();
    tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
    conn.write("from a thread");
  });
  tcp_conn conn = listener.accept();
  std::array<char, 64> buffer;
  EXPECT_EQ(conn.read_full(buffer), 13u);
  dial.join();
}

}  // namespace
