// Dialling by name, with a getaddrinfo of our own in place of the system's: it answers what the test says, when it
// says.
#include "black_hole.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

namespace {

// What the names mean: "four.test", "six.test", "both.test" (IPv4 first), "two.test" (127.0.0.2, then 127.0.0.1);
// "slow.test" is "four.test", when somebody lets it go. Others are not known.
struct directory {
  std::mutex mutex;
  std::condition_variable changed;
  int asked = 0;     // lookups of slow.test begun
  int answered = 0;  // and ended
  bool open = false;

  void hold() {
    const std::lock_guard lock(mutex);
    open = false;
    asked = answered = 0;
  }
  void let_go() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  int count_asked() {
    const std::lock_guard lock(mutex);
    return asked;
  }
  int count_answered() {
    const std::lock_guard lock(mutex);
    return answered;
  }
  void wait() {
    std::unique_lock lock(mutex);
    ++asked;
    changed.wait_for(lock, std::chrono::seconds(60), [this] { return open; });
    ++answered;
  }
};

directory names;

struct entry {
  addrinfo info;
  sockaddr_storage address;
};

addrinfo* make(const char* numeric, const char* port, addrinfo* next) {
  auto* const e = new entry{};
  const auto number = htons(static_cast<std::uint16_t>(port != nullptr ? std::atoi(port) : 0));
  e->info.ai_socktype = SOCK_STREAM;
  e->info.ai_addr = reinterpret_cast<sockaddr*>(&e->address);
  e->info.ai_next = next;
  if (std::strchr(numeric, ':') != nullptr) {
    auto* const six = reinterpret_cast<sockaddr_in6*>(&e->address);
    six->sin6_family = static_cast<sa_family_t>(e->info.ai_family = AF_INET6);
    six->sin6_port = number;
    six->sin6_addr = in6addr_loopback;
    e->info.ai_addrlen = sizeof *six;
  } else {
    auto* const four = reinterpret_cast<sockaddr_in*>(&e->address);
    four->sin_family = static_cast<sa_family_t>(e->info.ai_family = AF_INET);
    four->sin_port = number;
    four->sin_addr.s_addr = htonl(numeric[std::strlen(numeric) - 1] == '2' ? 0x7f000002 : 0x7f000001);
    e->info.ai_addrlen = sizeof *four;
  }
  return &e->info;
}

}  // namespace

extern "C" int getaddrinfo(const char* host, const char* port, const addrinfo*, addrinfo** result) {
  const std::string name = host;
  if (name == "slow.test") names.wait();
  if (name == "four.test" || name == "slow.test") {
    *result = make("127.0.0.1", port, nullptr);
  } else if (name == "six.test") {
    *result = make("::1", port, nullptr);
  } else if (name == "both.test") {
    *result = make("127.0.0.1", port, make("::1", port, nullptr));
  } else if (name == "two.test") {
    *result = make("127.0.0.2", port, make("127.0.0.1", port, nullptr));
  } else {
    return EAI_NONAME;
  }
  return 0;
}

extern "C" void freeaddrinfo(addrinfo* list) {
  while (list != nullptr) {
    addrinfo* const next = list->ai_next;
    delete reinterpret_cast<entry*>(list);
    list = next;
  }
}

