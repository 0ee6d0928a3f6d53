// A std::stop_token given to one call: what it ends, what it leaves alone.
#include "tcp_pair.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using testing_support::connected_pair;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::tcp_pair;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

constexpr std::size_t much = 32 << 20;

// The places that a call can be made from.
enum class place { fiber, blocking, thread };
constexpr place places[] = {place::fiber, place::blocking, place::thread};

// caller runs body at a place; joined by a fiber.
class caller {
 public:
  caller(place at, std::function<void()> body) {
    if (at == place::thread) {
      thread_ = std::thread(std::move(body));
    } else {
      fiber_ = weft::spawn([at, body = std::move(body)] { at == place::fiber ? body() : weft::blocking(body); });
    }
  }
  void join() {
    if (thread_.joinable()) {
      weft::blocking([this] { thread_.join(); });
    } else {
      fiber_.join();
    }
  }

 private:
  std::thread thread_;
  weft::fiber<void> fiber_;
};

// The calls that wait, on a connection whose peer is silent and a listener that nobody dials.
struct calls {
  tcp_pair p = connected_pair();
  tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
  std::string data = std::string(much, 'w');

  using call = std::error_code (calls::*)(const std::stop_token&);
  std::error_code read(const std::stop_token& stop) {
    char room[16];
    std::error_code ec;
    EXPECT_EQ(p.server.read_some(room, stop, ec), 0u);
    return ec;
  }
  std::error_code read_full(const std::stop_token& stop) {
    char room[16];
    std::error_code ec;
    EXPECT_EQ(p.server.read_full(room, stop, ec), 0u);
    return ec;
  }
  std::error_code write(const std::stop_token& stop) {
    std::error_code ec;
    EXPECT_LT(p.server.write(data, stop, ec), much);
    return ec;
  }
  std::error_code accept(const std::stop_token& stop) {
    std::error_code ec;
    EXPECT_FALSE(listener.accept(stop, ec).is_open());
    return ec;
  }
  std::error_code wait_readable(const std::stop_token& stop) {
    std::error_code ec;
    p.server.wait_readable(stop, ec);
    return ec;
  }
  static constexpr std::array<call, 5> all{&calls::read, &calls::read_full, &calls::write, &calls::accept,
                                           &calls::wait_readable};
};

TEST(StopToken, BeforeTheCallNothingBegins) {
  on_fibers([] {
    calls c;
    c.p.client.write("kept"sv);
    c.p.server.wait_readable();
    std::stop_source source;
    source.request_stop();
    for (const place at : places) {
      for (const calls::call call : calls::all) {
        caller(at, [&] { EXPECT_EQ((c.*call)(source.get_token()), std::errc::operation_canceled); }).join();
      }
    }
    // The token's calls alone are over.
    char room[4];
    EXPECT_EQ(c.p.server.read_full(room), 4u);
    EXPECT_EQ(std::string_view(room, 4), "kept");
  });
}

TEST(StopToken, DuringTheCallEndsIt) {
  on_fibers([] {
    for (const place at : places) {
      for (const calls::call call : calls::all) {
        calls c;
        const int rounds = call == &calls::write ? 2 : 6;
        for (int i = 0; i < rounds; ++i) {
          std::stop_source source;
          std::atomic<bool> begun{false};
          caller waiting(at, [&] {
            begun = true;
            EXPECT_EQ((c.*call)(source.get_token()), std::errc::operation_canceled);
          });
          while (!begun) weft::this_fiber::yield();
          // Parked, or about to be.
          if (i % 2 == 0) weft::this_fiber::sleep_for(1ms);
          source.request_stop();
          waiting.join();
        }
        // Neither the fiber nor the handle is stopped.
        c.p.client.set_deadline(1h);
        if (call != &calls::write) {
          c.p.client.write("x"sv);
          char room[1];
          EXPECT_EQ(c.p.server.read_some(room), 1u);
        }
      }
    }
  });
}

TEST(StopToken, AfterTheCallItReachesNoLaterOne) {
  on_fibers([] {
    tcp_pair p = connected_pair();
    for (const place at : places) {
      caller(at, [&] {
        for (int i = 0; i < 50; ++i) {
          std::stop_source source;
          p.client.write("ab"sv);
          char room[1];
          EXPECT_EQ(p.server.read_some(room, source.get_token()), 1u);
          source.request_stop();
          EXPECT_EQ(p.server.read_some(room), 1u);
          std::stop_source other;
          p.client.write("c"sv);
          EXPECT_EQ(p.server.read_some(room, other.get_token()), 1u);
        }
      }).join();
    }
  });
}

TEST(StopToken, ThrownItNamesTheCallAndTheCount) {
  on_fibers([] {
    tcp_pair p = connected_pair();
    std::stop_source source;
    std::size_t sent = 0;
    weft::fiber<void> writer = weft::spawn([&] {
      try {
        p.server.write(std::string(much, 'w'), source.get_token());
        ADD_FAILURE() << "sent into nowhere";
      } catch (const weft::canceled_error& e) {
        EXPECT_EQ(e.code(), std::errc::operation_canceled);
        EXPECT_NE(std::string_view(e.what()).find("write"), std::string_view::npos) << e.what();
        sent = e.transferred();
      }
    });
    weft::this_fiber::sleep_for(5ms);
    source.request_stop();
    writer.join();
    EXPECT_LT(sent, much);
    p.server.close();
    std::size_t got = 0;
    std::vector<char> sink(1 << 20);
    while (const std::size_t n = p.client.read_some(sink)) got += n;
    EXPECT_EQ(got, sent);
  });
}

