// copy between sockets and pipes: by splice.
#include "copy_support.hpp"
#include "runtime_fixture.hpp"
#include "script_stream.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace io = weft::io;  // not copy alone: an error_code argument would bring std::copy in
using std::chrono::milliseconds;
using testing_support::at_most;
using testing_support::connected_pair;
using testing_support::ends;
using testing_support::local_sockets;
using testing_support::native;
using testing_support::on_fibers;
using testing_support::open_descriptors;
using testing_support::pattern;
using testing_support::scaled;
using testing_support::system_pipe;
using testing_support::tcp_pair;
using testing_support::thrown_by;
using testing_support::transfer;
using weft::errc;
using weft::io::read_all;

const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

// Every pair of streams that the system can copy between.
struct stream_pair {
  native from, to;      // what is copied
  native feed, arrive;  // the other ends
};
enum class way { tcp, local, pipe };
native of_tcp(weft::net::tcp_conn& conn) { return native(conn.release(), weft::poll::kind::tcp); }
ends streams(way w) {  // .in is written to, .out read from
  switch (w) {
    case way::local:
      return local_sockets();
    case way::pipe:
      return system_pipe();
    case way::tcp:
      break;
  }
  tcp_pair pair = connected_pair();
  return {of_tcp(pair.server), of_tcp(pair.client)};
}
stream_pair joined(way from, way to) {
  ends source = streams(from);
  ends target = streams(to);
  return {std::move(source.out), std::move(target.in), std::move(source.in), std::move(target.out)};
}

struct Splice : testing::TestWithParam<std::pair<way, way>> {
  stream_pair make() { return joined(GetParam().first, GetParam().second); }
};
constexpr way ways[] = {way::tcp, way::local, way::pipe};
std::vector<std::pair<way, way>> all_pairs() {
  std::vector<std::pair<way, way>> all;
  for (const way a : ways) {
    for (const way b : ways) all.emplace_back(a, b);
  }
  return all;
}
std::string name_of_pair(const testing::TestParamInfo<std::pair<way, way>>& each) {
  const char* const names[] = {"Tcp", "Local", "Pipe"};
  return names[int(each.param.first)] + std::string("To") + names[int(each.param.second)];
}
INSTANTIATE_TEST_SUITE_P(From, Splice, testing::ValuesIn(all_pairs()), name_of_pair);

// covers E81
TEST_P(Splice, MovesEverythingToTheEnd) {
  on_fibers([this] {
    const std::string all = pattern(static_cast<std::size_t>(scaled(10 << 20)) + 13);
    stream_pair s = make();
    auto feed = weft::spawn([&] {
      for (std::size_t at = 0, i = 0; at < all.size(); ++i) {
        const std::size_t n = std::min<std::size_t>(all.size() - at, i % 7 == 0 ? 3 : i * 1009 % 700000);
        s.feed.write(std::string_view(all).substr(at, n));
        at += n;
        if (i % 5 == 0) weft::this_fiber::yield();
      }
      s.feed.close();
    });
    auto move = weft::spawn([&] {
      EXPECT_EQ(io::copy(s.to, s.from), all.size());
      EXPECT_EQ(io::copy(s.to, s.from), 0u);  // the end stays
      s.to.close();
    });
    EXPECT_TRUE(read_all(s.arrive, all.size()) == all);
    feed.join();
    move.join();
  });
}

// covers E81
TEST_P(Splice, IsWhatTheSystemDoesAndStopsAtTheLimit) {
  on_fibers([this] {
    stream_pair s = make();
    s.feed.write("hello world");
    const auto r = transfer(s.to, s.from, 5);
    EXPECT_TRUE(r.handled);
    EXPECT_EQ(r.count, 5u);
    EXPECT_EQ(r.error, 0);
    EXPECT_EQ(io::copy(s.to, s.from, at_most(6)), 6u);
    EXPECT_EQ(io::copy(s.to, s.from, at_most(0)), 0u);
    std::array<char, 11> b;
    EXPECT_EQ(s.arrive.read_full(b), 11u);
    EXPECT_EQ(std::string_view(b.data(), 11), "hello world");
  });
}

// The source goes first: what it had is lost to nobody.
TEST_P(Splice, ADeadlineOfTheSourceLosesNothing) {
  on_fibers([this] {
    stream_pair s = make();
    s.feed.write("one");
    s.from.set_read_deadline(milliseconds(10));
    std::error_code ec;
    EXPECT_EQ(io::copy(s.to, s.from, ec), 3u);
    EXPECT_EQ(ec, timed_out);
    s.feed.write("two");
    EXPECT_EQ(io::copy(s.to, s.from, ec), 0u);  // a deadline that has passed is before the data
    EXPECT_EQ(ec, timed_out);
    EXPECT_EQ(thrown_by([&] { io::copy(s.to, s.from); }).second, "read native: i/o timeout");
    s.from.clear_deadline();
    EXPECT_EQ(io::copy(s.to, s.from, at_most(3)), 3u);
    std::array<char, 6> b;
    EXPECT_EQ(s.arrive.read_full(b), 6u);
    EXPECT_EQ(std::string_view(b.data(), 6), "onetwo");
  });
}

