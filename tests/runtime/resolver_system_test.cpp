// Names without weft::resolver: by the system's getaddrinfo, which this program replaces.
#include "tcp_pair.hpp"

#include <weft/sched/park.hpp>
#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <dlfcn.h>
#include <netdb.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stop_token>
#include <thread>

namespace {

using testing_support::on_fibers;
using testing_support::thrown_by;
using weft::net::endpoint;
using weft::net::lookup_errc;
using weft::net::resolve;

// The name "stuck.test" is not answered until it is let go.
std::mutex lock;
std::condition_variable changed;
bool is_stuck = true;
int asking = 0;
int answered = 0;

int waiting_lookups() {
  const std::lock_guard guard(lock);
  return asking - answered;
}

void let_go() {
  const std::lock_guard guard(lock);
  is_stuck = false;
  changed.notify_all();
}

void hold() {
  const std::lock_guard guard(lock);
  is_stuck = true;
}

}  // namespace

extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  static const auto real = reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (host != nullptr) {
    if (std::strcmp(host, "stuck.test") == 0) {
      std::unique_lock guard(lock);
      ++asking;
      changed.wait(guard, [] { return !is_stuck; });
      ++answered;
      host = "localhost";
    }
    if (std::strcmp(host, "gone.test") == 0) return EAI_NONAME;
    if (std::strcmp(host, "later.test") == 0) return EAI_AGAIN;
    if (std::strcmp(host, "broken.test") == 0) return EAI_FAIL;
  }
  return real(host, service, hints, found);
}

namespace {

// covers N1
TEST(ResolverSystem, NamesAndNumbers) {
  const auto test = [] {
    const std::vector<endpoint> found = resolve("localhost");
    EXPECT_FALSE(found.empty());
    EXPECT_TRUE(std::ranges::all_of(found, &endpoint::is_loopback));
    EXPECT_TRUE(std::ranges::all_of(found, [](const endpoint& e) { return e.port() == 0; }));
    EXPECT_EQ(resolve("192.0.2.1"), std::vector{endpoint::ipv4({192, 0, 2, 1}, 0)});
    EXPECT_EQ(resolve("::1"), std::vector{endpoint::parse("[::1]:0")});
    weft::net::resolver_options options;
    options.family = endpoint::family::ipv4;
    EXPECT_EQ(resolve("localhost", options), std::vector{endpoint::ipv4({127, 0, 0, 1}, 0)});
    std::error_code ec;
    EXPECT_TRUE(resolve("::1", options, ec).empty());
    EXPECT_EQ(ec, lookup_errc::no_such_host);
  };
  on_fibers(test);
  on_fibers([&] { weft::blocking(test); });
  test();
}

TEST(ResolverSystem, FailuresSayWhatWasLookedUp) {
  on_fibers([] {
    const auto gone = thrown_by([] { static_cast<void>(resolve("gone.test")); });
    EXPECT_EQ(gone.first, lookup_errc::no_such_host);
    EXPECT_EQ(gone.second, "lookup gone.test: no such host");
    EXPECT_FALSE(weft::is_temporary(gone.first));
    for (const char* name : {"later.test", "broken.test"}) {
      const auto later = thrown_by([&] { static_cast<void>(resolve(name)); });
      EXPECT_EQ(later.first, lookup_errc::server_misbehaving);
      EXPECT_EQ(later.second, "lookup " + std::string(name) + ": server misbehaving");
      EXPECT_TRUE(weft::is_temporary(later.first) && !weft::is_timeout(later.first));
    }
    EXPECT_EQ(thrown_by([] { static_cast<void>(resolve("a b\n")); }).second, "lookup \"a b?\": no such host");
    EXPECT_EQ(thrown_by([] { static_cast<void>(resolve("")); }).second, "lookup \"\": no such host");
    EXPECT_EQ(thrown_by([] { static_cast<void>(resolve(std::string(300, 'x'))); }).first, lookup_errc::no_such_host);
  });
}

TEST(ResolverSystem, OptionsForOurOwnResolverAreRefused) {
  on_fibers([] {
    weft::net::resolver_options options;
    options.servers = {endpoint::ipv4({127, 0, 0, 1}, 53)};
    std::error_code ec;
    EXPECT_TRUE(resolve("localhost", options, ec).empty());
    EXPECT_EQ(ec, std::errc::not_supported);
  });
}

TEST(ResolverSystem, ServicesAreTakenByNameAndNumber) {
  on_fibers([] {
    EXPECT_EQ(weft::net::resolve_service("7000"), 7000);
    EXPECT_EQ(weft::net::resolve_service("0"), 0);
    std::error_code ec;
    EXPECT_EQ(weft::net::resolve_service("no-such-service", ec), 0);
    EXPECT_EQ(ec, lookup_errc::no_such_service);
    EXPECT_EQ(ec.message(), "unknown port");
    EXPECT_EQ(weft::net::resolve_service("65536", ec), 0);
    EXPECT_EQ(ec, std::errc::invalid_argument);
    EXPECT_EQ(weft::net::resolve_service("", ec), 0);
    EXPECT_EQ(ec, lookup_errc::no_such_service);
    const auto dial = thrown_by([] { static_cast<void>(weft::net::dial_tcp("127.0.0.1:no-such-service")); });
    EXPECT_EQ(dial.second, "dial tcp \"127.0.0.1:no-such-service\": unknown port");
    const std::uint16_t http = weft::net::resolve_service("http", ec);
    if (!ec) {
      EXPECT_EQ(http, 80);
    } else {
      EXPECT_EQ(ec, lookup_errc::no_such_service);  // a machine without /etc/services
    }
  });
}

// covers N5
TEST(ResolverSystem, AStopLeavesAStuckLookupBehind) {
  hold();
  on_fibers([] {
    for (const bool by_token : {true, false}) {
      const int before = waiting_lookups();
      std::stop_source source;
      auto looking = weft::spawn([&] {
        const weft::sched::stop_link link(by_token ? source.get_token() : std::stop_token());
        std::error_code ec;
        static_cast<void>(by_token ? resolve("stuck.test", ec).size()
                                   : weft::net::dial_tcp("stuck.test:80", ec).is_open());
        return ec;
      });
      while (waiting_lookups() == before) weft::this_fiber::yield();
      by_token ? static_cast<void>(source.request_stop()) : looking.request_stop();
      EXPECT_EQ(looking.join(), std::errc::operation_canceled);
      EXPECT_EQ(waiting_lookups(), before + 1);
    }
    let_go();
  });
  EXPECT_EQ(waiting_lookups(), 0);
}

TEST(ResolverSystem, OtherFibersGoOnMeanwhile) {
  hold();
  on_fibers([] {
    auto looking = weft::spawn([] { return resolve("stuck.test"); });
    while (waiting_lookups() == 0) weft::this_fiber::yield();
    for (int i = 0; i < 100; ++i) weft::this_fiber::sleep_for(std::chrono::microseconds(1));
    EXPECT_EQ(waiting_lookups(), 1);
    let_go();
    EXPECT_FALSE(looking.join().empty());
  });
}

}  // namespace
