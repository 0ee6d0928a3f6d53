// What every connection does, over a real one and one inside the program. The cases are those that Go tests its
// connections with.
#include "runtime_fixture.hpp"
#include "script_stream.hpp"
#include "tcp_pair.hpp"

#include <weft/io.hpp>

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing_support::on_fibers;
using testing_support::pattern;
using testing_support::scaled;
using testing_support::thrown_by;
using weft::errc;

const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

template <class Conn>
std::pair<Conn, Conn> make_pair() {
  if constexpr (std::is_same_v<Conn, weft::io::pipe_end>) {
    return weft::io::pipe();
  } else {
    auto pair = testing_support::connected_pair();
    return {std::move(pair.client), std::move(pair.server)};
  }
}

template <class Conn>
struct Conns : testing::Test {};
using both = testing::Types<weft::net::tcp_conn, weft::io::pipe_end>;
TYPED_TEST_SUITE(Conns, both);

// covers E83
TYPED_TEST(Conns, CarryManyBytesBothWays) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string all = pattern(static_cast<std::size_t>(scaled(8 << 20)));
    auto echo = weft::spawn([&b] {
      weft::io::copy(b, b);
      b.close();
    });
    auto send = weft::spawn([&] { a.write(all); });
    std::string back(all.size(), '\0');
    EXPECT_EQ(a.read_full(back), all.size());
    EXPECT_TRUE(back == all);
    send.join();
    a.close();
    echo.join();
  });
}

TYPED_TEST(Conns, PingPong) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    const int rounds = scaled(10000);
    const auto count_up = [&](TypeParam& conn, int first) {
      std::uint64_t value = 0;
      if (first != 0) conn.write(std::as_bytes(std::span(&value, 1)));
      while (conn.read_full(std::as_writable_bytes(std::span(&value, 1))) == sizeof value) {
        if (++value > static_cast<std::uint64_t>(rounds)) break;
        conn.write(std::as_bytes(std::span(&value, 1)));
      }
      conn.close();
      EXPECT_GE(value, static_cast<std::uint64_t>(rounds));
    };
    auto other = weft::spawn([&] { count_up(b, 0); });
    count_up(a, 1);
    other.join();
  });
}

// covers E79
TYPED_TEST(Conns, AnyNumberOfBuffersInOneCall) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string all = pattern(30000);
    for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{15}, std::size_t{17}, std::size_t{1023},
                                std::size_t{1024}, std::size_t{1025}, std::size_t{3000}}) {
      std::vector<weft::const_buffer> pieces;
      std::string sum;
      for (std::size_t i = 0; i < n; ++i) {
        const std::string_view piece = std::string_view(all).substr(i * 7 % 20000, i % 3 == 1 ? 0 : 1 + i % 10);
        pieces.emplace_back(piece);
        sum += piece;
      }
      auto write = weft::spawn([&] {
        std::error_code ec;
        EXPECT_EQ(a.writev(pieces, ec), sum.size());
        EXPECT_FALSE(ec);
      });
      std::string got;
      std::array<char, 5> first;
      std::array<char, 3000> second;
      while (got.size() < sum.size()) {
        const std::size_t r = b.readv({weft::mutable_buffer(), first, weft::mutable_buffer(), second});
        got.append(first.data(), std::min(r, first.size()));
        if (r > first.size()) got.append(second.data(), r - first.size());
      }
      EXPECT_TRUE(got == sum) << n;
      write.join();
    }
    std::error_code ec;
    EXPECT_EQ(a.writev(std::span<const weft::const_buffer>(), ec), 0u);
    EXPECT_FALSE(ec);
    EXPECT_EQ(b.readv(std::span<const weft::mutable_buffer>(), ec), 0u);
    EXPECT_FALSE(ec);
  });
}

// Readers and writers of one connection at the same time, under deadlines that come and go.
TYPED_TEST(Conns, RacingReadsAndWritesUnderDeadlines) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    auto pump = weft::spawn([&b] {
      std::error_code ec;
      weft::io::copy(b, b, ec);
    });
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < 10; ++i) {
      fibers.push_back(weft::spawn([&a, i] {
        std::array<char, 1024> buffer{};
        for (int round = 0; round < 10; ++round) {
          std::error_code ec;
          a.set_deadline(milliseconds(1));
          const std::size_t n = i % 2 == 0 ? a.read_some(buffer, ec) : a.write(buffer, ec);
          EXPECT_TRUE(!ec || ec == timed_out) << ec.message();
          EXPECT_TRUE(!ec || i % 2 == 1 || n == 0) << n;
        }
      }));
    }
    for (auto& f : fibers) f.join();
    a.close();
    pump.join();
  });
}