// Nor does one of the target that has passed, a stop that stands, or a close of the target, before the copy begins.
TEST_P(Splice, WhatStandsBeforehandTakesNothingOutOfTheSource) {
  on_fibers([this] {
    stream_pair s = make();
    s.feed.write("data");
    std::error_code ec;
    s.to.set_write_deadline(milliseconds(-1));
    EXPECT_EQ(io::copy(s.to, s.from, ec), 0u);
    EXPECT_EQ(ec, timed_out);
    s.to.clear_deadline();
    std::stop_source source;
    source.request_stop();
    EXPECT_EQ(io::copy(s.to, s.from, source.get_token(), ec), 0u);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    s.to.close();
    EXPECT_EQ(io::copy(s.to, s.from, ec), 0u);
    EXPECT_EQ(ec, errc::closed);
    EXPECT_EQ(thrown_by([&] { io::copy(s.to, s.from); }).second, "write native: closed");
    std::array<char, 4> b;
    EXPECT_EQ(s.from.read_full(b), 4u);
  });
}

// covers E81
TEST_P(Splice, ATargetThatIsFullIsWaitedFor) {
  on_fibers([this] {
    stream_pair s = make();
    const std::string all = pattern(32 << 20);
    auto feed = weft::spawn([&] {
      std::error_code ec;
      s.feed.write(all, ec);
    });
    // Nobody reads: the copy waits for room, and its deadline ends that.
    s.to.set_write_deadline(milliseconds(30));
    std::error_code ec;
    const std::uint64_t n = io::copy(s.to, s.from, ec);
    EXPECT_EQ(ec, timed_out);
    EXPECT_GT(n, 0u);
    EXPECT_LT(n, all.size());
    // What arrives is what was counted; a pipe on either side loses nothing, and the copy goes on.
    s.to.clear_deadline();
    const bool lossless = GetParam().first == way::pipe || GetParam().second == way::pipe;
    if (lossless) {
      auto move = weft::spawn([&] {
        io::copy(s.to, s.from);
        s.to.close();
      });
      std::string got(all.size(), '\0');
      EXPECT_EQ(s.arrive.read_full(got), all.size());
      EXPECT_TRUE(got == all);
      feed.join();
      s.feed.close();
      move.join();
    } else {
      s.from.close();
      feed.join();
      s.to.close();
      EXPECT_TRUE(read_all(s.arrive, all.size()) == all.substr(0, n));
    }
  });
}

// covers E81
// A pipe with something left in it is not used again: the next copies bring their own bytes and no others.
TEST_P(Splice, LeftoversDoNotTurnUpElsewhere) {
  on_fibers([this] {
    const std::string own = pattern(300000);
    const std::string lots(32 << 20, 'x');
    for (int i = 0; i < scaled(5); ++i) {
      stream_pair s = make();
      auto feed = weft::spawn([&] {
        std::error_code ec;
        s.feed.write(lots, ec);
      });
      s.to.set_write_deadline(milliseconds(30));
      std::error_code ec;
      EXPECT_LT(io::copy(s.to, s.from, ec), lots.size());
      EXPECT_EQ(ec, timed_out);
      s.from.close();
      feed.join();
      stream_pair next = make();
      auto feed_next = weft::spawn([&] {
        next.feed.write(own);
        next.feed.close();
      });
      auto move = weft::spawn([&] {
        EXPECT_EQ(io::copy(next.to, next.from), own.size());
        next.to.close();
      });
      EXPECT_TRUE(read_all(next.arrive, 2 * own.size()) == own);
      feed_next.join();
      move.join();
    }
  });
}

// covers E75
TEST_P(Splice, AReaderThatHasGoneIsAnErrorOfTheTarget) {
  on_fibers([this] {
    stream_pair s = make();
    s.arrive.close();
    std::atomic<bool> done = false;
    auto feed = weft::spawn([&] {
      std::error_code ec;
      while (!done && !ec) s.feed.write(std::string(1000, 'x'), ec);
    });
    const auto [code, text] = thrown_by([&] { io::copy(s.to, s.from); });
    EXPECT_TRUE(code == std::errc::broken_pipe || code == std::errc::connection_reset) << code.message();
    EXPECT_EQ(text.substr(0, 13), "write native:");
    done = true;
    s.from.close();
    feed.join();
  });
}

// On a plain thread, whose signals are not the runtime's.
TEST_P(Splice, FromAPlainThreadRaisesNoSignal) {
  on_fibers([this] {
    stream_pair s = make();
    s.arrive.close();
    s.feed.write("data");
    weft::blocking([&] {
      std::thread([&] {
        sigset_t pipe_signal;
        sigemptyset(&pipe_signal);
        sigaddset(&pipe_signal, SIGPIPE);
        pthread_sigmask(SIG_UNBLOCK, &pipe_signal, nullptr);  // it has inherited a worker's mask
        std::error_code ec;
        for (int i = 0; i < 1000 && !ec; ++i) {
          io::copy(s.to, s.from, at_most(1), ec);
          if (!ec) s.feed.write("x");
        }
        EXPECT_TRUE(ec == std::errc::broken_pipe || ec == std::errc::connection_reset) << ec.message();
      }).join();
    });
  });
}

