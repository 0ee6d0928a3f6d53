// The orderly end of a server: it waits for its connections, up to a time.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace testing_support;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using weft::net::dial_tcp;
using weft::net::listen_tcp;
using weft::net::server;
using weft::net::tcp_conn;

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

std::vector<tcp_conn> connected(const server& s, int n) {
  std::vector<tcp_conn> conns;
  for (int i = 0; i < n; ++i) {
    conns.push_back(dial_tcp(s.local_endpoint()));
    EXPECT_EQ(ask(conns.back(), "hello"), "hello");
  }
  return conns;
}

TEST(Census, TellsWhenThereAreFewerAndWhenNobodyIsLeft) {
  weft::net::detail::census c;
  EXPECT_TRUE(c.nobody().stop_requested());
  EXPECT_TRUE(c.below(1).stop_requested());
  c.loop_begins();
  const std::stop_token nobody = c.nobody();
  EXPECT_FALSE(nobody.stop_requested()) << "a loop may bring a connection yet";
  EXPECT_TRUE(c.below(1).stop_requested());
  c.connection_begins();
  c.connection_begins();
  EXPECT_EQ(c.connections(), 2u);
  const std::stop_token two = c.below(2);
  const std::stop_token one = c.below(1);
  EXPECT_TRUE(c.below(3).stop_requested());
  c.connection_ends();
  EXPECT_TRUE(two.stop_requested());
  EXPECT_FALSE(one.stop_requested());
  c.connection_ends();
  EXPECT_TRUE(one.stop_requested());
  EXPECT_FALSE(nobody.stop_requested());
  c.loop_ends();
  EXPECT_TRUE(nobody.stop_requested());
}

TEST(Server, WithoutConnectionsDrainsAtOnce) {
  on_fibers([] {
    server idle(listen_tcp("127.0.0.1:0"));
    EXPECT_EQ(idle.drain(1h), 0u);
    EXPECT_EQ(idle.drain(1h), 0u);

    server served(listen_tcp("127.0.0.1:0"));
    auto loop = weft::spawn([&] { served.serve(echo); });
    connected(served, 3);  // and closed again
    EXPECT_EQ(served.drain(1h), 0u);
    loop.join();
    EXPECT_EQ(served.connections(), 0u);
    std::error_code ec;
    static_cast<void>(dial_tcp(served.local_endpoint(), ec));
    EXPECT_EQ(ec, std::errc::connection_refused);
  });
}

TEST(Server, DrainWaitsForConnectionsThatEnd) {
  on_fibers([] {
    server s(listen_tcp("127.0.0.1:0"));
    auto loop = weft::spawn([&] { s.serve(echo); });
    std::vector<tcp_conn> conns = connected(s, 5);
    EXPECT_EQ(s.connections(), 5u);
    std::atomic<bool> drained{false};
    auto drain = weft::spawn([&] {
      const std::size_t left = s.drain(1h);
      drained = true;
      return left;
    });
    loop.join();
    for (tcp_conn& conn : conns) {
      EXPECT_FALSE(drained);
      EXPECT_EQ(ask(conn, "still served"), "still served");
      conn.close();
    }
    EXPECT_EQ(drain.join(), 0u);
    EXPECT_EQ(s.connections(), 0u);
  });
}

TEST(Server, WhatIsLeftAtTheDeadlineIsCountedAndCutOff) {
  on_fibers([] {
    weft::net::serve_options options;
    std::atomic<int> errors{0};
    options.on_connection_error = [&](const auto&, const auto&) { ++errors; };
    server s(listen_tcp("127.0.0.1:0"), options);
    auto loop = weft::spawn([&] { s.serve(echo); });
    std::vector<tcp_conn> conns = connected(s, 5);
    conns[0].close();
    conns[1].close();
    const auto begin = steady_clock::now();
    EXPECT_EQ(s.drain(30ms), 3u);
    EXPECT_GE(steady_clock::now() - begin, 30ms);
    loop.join();
    std::array<char, 1> one;
    for (std::size_t i = 2; i < conns.size(); ++i) EXPECT_EQ(conns[i].read_some(one), 0u);
    EXPECT_TRUE(eventually([&] {
      weft::this_fiber::yield();
      return s.connections() == 0;
    }));
    EXPECT_EQ(s.drain(steady_clock::now()), 0u);
    EXPECT_EQ(errors, 0) << "a handler that was cut off ends without a word";
  });
}

TEST(Server, AStopOfItsCallerEndsTheDrain) {
  on_fibers([] {
    server s(listen_tcp("127.0.0.1:0"));
    auto loop = weft::spawn([&] { s.serve(echo); });
    std::vector<tcp_conn> conns = connected(s, 2);
    auto drain = weft::spawn([&] { return s.drain(1h); });
    weft::this_fiber::yield();
    drain.request_stop();
    EXPECT_EQ(drain.join(), 2u);
    loop.join();
  });
}

TEST(Server, DrainsFromPlainThreads) {
  weft::runtime rt;
  std::optional<server> s;
  {
    const auto inside = rt.enter();
    s.emplace(listen_tcp("127.0.0.1:0"));
  }
  auto loop = rt.spawn([&] { s->serve(echo); });
  tcp_conn conn = rt.spawn([&] { return std::move(connected(*s, 1).front()); }).join();
  std::thread closer([&] {
    std::this_thread::yield();
    conn.close();
  });
  EXPECT_EQ(s->drain(1h), 0u);
  closer.join();
  loop.join();
}

// A connection that was accepted at the moment of the drain is waited for, or cut off: none slips through.
TEST(Server, ADrainMissesNoConnectionThatComesWithIt) {
  on_fibers([] {
    for (int i = 0; i < scaled(200); ++i) {
      const auto living = std::make_shared<int>();
      auto s = std::make_unique<server>(listen_tcp("127.0.0.1:0"));
      std::vector<weft::fiber<>> loops;
      for (int l = 0; l < 2; ++l) {
        loops.push_back(weft::spawn([&s = *s, living] {
          s.serve([living](tcp_conn conn) {
            const auto here = living;
            echo(std::move(conn));
          });
        }));
      }
      std::vector<tcp_conn> conns;
      std::error_code ec;
      auto dialler = weft::spawn([&, where = s->local_endpoint()] {
        while (!ec) conns.push_back(dial_tcp(where, ec));
        conns.clear();
      });
      for (int y = i % 8; y > 0; --y) weft::this_fiber::yield();
      const std::size_t left = s->drain(10s);
      EXPECT_EQ(left, 0u);
      EXPECT_EQ(s->connections(), 0u);
      for (auto& loop : loops) loop.join();
      dialler.join();
      s.reset();
      EXPECT_TRUE(eventually([&] {
        weft::this_fiber::yield();
        return living.use_count() == 1;
      }));
    }
  });
}

TEST(Server, ALimitHoldsForItToo) {
  on_fibers([] {
    weft::net::serve_options options;
    options.max_connections = 2;
    server s(listen_tcp("127.0.0.1:0"), options);
    auto loop = weft::spawn([&] { s.serve(echo); });
    std::vector<tcp_conn> conns = connected(s, 2);
    tcp_conn queued = dial_tcp(s.local_endpoint());
    EXPECT_EQ(s.connections(), 2u);
    conns[0].close();
    EXPECT_EQ(ask(queued, "in"), "in");
    EXPECT_EQ(s.connections(), 2u);
    s.close();
    loop.join();
    conns.clear();
    queued.close();
    EXPECT_EQ(s.drain(1h), 0u);
  });
}

}  // namespace
