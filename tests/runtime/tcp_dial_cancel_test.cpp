// Stops that meet a dial: before, during and after; and connects that only seem to succeed.
#include "black_hole.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <span>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace testing_support;
using namespace std::chrono_literals;
using weft::net::dial_options;
using weft::net::dial_tcp;
using weft::net::endpoint;
using weft::net::listen_tcp;
using weft::net::tcp_conn;
using weft::net::tcp_listener;

void echo(tcp_conn conn) {
  std::array<char, 100> buffer;
  std::error_code ec;
  while (const std::size_t n = conn.read_some(buffer, ec)) {
    conn.write(std::span(buffer).first(n), ec);
    if (ec) break;
  }
}

bool answers(tcp_conn& conn) {
  conn.write("ping");
  std::array<char, 4> buffer;
  return conn.read_full(buffer) == 4;
}

// Announces that a socket is about to connect.
dial_options announcing(std::atomic<int>& begun) {
  dial_options options;
  options.control = [&begun](int, const endpoint&) {
    ++begun;
    return std::error_code();
  };
  return options;
}

TEST(TcpDialStop, EndsADialThatWaits) {  // covers F88
  on_fibers([] {
    const black_hole hole;
    if (!hole.works()) GTEST_SKIP() << "no full queue to be had";
    for (int i = 0; i < 20; ++i) {
      std::atomic<int> begun{0};
      std::stop_source source;
      const dial_options options = announcing(begun);
      auto dial = weft::spawn([&] { static_cast<void>(dial_tcp(hole.where(), options, source.get_token())); });
      if (i % 2 == 0) {
        while (begun == 0) weft::this_fiber::yield();
      }
      if (i % 4 < 2) {
        source.request_stop();
      } else {
        dial.request_stop();
      }
      const auto [code, what] = thrown_by([&] { dial.join(); });
      EXPECT_EQ(code, std::errc::operation_canceled);
      EXPECT_EQ(what, "dial tcp " + hole.where().to_string() + ": operation canceled");
    }
  });
}

TEST(TcpDialStop, ThatStandsLetsNothingBegin) {
  on_fibers([] {
    std::stop_source source;
    source.request_stop();
    std::atomic<int> begun{0};
    const dial_options options = announcing(begun);
    std::error_code ec;
    for (const char* where : {"127.0.0.1:1", "localhost:1", ":1"}) {
      EXPECT_FALSE(dial_tcp(where, options, source.get_token(), ec).is_open());
      EXPECT_EQ(ec, std::errc::operation_canceled);
    }
    EXPECT_EQ(begun, 0);
  });
}

TEST(TcpDialStop, AfterTheDialChangesNothing) {  // covers F89
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    auto server = weft::spawn([&] { weft::net::serve(listener, echo); });
    for (int i = 0; i < scaled(100); ++i) {
      std::stop_source source;
      dial_options options;
      if (i % 2 == 0) options.timeout = 60s;
      tcp_conn conn = dial_tcp(listener.local_endpoint(), options, source.get_token());
      source.request_stop();
      EXPECT_TRUE(answers(conn));
      EXPECT_FALSE(weft::sched::stop_requested());
    }
    listener.close();
    server.join();
  });
}