TEST_P(Splice, CloseEndsACopyThatWaits) {
  on_fibers([this] {
    for (const bool source_side : {true, false}) {
      stream_pair s = make();
      std::atomic<bool> began = false;
      auto move = weft::spawn([&] {
        std::error_code ec;
        began = true;
        io::copy(s.to, s.from, ec);
        EXPECT_EQ(ec, errc::closed);
      });
      while (!began) weft::this_fiber::yield();
      for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
      if (source_side) {
        s.from.close();
      } else {
        // It waits for the source, and finds out with the next bytes.
        s.to.close();
        s.feed.write("x");
      }
      move.join();
    }
  });
}

// A copy and plain reads and writes of the same two streams, from many fibers: each byte goes one way, once.
TEST_P(Splice, TakesTurnsWithReadsAndWrites) {
  on_fibers([this] {
    stream_pair s = make();
    const std::size_t total = static_cast<std::size_t>(scaled(2 << 20));
    std::atomic<std::size_t> moved = 0;
    std::vector<weft::fiber<void>> fibers;
    fibers.push_back(weft::spawn([&] {
      s.feed.write(std::string(total, 'x'));
      s.feed.close();
    }));
    for (int i = 0; i < 3; ++i) {
      fibers.push_back(weft::spawn([&] { moved += io::copy(s.to, s.from); }));
      fibers.push_back(weft::spawn([&] {
        std::array<char, 3000> b;
        while (const std::size_t n = s.from.read_some(b)) {
          s.to.write(std::span(b).first(n));
          moved += n;
        }
      }));
    }
    auto count = weft::spawn([&] { return read_all(s.arrive, total + 1).size(); });
    for (auto& f : fibers) f.join();
    s.to.close();
    EXPECT_EQ(count.join(), total);
    EXPECT_EQ(moved.load(), total);
  });
}

// An idle copy costs no descriptor, and the pipes that it used serve the next.
TEST(SplicePipes, AreFewAndReused) {
  on_fibers([] {
    constexpr int pairs = 50;
    std::vector<tcp_pair> in, out;
    for (int i = 0; i < pairs; ++i) {
      in.push_back(connected_pair());
      out.push_back(connected_pair());
    }
    const std::size_t before = open_descriptors();
    std::vector<weft::fiber<std::uint64_t>> copies;
    for (std::size_t i = 0; i < pairs; ++i) {
      copies.push_back(weft::spawn([&, i] { return io::copy(out[i].client, in[i].server); }));
    }
    const std::string much = pattern(100000);
    for (int round = 0; round < 3; ++round) {
      for (std::size_t i = 0; i < pairs; ++i) {
        in[i].client.write(much);
        std::string got(much.size(), '\0');
        EXPECT_EQ(out[i].server.read_full(got), much.size());
        EXPECT_TRUE(got == much);
      }
      EXPECT_GT(open_descriptors(), before);
      EXPECT_LE(open_descriptors(), before + 2 * 16);
    }
    for (std::size_t i = 0; i < pairs; ++i) {
      in[i].client.close();
      EXPECT_EQ(copies[i].join(), 3 * much.size());
    }
  });
}

// Without a descriptor for a pipe the copy goes through memory.
TEST(SplicePipes, AreNotNeeded) {
  on_fibers([] {
    tcp_pair in = connected_pair();
    tcp_pair out = connected_pair();
    rlimit old{};
    ::getrlimit(RLIMIT_NOFILE, &old);
    const rlimit none{0, old.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    const std::string much = pattern(50000);
    in.client.write(much);
    in.client.shutdown(weft::net::shutdown_side::write);
    EXPECT_EQ(io::copy(out.client, in.server), much.size());
    ::setrlimit(RLIMIT_NOFILE, &old);
    std::string got(much.size(), '\0');
    EXPECT_EQ(out.server.read_full(got), got.size());
    EXPECT_TRUE(got == much);
  });
}

// A read that was short says that the socket is empty; a copy that reads from it must not leave that standing.
TEST(SpliceOfTcp, AReadAfterACopyFindsWhatIsThere) {
  on_fibers([] {
    tcp_pair in = connected_pair();
    tcp_pair out = connected_pair();
    std::array<char, 16> b;
    for (int i = 0; i < scaled(500); ++i) {
      in.client.write("abc");
      EXPECT_EQ(in.server.read_some(b), 3u);
      in.client.write("defghi");
      EXPECT_EQ(io::copy(out.client, in.server, at_most(2)), 2u);
      EXPECT_EQ(in.server.read_full(std::span(b).first(4)), 4u);
    }
  });
}

}  // namespace
