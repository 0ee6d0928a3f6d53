// Dialling with options: what bounds it, where it comes from, what its sockets are like, and how failures are said.
#include "black_hole.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using namespace testing_support;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using weft::net::address;
using weft::net::dial_options;
using weft::net::dial_tcp;
using weft::net::endpoint;
using weft::net::listen_tcp;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

constexpr endpoint::ipv4_address loopback4{127, 0, 0, 1};

std::pair<std::error_code, std::string> dial_fails(address where, const dial_options& options) {
  return thrown_by([&] { static_cast<void>(dial_tcp(where, options)); });
}

int option_of(const tcp_conn& conn, int level, int name) { return conn.get_option(level, name); }

dial_options within(std::chrono::nanoseconds time) {
  dial_options options;
  options.timeout = time;
  return options;
}

bool has_ipv6() {
  std::error_code ec;
  static_cast<void>(listen_tcp("[::1]:0", ec));
  return !ec;
}

TEST(TcpDialForms, TakeTextsAndEndpointsWithOptionsTokensAndCodes) {
  static_assert(std::is_convertible_v<const char*, address> && std::is_convertible_v<std::string, address> &&
                std::is_convertible_v<std::string_view, address> && std::is_convertible_v<endpoint, address>);
  EXPECT_TRUE(address(static_cast<const char*>(nullptr)).is_text());
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    const endpoint where = listener.local_endpoint();
    const std::string text = where.to_string();
    const dial_options options;
    std::stop_source source;
    const std::stop_token stop = source.get_token();
    std::error_code ec;
    const auto arrived = [&](const tcp_conn& conn) {
      EXPECT_EQ(listener.accept().remote_endpoint(), conn.local_endpoint());
      EXPECT_EQ(conn.remote_endpoint(), where);
      EXPECT_FALSE(ec);
    };
    arrived(dial_tcp(where));
    arrived(dial_tcp(text));
    arrived(dial_tcp(text.c_str()));
    arrived(dial_tcp(std::string_view(text)));
    arrived(dial_tcp(where, options));
    arrived(dial_tcp(where, stop));
    arrived(dial_tcp(where, options, stop));
    arrived(dial_tcp(text, ec = std::make_error_code(std::errc::io_error)));
    arrived(dial_tcp(text, options, ec = std::make_error_code(std::errc::io_error)));
    arrived(dial_tcp(text, stop, ec = std::make_error_code(std::errc::io_error)));
    arrived(dial_tcp(text, options, stop, ec = std::make_error_code(std::errc::io_error)));

    source.request_stop();
    EXPECT_THROW(static_cast<void>(dial_tcp(text, stop)), weft::canceled_error);
    EXPECT_THROW(static_cast<void>(dial_tcp(text, options, stop)), weft::canceled_error);
    EXPECT_FALSE(dial_tcp(text, options, stop, ec).is_open());
    EXPECT_EQ(ec, std::errc::operation_canceled);
    const weft::net::listen_options how;
    EXPECT_TRUE(listen_tcp("127.0.0.1:0", stop).is_open()) << "without a lookup there is nothing to stop";
    EXPECT_TRUE(listen_tcp("127.0.0.1:0", how, stop, ec).is_open());
    EXPECT_FALSE(listen_tcp("localhost:0", stop, ec).is_open());
    EXPECT_EQ(ec, std::errc::operation_canceled);
    EXPECT_THROW(static_cast<void>(listen_tcp("localhost:0", how, stop)), weft::canceled_error);
  });
}

TEST(TcpDialTimeout, EndsADialThatNobodyAnswers) {  // covers F88
  on_fibers([] {
    const black_hole hole;
    if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
    for (const auto time : {1ns, 1000ns, 1'000'000ns, 30'000'000ns}) {
      const auto begin = steady_clock::now();
      const auto [code, what] = dial_fails(hole.where(), within(time));
      EXPECT_GE(steady_clock::now() - begin, time);
      EXPECT_EQ(code, std::errc::timed_out);
      EXPECT_TRUE(weft::is_timeout(code));
      EXPECT_EQ(what, "dial tcp " + hole.where().to_string() + ": i/o timeout");
    }
    dial_options until;
    until.deadline = steady_clock::now() + 10ms;
    EXPECT_EQ(dial_fails(hole.where().to_string(), until).first, std::errc::timed_out);
    EXPECT_GE(steady_clock::now(), until.deadline);
    until.timeout = 1h;  // the earlier of the two
    EXPECT_EQ(dial_fails(hole.where(), until).first, std::errc::timed_out);
    dial_options attempt;
    attempt.attempt_timeout = 5ms;
    EXPECT_EQ(dial_fails(hole.where(), attempt).first, std::errc::timed_out);
  });
}