namespace {

using namespace testing_support;
using namespace std::chrono_literals;
using weft::net::dial_options;
using weft::net::dial_tcp;
using weft::net::listen_tcp;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

std::string port_of(const tcp_listener& listener) { return std::to_string(listener.local_endpoint().port()); }

// Lets the lookups go before the runtime ends, which waits for them.
struct release {
  release() { names.hold(); }
  ~release() { names.let_go(); }
};

TEST(TcpDialLookup, IsLeftBehindWhenTheTimeIsUp) {
  on_fibers([] {
    const release at_the_end;
    dial_options options;
    options.timeout = 20ms;
    const auto [code, what] = thrown_by([&] { static_cast<void>(dial_tcp("slow.test:80", options)); });
    EXPECT_EQ(code, std::errc::timed_out);
    EXPECT_EQ(what, "dial tcp \"slow.test:80\": lookup slow.test: i/o timeout");
    EXPECT_EQ(names.count_answered(), 0);
    tcp_listener listener = listen_tcp("four.test:0");  // others go on
    EXPECT_TRUE(dial_tcp("four.test:" + port_of(listener), options).is_open());
  });
}

TEST(TcpDialLookup, IsLeftBehindByAStop) {  // covers F88
  on_fibers([] {
    const release at_the_end;
    auto dial = weft::spawn([] { static_cast<void>(dial_tcp("slow.test:80")); });
    while (names.count_asked() != 1) weft::this_fiber::yield();
    dial.request_stop();
    EXPECT_THROW(dial.join(), weft::canceled_error);

    std::stop_source source;
    std::error_code ec;
    auto by_token = weft::spawn([&] { static_cast<void>(dial_tcp("slow.test:80", source.get_token(), ec)); });
    while (names.count_asked() != 2) weft::this_fiber::yield();
    source.request_stop();
    by_token.join();
    EXPECT_EQ(ec, std::errc::operation_canceled);

    std::stop_source no_listener;
    auto listen = weft::spawn([&] { static_cast<void>(listen_tcp("slow.test:0", no_listener.get_token())); });
    while (names.count_asked() != 3) weft::this_fiber::yield();
    no_listener.request_stop();
    EXPECT_THROW(listen.join(), weft::canceled_error);
    EXPECT_EQ(names.count_answered(), 0);
  });
}

TEST(TcpDialLookup, ThatIsAnsweredInTimeLeadsToTheConnection) {
  on_fibers([] {
    const release at_the_end;
    tcp_listener listener = listen_tcp("four.test:0");
    dial_options options;
    options.timeout = 30s;
    auto dial = weft::spawn([&] { return dial_tcp("slow.test:" + port_of(listener), options); });
    while (names.count_asked() != 1) weft::this_fiber::yield();
    names.let_go();
    const tcp_conn conn = dial.join();
    EXPECT_EQ(conn.remote_endpoint(), listener.local_endpoint());
  });
}

TEST(TcpDialLookup, PlainThreadsLeaveItBehindToo) {
  weft::runtime rt;
  const release at_the_end;
  const auto inside = rt.enter();
  dial_options options;
  options.timeout = 10ms;
  std::error_code ec;
  static_cast<void>(dial_tcp("slow.test:80", options, ec));
  EXPECT_EQ(ec, std::errc::timed_out);
}

// The lookup must not wait for a second thread that may block.
TEST(TcpDialLookup, WorksInTheOnlyBlockingRegion) {
  weft::runtime_options options;
  options.blocking_threads = 1;
  on_fibers(
      [] {
        tcp_listener listener = listen_tcp("127.0.0.1:0");
        weft::blocking([&] {
          dial_options in_time;
          in_time.timeout = 30s;
          EXPECT_TRUE(dial_tcp("four.test:" + port_of(listener), in_time).is_open());
        });
      },
      options);
}

TEST(TcpDialNames, WhatWasTriedIsNamed) {
  on_fibers([] {
    const std::string port = port_of(listen_tcp("127.0.0.1:0"));  // closed again
    const auto failed = [&](const std::string& name, const dial_options& options = dial_options()) {
      return thrown_by([&] { static_cast<void>(dial_tcp(name + ":" + port, options)); }).second;
    };
    EXPECT_EQ(failed("four.test"), "dial tcp four.test:" + port + " (127.0.0.1:" + port + "): connection refused");
    EXPECT_EQ(failed("two.test"), "dial tcp two.test:" + port + " (127.0.0.2:" + port + "): connection refused");
    EXPECT_EQ(failed("both.test"), "dial tcp both.test:" + port + " (127.0.0.1:" + port + "): connection refused");
    EXPECT_EQ(failed("no.test"), "dial tcp \"no.test:" + port + "\": lookup no.test: no such host");
    dial_options past;
    past.timeout = 0ns;
    EXPECT_EQ(failed("four.test", past), "dial tcp \"four.test:" + port + "\": lookup four.test: i/o timeout");
  });
}

TEST(TcpDialNames, ATimeoutNamesTheAddressThatDidNotAnswer) {
  on_fibers([] {
    const black_hole hole;
    if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
    const std::string port = std::to_string(hole.where().port());
    dial_options options;
    options.timeout = 30ms;
    EXPECT_EQ(thrown_by([&] { static_cast<void>(dial_tcp("four.test:" + port, options)); }).second,
              "dial tcp four.test:" + port + " (127.0.0.1:" + port + "): i/o timeout");
  });
}

TEST(TcpDialNames, TheNextAddressIsTriedAfterARefusalOrItsTime) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");  // not at 127.0.0.2, which two.test has first
    EXPECT_EQ(dial_tcp("two.test:" + port_of(listener)).remote_endpoint(), listener.local_endpoint());

    const black_hole hole(listener.local_endpoint().port(), 0x7f000002);
    if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
    dial_options options;
    options.attempt_timeout = 20ms;
    EXPECT_EQ(dial_tcp("two.test:" + port_of(listener), options).remote_endpoint(), listener.local_endpoint());
    options.attempt_timeout = std::chrono::nanoseconds::max();
    options.timeout = 4200ms;  // shared out: 2.1 s for each
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(dial_tcp("two.test:" + port_of(listener), options).remote_endpoint(), listener.local_endpoint());
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 2s);
  });
}

TEST(TcpDialNames, BothFamiliesAreReached) {
  on_fibers([] {
    std::error_code ec;
    tcp_listener six = listen_tcp("six.test:0", ec);
    if (ec) GTEST_SKIP() << "no IPv6 loopback";
    EXPECT_EQ(dial_tcp("six.test:" + port_of(six)).remote_endpoint(), six.local_endpoint());
    EXPECT_EQ(dial_tcp("both.test:" + port_of(six)).remote_endpoint(), six.local_endpoint());
    tcp_listener four = listen_tcp("both.test:0");
    EXPECT_TRUE(four.local_endpoint().is_ipv4()) << "a listener prefers IPv4";
    EXPECT_EQ(dial_tcp("both.test:" + port_of(four)).remote_endpoint(), four.local_endpoint());
  });
}

}  // namespace