// covers E83
TYPED_TEST(Conns, AReadDeadlineEndsAReadAndNoWrite) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 16> buffer;
    std::error_code ec;
    const auto start = steady_clock::now();
    a.set_read_deadline(milliseconds(20));
    EXPECT_EQ(a.read_some(buffer, ec), 0u);
    EXPECT_EQ(ec, timed_out);
    EXPECT_GE(steady_clock::now() - start, milliseconds(20));
    EXPECT_EQ(a.read_some(buffer, ec), 0u);
    EXPECT_EQ(ec, timed_out);
    auto reader = weft::spawn([&b, &buffer] { EXPECT_EQ(b.read_some(buffer), 3u); });
    a.write("abc");
    reader.join();
    a.set_read_deadline(steady_clock::time_point::max());
    auto writer = weft::spawn([&b] { b.write("de"); });
    EXPECT_EQ(a.read_some(buffer, ec), 2u);
    EXPECT_FALSE(ec);
    writer.join();
  });
}

// covers E83 B40
TYPED_TEST(Conns, AWriteDeadlineTellsHowMuchWasTaken) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string all = pattern(32 << 20);
    std::error_code ec;
    a.set_write_deadline(milliseconds(30));
    const std::size_t n = a.write(all, ec);
    EXPECT_EQ(ec, timed_out);
    EXPECT_LT(n, all.size());
    EXPECT_EQ(a.write("more", ec), 0u);
    EXPECT_EQ(ec, timed_out);
    EXPECT_EQ(thrown_by([&] { a.write("x"); }).first, timed_out);
    a.close();
    const std::string got = weft::io::read_all(b, all.size());
    EXPECT_TRUE(got == all.substr(0, n)) << got.size() << " " << n;
  });
}

// covers E83
TYPED_TEST(Conns, PastAndPresentDeadlinesEndEverything) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    auto writer = weft::spawn([&b] {
      std::error_code ec;
      b.write("data", ec);
    });
    std::array<char, 16> buffer;
    const auto past = steady_clock::time_point(std::chrono::nanoseconds(1));
    for (int i = 0; i < 2; ++i) {
      std::error_code ec;
      if (i == 0) a.set_deadline(past);
      if (i == 1) a.set_deadline(milliseconds(0));
      EXPECT_EQ(a.read_some(buffer, ec), 0u);
      EXPECT_EQ(ec, timed_out);
      EXPECT_EQ(a.write("x", ec), 0u);
      EXPECT_EQ(ec, timed_out);
    }
    a.clear_deadline();
    EXPECT_EQ(a.read_full(std::span(buffer).first(4)), 4u);
    writer.join();
  });
}

TYPED_TEST(Conns, MovingTheDeadlineToThePastEndsWaits) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    const std::string all(32 << 20, 'x');
    for (int i = 0; i < scaled(100); ++i) {
      a.set_deadline(std::chrono::hours(1));
      std::atomic<int> began = 0;
      auto reader = weft::spawn([&a, &began] {
        std::array<char, 16> buffer;
        std::error_code ec;
        ++began;
        a.read_some(buffer, ec);
        EXPECT_EQ(ec, timed_out);
      });
      auto writer = weft::spawn([&a, &all, &began] {
        std::error_code ec;
        ++began;
        a.write(all, ec);
        EXPECT_EQ(ec, timed_out);
      });
      while (began < 2) weft::this_fiber::yield();
      a.set_deadline(milliseconds(-1));
      reader.join();
      writer.join();
    }
  });
}