TEST(TcpDialTimeout, ATimeThatHasComeFailsBeforeAnythingIsTried) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    dial_options past;
    past.deadline = {};
    past.control = [](int, const endpoint&) {
      ADD_FAILURE() << "a socket was made";
      return std::error_code();
    };
    EXPECT_EQ(dial_fails(listener.local_endpoint(), past).first, std::errc::timed_out);
    dial_options none = within(0ns);
    none.control = past.control;
    EXPECT_EQ(dial_fails(listener.local_endpoint(), none).first, std::errc::timed_out);
    EXPECT_EQ(dial_fails("localhost:80", within(-1s)).first, std::errc::timed_out);
  });
}

TEST(TcpDialTimeout, TheLongestNeitherOverflowsNorFires) {  // covers B35
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    for (const auto time : {std::chrono::nanoseconds::max(), std::chrono::nanoseconds::max() - 1ns,
                            std::chrono::nanoseconds(24h * 365 * 290)}) {
      EXPECT_TRUE(dial_tcp(listener.local_endpoint(), within(time)).is_open());
      EXPECT_TRUE(dial_tcp("localhost:" + std::to_string(listener.local_endpoint().port()), within(time)).is_open());
    }
    dial_options options;
    options.deadline = steady_clock::time_point::max() - 1ns;
    options.attempt_timeout = std::chrono::nanoseconds::max() - 1ns;
    EXPECT_TRUE(dial_tcp(listener.local_endpoint(), options).is_open());
  });
}

TEST(TcpDialTimeout, IsOverWithTheDial) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    tcp_conn client = dial_tcp(listener.local_endpoint(), within(20ms));
    tcp_conn server = listener.accept();
    weft::this_fiber::sleep_for(40ms);
    client.write("late");
    server.write("later");
    std::array<char, 5> buffer;
    EXPECT_EQ(client.read_full(buffer), 5u);
  });
}

TEST(TcpDialTimeout, BoundsTheLookupToo) {
  on_fibers([] {
    // The name is not found, or the time is up first: which, is the system's business. It comes back in any case.
    const auto [code, what] = dial_fails("no..name:80", within(1ns));
    EXPECT_EQ(code, std::errc::timed_out);
    EXPECT_EQ(what, "dial tcp \"no..name:80\": lookup no..name: i/o timeout");
    std::error_code ec;
    static_cast<void>(dial_tcp("no..name:80", within(10s), ec));
    EXPECT_EQ(ec.category(), weft::net::lookup_category());
  });
}

TEST(TcpDialTimeout, ANameIsToldWithTheAddressThatWasTried) {
  on_fibers([] {
    const black_hole hole;
    if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
    const std::string name = "localhost:" + std::to_string(hole.where().port());
    const auto [code, what] = dial_fails(name, within(200ms));
    // ::1 may be tried first, or at the same time, and is refused.
    EXPECT_TRUE(what == "dial tcp " + name + " (" + hole.where().to_string() + "): i/o timeout" ||
                what.find("dial tcp " + name + " ([::1]") == 0)
        << what;
  });
}

TEST(TcpDialFamilies, ASilentFamilyIsOvertakenByTheOther) {
  on_fibers([] {
    if (!has_ipv6()) GTEST_SKIP() << "no IPv6 loopback";
    const black_hole hole;
    if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
    const std::string port = std::to_string(hole.where().port());
    std::error_code ec;
    weft::net::listen_options six_only;
    six_only.v6_only = true;
    tcp_listener six = listen_tcp("[::1]:" + port, six_only, ec);
    if (ec) GTEST_SKIP() << "the port is taken on ::1";
    const auto begin = steady_clock::now();
    tcp_conn conn = dial_tcp(":" + port);
    EXPECT_TRUE(conn.remote_endpoint().is_ipv6());
    EXPECT_GE(steady_clock::now() - begin, 250ms);
    dial_options soon;
    soon.fallback_delay = 0ms;
    EXPECT_TRUE(dial_tcp(":" + port, soon).remote_endpoint().is_ipv6());
    dial_options alone = within(20ms);
    alone.fallback_delay = -1ms;
    alone.attempt_timeout = 1h;
    const auto [code, what] = dial_fails(":" + port, alone);
    EXPECT_EQ(code, std::errc::timed_out);
    EXPECT_EQ(what, "dial tcp :" + port + " (127.0.0.1:" + port + "): i/o timeout");
    alone.attempt_timeout = 5ms;
    alone.timeout = 20s;
    EXPECT_TRUE(dial_tcp(":" + port, alone).remote_endpoint().is_ipv6()) << "one after the other";
  });
}