// Whatever wins, a dial that succeeded gives a connection that works, and one that didn't leaves nothing: on_fibers
// counts the descriptors.
TEST(TcpDialStop, ThatMeetsSuccessLeavesAConnectionThatWorksOrNone) {  // covers F88
  std::atomic<int> won{0};
  std::atomic<int> lost{0};
  on_fibers([&] {
    tcp_listener listener = listen_tcp(":0");
    auto server = weft::spawn([&] { weft::net::serve(listener, echo); });
    const std::string port = std::to_string(listener.local_endpoint().port());
    const endpoint numeric = endpoint::ipv4({127, 0, 0, 1}, listener.local_endpoint().port());
    std::atomic<std::stop_source*> target{nullptr};
    std::atomic<bool> over{false};
    std::thread stopper([&] {  // as close to the connect as can be
      std::minstd_rand random(7);
      while (!over) {
        if (std::stop_source* const source = target.exchange(nullptr)) {
          std::stop_source own = *source;  // the dial's may be gone as soon as the stop is seen
          for (unsigned spin = random() % 400; spin != 0; --spin) std::atomic_signal_fence(std::memory_order_seq_cst);
          own.request_stop();
        } else {
          std::this_thread::yield();
        }
      }
    });
    for (int i = 0; i < scaled(2000); ++i) {
      std::stop_source source;
      dial_options options;
      options.control = [&](int, const endpoint&) {
        target = &source;
        return std::error_code();
      };
      if (i % 3 == 0) options.timeout = 60s;
      std::error_code ec;
      tcp_conn conn = i % 4 == 0 ? dial_tcp(":" + port, options, source.get_token(), ec)
                                 : dial_tcp(numeric, options, source.get_token(), ec);
      while (!source.stop_requested()) weft::this_fiber::yield();
      if (!ec) {
        ++won;
        EXPECT_TRUE(answers(conn));
      } else {
        ++lost;
        EXPECT_EQ(ec, std::errc::operation_canceled);
        EXPECT_FALSE(conn.is_open());
      }
    }
    over = true;
    weft::blocking([&] { stopper.join(); });
    listener.close();
    server.join();
  });
  EXPECT_GT(won + lost, 0);
  RecordProperty("won", won.load());
  RecordProperty("lost", lost.load());
}

// A deadline that passes at the moment of success likewise: the connection works or there is none, and it has no
// deadline.
TEST(TcpDialStop, ATimeoutThatMeetsSuccessLeavesAConnectionThatWorksOrNone) {
  on_fibers([] {
    tcp_listener listener = listen_tcp("127.0.0.1:0");
    auto server = weft::spawn([&] { weft::net::serve(listener, echo); });
    for (int i = 0; i < scaled(2000); ++i) {
      dial_options options;
      options.timeout = std::chrono::nanoseconds(i % 200 * 1000);
      std::error_code ec;
      tcp_conn conn = dial_tcp(listener.local_endpoint(), options, ec);
      if (ec) {
        EXPECT_EQ(ec, std::errc::timed_out);
      } else {
        EXPECT_TRUE(answers(conn));
      }
    }
    listener.close();
    server.join();
  });
}

// Connected means connected: no success of which the next call learns that there never was a peer.
TEST(TcpDialSpurious, AListenerThatClosesNeverMakesAConnectionThatIsNone) {  // covers F90
  std::atomic<int> connected{0};
  std::atomic<int> refused{0};
  on_fibers([&] {
    std::optional<tcp_listener> listener(listen_tcp("127.0.0.1:0"));
    const endpoint where = listener->local_endpoint();
    std::atomic<bool> over{false};
    auto opener = weft::spawn([&] {
      std::error_code ec;
      while (!over) {
        listener->close(ec);
        weft::this_fiber::yield();
        do {
          *listener = listen_tcp(where, ec);
          weft::this_fiber::yield();
        } while (ec && !over);
        for (int i = 0; i < 4; ++i) weft::this_fiber::yield();
      }
    });
    std::vector<weft::fiber<>> dials;
    for (int d = 0; d < 4; ++d) {
      dials.push_back(weft::spawn([&] {
        for (int i = 0; i < scaled(10'000) / 4; ++i) {
          std::error_code ec;
          dial_options options;
          options.timeout = 50ms;  // the system drops what meets the close, and would try again after a second
          tcp_conn conn = dial_tcp(where, options, ec);
          if (ec) {
            // Broken pipe is what the system calls a reset that comes behind the peer's end of stream.
            EXPECT_TRUE(ec == std::errc::connection_refused || ec == std::errc::connection_reset ||
                        ec == std::errc::broken_pipe || ec == std::errc::timed_out)
                << ec.message();
            ++refused;
            continue;
          }
          ++connected;
          EXPECT_NE(conn.local_endpoint(), conn.remote_endpoint());
          conn.write("x", ec);
          EXPECT_NE(ec, std::errc::not_connected);
          conn.set_linger(0s, ec);
        }
      }));
    }
    for (auto& dial : dials) dial.join();
    over = true;
    opener.join();
  });
  EXPECT_GT(connected + refused, 0);
  RecordProperty("connected", connected.load());
  RecordProperty("refused", refused.load());
}

}  // namespace