// covers E83
TYPED_TEST(Conns, CloseEndsWaitsOnBothEnds) {
  on_fibers([] {
    const std::string all(32 << 20, 'x');
    for (int i = 0; i < scaled(100); ++i) {
      auto ends = make_pair<TypeParam>();
      auto& a = ends.first;
      auto& b = ends.second;
      std::atomic<int> began = 0;
      std::vector<weft::fiber<void>> fibers;
      fibers.push_back(weft::spawn([&a, &all, &began] {
        std::error_code ec;
        ++began;
        EXPECT_LT(a.write(all, ec), all.size());
        EXPECT_EQ(ec, errc::closed);
      }));
      if (i % 2 == 0) {
        fibers.push_back(weft::spawn([&a, &began] {
          std::array<char, 16> buffer;
          std::error_code ec;
          ++began;
          EXPECT_EQ(a.read_some(buffer, ec), 0u);
          EXPECT_EQ(ec, errc::closed);
        }));
      } else {
        fibers.push_back(weft::spawn([&b, &all, &began] {
          std::error_code ec;
          ++began;
          EXPECT_LT(b.write(all, ec), all.size());
          EXPECT_TRUE(ec == std::errc::broken_pipe || ec == std::errc::connection_reset) << ec.message();
        }));
      }
      while (began < 2) weft::this_fiber::yield();
      for (int y = 0; y < i % 5; ++y) weft::this_fiber::yield();
      a.close();
      for (auto& f : fibers) f.join();
      std::error_code ec;
      a.close(ec);
      EXPECT_EQ(ec, errc::closed);
      EXPECT_FALSE(a.is_open());
      EXPECT_TRUE(b.is_open());
      a.set_deadline(milliseconds(1), ec);
      EXPECT_EQ(ec, errc::closed);
    }
  });
}

TYPED_TEST(Conns, AStopEndsOneCallAndTellsHowMuchWasTaken) {
  on_fibers([] {
    for (int i = 0; i < scaled(50); ++i) {
      auto ends = make_pair<TypeParam>();
      auto& a = ends.first;
      auto& b = ends.second;
      const std::string all = pattern(8 << 20);
      std::stop_source source;
      std::atomic<std::size_t> sent = 0;
      std::atomic<bool> began = false;
      auto writer = weft::spawn([&] {
        std::error_code ec;
        began = true;
        sent = a.write(all, source.get_token(), ec);
        EXPECT_EQ(ec, std::errc::operation_canceled);
        a.close();
      });
      std::string got(static_cast<std::size_t>(i) * 1000, '\0');
      EXPECT_EQ(b.read_full(got), got.size());
      while (!began) weft::this_fiber::yield();
      source.request_stop();
      writer.join();
      got += weft::io::read_all(b, all.size());
      EXPECT_EQ(got.size(), sent.load());
      EXPECT_TRUE(got == all.substr(0, got.size()));
    }
  });
}

TYPED_TEST(Conns, WaitsWithoutABuffer) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    auto writer = weft::spawn([&b] {
      b.wait_writable();
      b.write("hi");
    });
    std::error_code ec;
    a.wait_readable();
    std::array<char, 16> buffer;
    EXPECT_EQ(a.read_some(buffer), 2u);
    writer.join();
    a.set_read_deadline(milliseconds(5));
    a.wait_readable(ec);
    EXPECT_EQ(ec, timed_out);
    a.clear_deadline();
    b.close();
    a.wait_readable(ec);
    EXPECT_FALSE(ec);
    EXPECT_EQ(a.read_some(buffer), 0u);
  });
}

// Every call from everywhere, plain threads too: for the sanitizers, and that it ends.
TYPED_TEST(Conns, AllMethodsAtOnceFromFibersAndThreads) {
  on_fibers([] {
    auto ends = make_pair<TypeParam>();
    auto& a = ends.first;
    auto& b = ends.second;
    auto pump = weft::spawn([&b] {
      std::error_code ec;
      weft::io::copy(b, b, ec);
    });
    const auto all_methods = [&a](int seed) {
      std::array<char, 64> buffer{};
      for (int i = 0; i < 50; ++i) {
        std::error_code ec;
        switch ((seed + i) % 6) {
          case 0:
            a.read_some(buffer, ec);
            break;
          case 1:
            a.write(buffer, ec);
            break;
          case 2:
            a.set_deadline(milliseconds(1), ec);
            break;
          case 3:
            a.set_read_deadline(milliseconds(1), ec);
            break;
          case 4:
            a.set_write_deadline(milliseconds(1), ec);
            break;
          case 5:
            (void)a.is_open();
            break;
        }
        EXPECT_TRUE(!ec || ec == timed_out) << ec.message();
      }
    };
    a.set_deadline(milliseconds(1));
    std::vector<std::thread> threads;
    threads.emplace_back(all_methods, 0);
    threads.emplace_back(all_methods, 1);
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < 20; ++i) fibers.push_back(weft::spawn([&, i] { all_methods(i); }));
    for (auto& f : fibers) f.join();
    weft::blocking([&] {
      for (auto& t : threads) t.join();
    });
    a.close();
    pump.join();
  });
}

}  // namespace