TEST(TcpDialFamilies, ARefusingFamilyIsOvertakenAtOnce) {
  on_fibers([] {
    if (!has_ipv6()) GTEST_SKIP() << "no IPv6 loopback";
    tcp_listener six = listen_tcp("[::1]:0");
    const std::string port = std::to_string(six.local_endpoint().port());
    dial_options late;
    late.fallback_delay = 1h;
    for (int i = 0; i < scaled(50); ++i) {
      EXPECT_TRUE(dial_tcp(":" + port, late).remote_endpoint().is_ipv6());
    }
    six.close();
    const auto [code, what] = dial_fails(":" + port, late);
    EXPECT_EQ(code, std::errc::connection_refused);
    EXPECT_EQ(what, "dial tcp :" + port + " (127.0.0.1:" + port + "): connection refused");
  });
}

TEST(TcpDialLocal, EndIsTheOneThatWasAskedFor) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    const endpoint where = listener.local_endpoint();
    dial_options options;
    options.local = endpoint::ipv4({127, 0, 0, 2}, 0);
    tcp_conn from_two = dial_tcp(where, options);
    EXPECT_EQ(from_two.local_endpoint().to_string().rfind("127.0.0.2:", 0), 0u);
    EXPECT_EQ(listener.accept().remote_endpoint(), from_two.local_endpoint());

    // A port that was given out a moment ago and is free again.
    const std::uint16_t port = listen_tcp("127.0.0.1:0").local_endpoint().port();
    options.local = endpoint::ipv4(loopback4, port);
    tcp_conn fixed = dial_tcp(where, options);
    EXPECT_EQ(fixed.local_endpoint(), options.local);
    const auto [code, what] = dial_fails(where, options);
    EXPECT_TRUE(code == std::errc::address_in_use || code == std::errc::address_not_available) << code;
    EXPECT_EQ(what.rfind("dial tcp " + options.local.to_string() + "->" + where.to_string() + ": ", 0), 0u) << what;

    for (const endpoint& any : {endpoint::ipv4({}, 0), endpoint::ipv6({}, 0)}) {
      options.local = any;
      EXPECT_TRUE(dial_tcp(where, options).local_endpoint().is_loopback());
    }
    options.local = endpoint::ipv4({192, 0, 2, 77}, 0);
    EXPECT_EQ(dial_fails(where, options).first, std::errc::address_not_available);
  });
}

TEST(TcpDialLocal, EndDecidesTheFamily) {
  on_fibers([] {
    if (!has_ipv6()) GTEST_SKIP() << "no IPv6 loopback";
    tcp_listener both = listen_tcp(":0");
    const std::string port = std::to_string(both.local_endpoint().port());
    dial_options options;
    options.local = endpoint::parse("[::1]:0");
    EXPECT_EQ(dial_tcp(":" + port, options).remote_endpoint().to_string(), "[::1]:" + port);
    options.local = endpoint::ipv4(loopback4, 0);
    EXPECT_EQ(dial_tcp(":" + port, options).remote_endpoint().to_string(), "127.0.0.1:" + port);
    EXPECT_TRUE(dial_fails("[::1]:" + port, options).first);
    both.close();
    options.local = endpoint::parse("[::1]:0");
    EXPECT_EQ(dial_fails(":" + port, options).second,
              "dial tcp [::1]:0->:" + port + " ([::1]:" + port + "): connection refused");
  });
}