TEST(StopToken, LeavesDeadlinesAlone) {
  on_fibers([] {
    tcp_pair p = connected_pair();
    const auto at = std::chrono::steady_clock::now() + 20ms;
    p.server.set_read_deadline(at);
    std::stop_source source;
    char room[1];
    std::error_code ec;
    weft::fiber<void> f = weft::spawn([&] {
      p.server.read_some(room, source.get_token(), ec);
      EXPECT_EQ(ec, std::errc::operation_canceled);
    });
    weft::this_fiber::yield();
    source.request_stop();
    f.join();
    p.server.read_some(room, ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_GE(std::chrono::steady_clock::now(), at);
    p.server.read_some(room, std::stop_source().get_token(), ec);
    EXPECT_EQ(ec, std::errc::timed_out);
  });
}

// A stop that races with the data: the byte was returned, or it is still in the socket.
TEST(StopToken, RacingWithDataLosesNoByte) {
  on_fibers([] {
    const int rounds = scaled(10'000);
    tcp_pair p = connected_pair();
    weft::fiber<void> reader;
    char next = 0;
    int stopped = 0;
    for (int i = 0; i < rounds; ++i) {
      std::stop_source source;
      char room[4];
      std::size_t got = 0;
      std::error_code ec;
      reader = weft::spawn([&] { got = p.server.read_some(room, source.get_token(), ec); });
      if (i % 3 != 0) weft::this_fiber::yield();
      weft::fiber<void> writer = weft::spawn([&] { p.client.write(std::string_view(&next, 1)); });
      if (i % 5 == 1) weft::this_fiber::yield();
      if (i % 5 > 1) weft::this_fiber::sleep_for(std::chrono::microseconds(i % 50));
      source.request_stop();
      reader.join();
      writer.join();
      if (ec == std::errc::operation_canceled) {
        ++stopped;
        ASSERT_EQ(got, 0u);
        got = p.server.read_some(room);
      }
      ASSERT_EQ(got, 1u);
      ASSERT_EQ(room[0], next);
      ++next;
    }
    std::printf("%d of %d stopped\n", stopped, rounds);
  });
}

// Stops from plain threads, at any point of the calls of fibers that go on all the time.
TEST(StopToken, StormOfStopsFromThreads) {
  on_fibers([] {
    const int rounds = scaled(2'000);
    tcp_pair p = connected_pair();
    std::atomic<std::stop_source*> current{nullptr};
    std::atomic<bool> over{false};
    std::thread stopper([&] {
      while (!over) {
        if (const std::unique_ptr<std::stop_source> s{current.exchange(nullptr)}) s->request_stop();
        std::this_thread::yield();
      }
    });
    for (int i = 0; i < rounds; ++i) {
      std::stop_source source;
      current = new std::stop_source(source);
      char room[1];
      std::error_code ec;
      p.server.read_some(room, source.get_token(), ec);
      EXPECT_EQ(ec, std::errc::operation_canceled);
      p.client.write("x"sv);
      EXPECT_EQ(p.server.read_some(room), 1u);
    }
    over = true;
    weft::blocking([&] { stopper.join(); });
  });
}

// One link inside another: each ends what is inside of it, and no more.
TEST(StopToken, LinksNest) {
  on_fibers([] {
    for (const place at : places) {
      caller(at, [] {
        std::stop_source outer, inner;
        const weft::sched::stop_link one(outer.get_token());
        {
          const weft::sched::stop_link two(inner.get_token());
          EXPECT_FALSE(weft::sched::stop_requested());
          inner.request_stop();
          EXPECT_TRUE(weft::sched::stop_requested());
        }
        EXPECT_FALSE(weft::sched::stop_requested());
        {
          const weft::sched::stop_link two(inner.get_token());
          EXPECT_TRUE(weft::sched::stop_requested());
          outer.request_stop();
        }
        EXPECT_TRUE(weft::sched::stop_requested());
      }).join();
      caller(at, [] { EXPECT_FALSE(weft::sched::stop_requested()); }).join();
    }
  });
}

TEST(StopToken, AStopOfTheFiberStandsBesideTheToken) {
  on_fibers([] {
    tcp_pair p = connected_pair();
    std::stop_source source;
    gate begun;
    weft::fiber<void> f = weft::spawn([&] {
      begun.open();
      char room[1];
      std::error_code ec;
      p.server.read_some(room, source.get_token(), ec);
      EXPECT_EQ(ec, std::errc::operation_canceled);
      p.server.read_some(room, ec);
      EXPECT_EQ(ec, std::errc::operation_canceled);
    });
    begun.pass();
    f.request_stop();
    f.join();
    EXPECT_FALSE(source.stop_requested());
  });
}

// Waits of weft inside blocking() block the thread; a stop of the fiber ends them all the same.
TEST(StopInBlocking, EndsASleepAndAJoin) {
  on_fibers([] {
    gate never;
    weft::fiber<void> endless = weft::spawn([&] { never.pass(); });
    for (const bool joins : {false, true}) {
      for (int i = 0; i < 20; ++i) {
        std::atomic<bool> begun{false};
        weft::fiber<void> f = weft::spawn([&] {
          weft::blocking([&] {
            begun = true;
            EXPECT_THROW(joins ? endless.join() : weft::this_fiber::sleep_for(1h), weft::canceled_error);
          });
        });
        while (!begun) weft::this_fiber::yield();
        if (i % 2 == 0) weft::this_fiber::sleep_for(1ms);
        f.request_stop();
        f.join();
      }
    }
    never.open();
    endless.join();
  });
}

}  // namespace