TEST(TcpDialOptions, DecideDelayAndProbes) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    dial_options options;
    options.no_delay = false;
    options.keep_alive.idle = 7s;
    options.keep_alive.interval = 3s;
    options.keep_alive.count = 2;
    const tcp_conn conn = dial_tcp(listener.local_endpoint(), options);
    EXPECT_EQ(option_of(conn, IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_EQ(option_of(conn, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option_of(conn, IPPROTO_TCP, TCP_KEEPIDLE), 7);
    EXPECT_EQ(option_of(conn, IPPROTO_TCP, TCP_KEEPINTVL), 3);
    EXPECT_EQ(option_of(conn, IPPROTO_TCP, TCP_KEEPCNT), 2);
    options.keep_alive.enabled = false;
    EXPECT_EQ(option_of(dial_tcp(listener.local_endpoint(), options), SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(option_of(dial_tcp(listener.local_endpoint()), IPPROTO_TCP, TCP_KEEPIDLE), 15);
  });
}

TEST(TcpDialOptions, ControlSeesTheSocketBeforeItConnects) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    const endpoint where = listener.local_endpoint();
    dial_options options;
    int calls = 0;
    options.control = [&](int fd, const endpoint& remote) -> std::error_code {
      ++calls;
      EXPECT_EQ(remote, where);
      sockaddr_storage peer;
      socklen_t size = sizeof peer;
      EXPECT_EQ(getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size), -1);
      const int mark = 12;
      EXPECT_EQ(setsockopt(fd, IPPROTO_IP, IP_TOS, &mark, sizeof mark), 0);
      return {};
    };
    EXPECT_EQ(option_of(dial_tcp(where, options), IPPROTO_IP, IP_TOS), 12);
    EXPECT_EQ(calls, 1);
    options.control = [](int, const endpoint&) { return std::make_error_code(std::errc::operation_not_permitted); };
    const auto [code, what] = dial_fails(where, options);
    EXPECT_EQ(code, std::errc::operation_not_permitted);
    EXPECT_EQ(what, "dial tcp " + where.to_string() + ": operation not permitted");
    options.control = [](int, const endpoint&) -> std::error_code { throw std::runtime_error("mine"); };
    EXPECT_THROW(static_cast<void>(dial_tcp(where, options)), std::runtime_error);
  });
}

TEST(TcpDialOptions, FastOpenConnectsAlsoWhereTheSystemHasNone) {
  on_fibers([] {
    weft::net::listen_options queue;
    queue.fast_open = 16;
    tcp_listener listener = listen_tcp("127.0.0.1:0", queue);
    dial_options options;
    options.fast_open = true;
    for (int i = 0; i < 5; ++i) {  // the first one meets the peer, the others know it
      tcp_conn client = dial_tcp(listener.local_endpoint(), options);
      client.write("hello");
      tcp_conn server = listener.accept();
      std::array<char, 5> buffer;
      EXPECT_EQ(server.read_full(buffer), 5u);
      server.write("there");
      EXPECT_EQ(client.read_full(buffer), 5u);
    }
  });
}

TEST(TcpDialErrors, AnEndpointThatNamesNothingIsRefused) {
  on_fibers([] {
    const auto [code, what] = dial_fails(endpoint(), dial_options());
    EXPECT_EQ(code, std::errc::destination_address_required);
    EXPECT_EQ(what.rfind("dial tcp", 0), 0u);
  });
}

TEST(TcpDialThreads, ThePlainOnesInsideHaveTheSameBounds) {
  weft::runtime rt;
  const auto inside = rt.enter();
  const black_hole hole;
  if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
  EXPECT_EQ(dial_fails(hole.where(), within(5ms)).first, std::errc::timed_out);
  EXPECT_EQ(
      dial_fails("localhost:" + std::to_string(hole.where().port()), within(50ms)).second.rfind("dial tcp local", 0),
      0u);
  EXPECT_EQ(dial_fails("no..name:80", within(1ns)).first, std::errc::timed_out);

  std::stop_source source;
  std::atomic<bool> dialling{false};
  std::thread stopper([&] {
    EXPECT_TRUE(eventually([&] { return dialling.load(); }));
    source.request_stop();
  });
  dial_options options;
  options.control = [&](int, const endpoint&) {
    dialling = true;
    return std::error_code();
  };
  std::error_code ec;
  EXPECT_FALSE(dial_tcp(hole.where(), options, source.get_token(), ec).is_open());
  EXPECT_EQ(ec, std::errc::operation_canceled);
  stopper.join();

  tcp_listener listener = listen_tcp(":0");
  tcp_conn raced = dial_tcp(":" + std::to_string(listener.local_endpoint().port()));
  EXPECT_EQ(listener.accept().remote_endpoint(), raced.local_endpoint());
}

}  // namespace
