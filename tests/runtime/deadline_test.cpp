// Deadlines of connections and listeners, end to end.
#include "tcp_pair.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using clock = std::chrono::steady_clock;
using testing_support::connected_pair;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::tcp_pair;
using testing_support::thrown_by;

constexpr std::size_t much = 32 << 20;  // more than two sockets' buffers take

std::error_code read_code(weft::net::tcp_conn& c, char* data, std::size_t size, std::size_t* n = nullptr) {
  std::error_code ec;
  const std::size_t got = c.read_some(weft::mutable_buffer(data, size), ec);
  if (n != nullptr) *n = got;
  return ec;
}

std::error_code read_code(weft::net::tcp_conn& c) {
  char data[16];
  return read_code(c, data, sizeof data);
}

TEST(Deadline, PastFailsAReadThoughDataIsThereTwice) {  // covers B22 B43
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.client.write("data"sv);
    p.server.wait_readable();
    p.server.set_read_deadline(clock::now() - 1s);
    for (int i = 0; i < 2; ++i) {
      char data[16];
      std::size_t n = 7;
      EXPECT_EQ(read_code(p.server, data, sizeof data, &n), std::errc::timed_out);
      EXPECT_EQ(n, 0u);
    }
    p.server.clear_deadline();
    char data[4];
    EXPECT_EQ(p.server.read_full(data), 4u);
    EXPECT_EQ(std::string(data, 4), "data");
  });
}

TEST(Deadline, PastFailsAWriteThoughThereIsRoomTwice) {  // covers B23 B43
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.server.set_write_deadline(clock::now() - 1s);
    for (int i = 0; i < 2; ++i) {
      std::error_code ec;
      EXPECT_EQ(p.server.write("x"sv, ec), 0u);
      EXPECT_EQ(ec, std::errc::timed_out);
    }
    p.server.set_write_deadline(1h);
    p.server.write("y"sv);
    char c;
    EXPECT_EQ(p.client.read_some(weft::mutable_buffer(&c, 1)), 1u);
    EXPECT_EQ(c, 'y');
  });
}

TEST(Deadline, PastFailsAnAcceptThoughAConnectionIsQueuedTwice) {  // covers B24
  on_fibers([] {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    weft::net::tcp_conn client = weft::net::dial_tcp(listener.local_endpoint());
    listener.set_deadline(clock::now() - 1s);
    for (int i = 0; i < 2; ++i) {
      std::error_code ec;
      EXPECT_FALSE(listener.accept(ec).is_open());
      EXPECT_EQ(ec, std::errc::timed_out);
    }
    listener.clear_deadline();
    EXPECT_TRUE(listener.accept().is_open());
  });
}

// Every way to say now or earlier. A default time point is the epoch of the clock, not "none".
TEST(Deadline, NowZeroAndNegativeArePast) {  // covers B25
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.client.write("data"sv);
    p.server.wait_readable();
    const std::function<void()> past[] = {
        [&] { p.server.set_deadline(clock::now()); },
        [&] { p.server.set_deadline(clock::time_point()); },
        [&] { p.server.set_deadline(clock::time_point::min()); },
        [&] { p.server.set_deadline(0s); },
        [&] { p.server.set_deadline(-1ns); },
        [&] { p.server.set_deadline(-24h); },
        [&] { p.server.set_deadline(std::chrono::nanoseconds::min()); },
        [&] { p.server.set_deadline(std::chrono::duration<double>(-0.5)); },
    };
    for (const auto& set : past) {
      p.server.clear_deadline();
      set();
      EXPECT_EQ(read_code(p.server), std::errc::timed_out);
      std::error_code ec;
      p.server.write("x"sv, ec);
      EXPECT_EQ(ec, std::errc::timed_out);
    }
  });
}

TEST(Deadline, SetWhereThereWasNoneFires) {  // covers B26
  on_fibers([] {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    const auto at = clock::now() + 10ms;
    weft::fiber<std::error_code> f = weft::spawn([&] {
      std::error_code ec;
      (void)listener.accept(ec);
      return ec;
    });
    weft::this_fiber::yield();
    listener.set_deadline(at);
    EXPECT_EQ(f.join(), std::errc::timed_out);
    EXPECT_GE(clock::now(), at);
  });
}

TEST(Deadline, TakenAwayItDoesNotFireAndCloseEndsTheCall) {  // covers B26 B30
  on_fibers([] {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    for (const auto set : {clock::now() - 5s, clock::now() + 2ms}) {
      listener.set_deadline(set);
      listener.clear_deadline();
    }
    std::atomic<bool> over{false};
    weft::fiber<std::error_code> f = weft::spawn([&] {
      std::error_code ec;
      (void)listener.accept(ec);
      over = true;
      return ec;
    });
    weft::this_fiber::sleep_for(20ms);  // the alarm of the second one rings meanwhile
    EXPECT_FALSE(over);
    listener.close();
    EXPECT_EQ(f.join(), weft::errc::closed);
  });
}

TEST(Deadline, OfOneDirectionLeavesTheOtherAlone) {  // covers B27
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.server.set_write_deadline(0s);
    weft::fiber<std::error_code> reader = weft::spawn([&] { return read_code(p.server); });
    weft::this_fiber::yield();
    p.server.set_write_deadline(1ms);
    weft::this_fiber::sleep_for(5ms);
    p.client.write("x"sv);
    EXPECT_EQ(reader.join(), std::error_code());
    p.server.set_read_deadline(0s);
    p.server.clear_deadline();
    p.server.set_read_deadline(0s);
    p.server.write("y"sv);
    weft::fiber<std::error_code> writer = weft::spawn([&] {
      std::error_code ec;
      p.server.write(std::string(much, 'w'), ec);
      return ec;
    });
    weft::this_fiber::yield();
    p.server.set_read_deadline(1ms);
    weft::this_fiber::sleep_for(5ms);
    p.server.close();
    EXPECT_EQ(writer.join(), weft::errc::closed);
  });
}

TEST(Deadline, MovedToThePastEndsAParkedRead) {  // covers B28
  on_fibers([] {
    tcp_pair p = connected_pair();
    const int rounds = scaled(100);
    for (int i = 0; i < rounds; ++i) {
      p.server.set_deadline(1h);
      weft::fiber<std::error_code> f = weft::spawn([&] { return read_code(p.server); });
      if (i % 2 == 0) weft::this_fiber::yield();
      p.server.set_read_deadline(i % 3 == 0 ? clock::time_point() : clock::now());
      EXPECT_EQ(f.join(), std::errc::timed_out);
    }
  });
}

TEST(Deadline, ExtendedBeforeItPassesItFiresAtTheNewTime) {  // covers B29 B37
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.server.set_read_deadline(5ms);
    weft::fiber<std::error_code> f = weft::spawn([&] { return read_code(p.server); });
    auto at = clock::now();
    for (int i = 0; i < 10; ++i) {
      at = clock::now() + 15ms;
      p.server.set_read_deadline(at);
      weft::this_fiber::sleep_for(2ms);
    }
    EXPECT_EQ(f.join(), std::errc::timed_out);
    EXPECT_GE(clock::now(), at);
  });
}

TEST(Deadline, ExtendedAfterItPassedTheHandleWorksAgain) {  // covers B30
  on_fibers([] {
    tcp_pair p = connected_pair();
    for (int i = 0; i < 3; ++i) {
      p.server.set_deadline(1ms);
      EXPECT_EQ(read_code(p.server), std::errc::timed_out);
      p.server.set_deadline(1h);
      p.client.write("x"sv);
      EXPECT_EQ(read_code(p.server), std::error_code());
      p.server.write("y"sv);
    }
  });
}

TEST(Deadline, CombinedEndsBothDirections) {  // covers B31
  on_fibers([] {
    tcp_pair p = connected_pair();
    const auto at = clock::now() + 20ms;
    p.server.set_deadline(at);
    weft::fiber<std::error_code> reader = weft::spawn([&] { return read_code(p.server); });
    std::error_code ec;
    EXPECT_LT(p.server.write(std::string(much, 'w'), ec), much);
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_GE(clock::now(), at);
    EXPECT_EQ(reader.join(), std::errc::timed_out);
  });
}

TEST(Deadline, CombinedThenOneMovedTheOtherFiresAtTheOldTime) {  // covers B32 B33
  on_fibers([] {
    tcp_pair p = connected_pair();
    for (int i = 0; i < 5; ++i) {
      const auto at = clock::now() + 5ms;
      p.server.set_deadline(at);
      p.server.set_write_deadline(1h);
      EXPECT_EQ(read_code(p.server), std::errc::timed_out);
      EXPECT_GE(clock::now(), at);
      p.server.write("x"sv);
      p.server.set_deadline(1h);
      p.client.write("x"sv);
      EXPECT_EQ(read_code(p.server), std::error_code());
    }
  });
}

TEST(Deadline, TheLongestNeitherOverflowsNorFires) {  // covers B35
  on_fibers([] {
    tcp_pair p = connected_pair();
    const std::function<void()> far[] = {
        [&] { p.server.set_deadline(std::chrono::nanoseconds::max()); },
        [&] { p.server.set_deadline(std::chrono::hours::max()); },
        [&] { p.server.set_deadline(clock::time_point::max()); },
        [&] { p.server.set_deadline(clock::time_point::max() - 1ns); },
        [&] { p.server.set_deadline(std::chrono::duration<double>(1e300)); },
    };
    for (const auto& set : far) {
      set();
      weft::fiber<std::error_code> f = weft::spawn([&] { return read_code(p.server); });
      weft::this_fiber::sleep_for(2ms);
      p.client.write("x"sv);
      EXPECT_EQ(f.join(), std::error_code());
      p.server.write("y"sv);
    }
  });
}

TEST(Deadline, OfAnyLengthEndsAReadAndNeverEarly) {  // covers B36 B37
  on_fibers([] {
    for (const auto d :
         std::initializer_list<std::chrono::nanoseconds>{1ns, 2ns, 5ns, 50ns, 100ns, 200ns, 500ns, 750ns, 1us, 5us,
                                                         25us, 250us, 500us, 1ms, 5ms, 100ms, 250ms, 500ms, 1s}) {
      tcp_pair p = connected_pair();
      for (int i = 0; i < (d < 10ms ? 3 : 1); ++i) {
        const auto before = clock::now();
        p.client.set_deadline(d);
        EXPECT_EQ(read_code(p.client), std::errc::timed_out) << d.count();
        EXPECT_GE(clock::now() - before, d);
      }
    }
  });
}

// The growing limit is Go's: a loaded machine may be late, but not by a tenth every time.
TEST(Deadline, IsSoonNoticed) {  // covers B37
  on_fibers([] {
    tcp_pair p = connected_pair();
    std::chrono::nanoseconds d = 1ms;
    for (;; d *= 2) {
      const auto before = clock::now();
      p.client.set_read_deadline(before + d);
      EXPECT_EQ(read_code(p.client), std::errc::timed_out);
      const auto took = clock::now() - before;
      EXPECT_GE(took, d);
      if (took <= d + d / 10) break;
      ASSERT_LE(d, 4s) << "late by more than a tenth: " << took.count() << " ns";
    }
  });
}

// Readers and writers push their own deadlines forward; others do too, and to the past.
TEST(Deadline, PushedByManyWhileDataMoves) {  // covers B38
  on_fibers([] {
    tcp_pair p = connected_pair();
    const int rounds = scaled(1000);
    std::atomic<int> running{2};
    const auto read_rounds = [&] {
      for (int i = 0; i < rounds;) {
        p.server.set_read_deadline(1ms);
        const std::error_code ec = read_code(p.server);
        if (!ec) ++i;
        if (ec) {
          EXPECT_EQ(ec, std::errc::timed_out);
        }
      }
      --running;
    };
    const auto write_rounds = [&] {
      for (int i = 0; i < rounds;) {
        p.client.set_write_deadline(1ms);
        std::error_code ec;
        p.client.write("0123456789abcdef"sv, ec);
        if (!ec) ++i;
        if (ec) {
          EXPECT_EQ(ec, std::errc::timed_out);
        }
        weft::this_fiber::yield();
      }
      --running;
    };
    const auto push = [&](weft::net::tcp_conn& c) {
      for (int i = 0; running != 0; ++i) {
        if (i % 2 == 0) {
          c.set_deadline(i % 32 == 0 ? 0us : 2us);
        } else {
          c.set_deadline(1ms);
        }
        weft::this_fiber::yield();
      }
    };
    weft::fiber<void> all[] = {weft::spawn(read_rounds), weft::spawn(write_rounds),
                               weft::spawn([&] { push(p.server); }), weft::spawn([&] { push(p.client); })};
    for (auto& f : all) f.join();
  });
}

TEST(Deadline, MovedEverEarlierByEightFibersOnTenConnections) {  // covers B39
  on_fibers([] {
    std::vector<tcp_pair> pairs;
    for (int i = 0; i < 10; ++i) pairs.push_back(connected_pair());
    std::vector<weft::fiber<void>> fibers;
    for (int f = 0; f < 8; ++f) {
      fibers.push_back(weft::spawn([&] {
        for (int n = 100; n > 0; --n) {
          for (tcp_pair& p : pairs) p.server.set_deadline(std::chrono::milliseconds(n));
          weft::this_fiber::yield();
        }
      }));
    }
    for (auto& f : fibers) f.join();
    for (tcp_pair& p : pairs) EXPECT_EQ(read_code(p.server), std::errc::timed_out);
  });
}

TEST(Deadline, OfAWriteTellsWhatWasSent) {  // covers B40
  on_fibers([] {
    tcp_pair p = connected_pair();
    const std::string data(much, 'w');
    p.server.set_write_deadline(50ms);
    std::size_t sent = 0;
    try {
      p.server.write(data);
      ADD_FAILURE() << "sent into nowhere";
    } catch (const weft::io_error& e) {
      EXPECT_EQ(e.code(), std::errc::timed_out);
      sent = e.transferred();
    }
    EXPECT_GT(sent, 0u);
    EXPECT_LT(sent, much);
    p.server.close();
    std::size_t got = 0;
    std::vector<char> sink(1 << 20);
    while (const std::size_t n = p.client.read_some(sink)) got += n;
    EXPECT_EQ(got, sent);
  });
}

TEST(Deadline, OfAClosedHandleIsClosed) {  // covers B41
  on_fibers([] {
    tcp_pair p = connected_pair();
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    p.server.close();
    listener.close();
    const auto [code, text] = thrown_by([&] { p.server.set_deadline(1s); });
    EXPECT_EQ(code, weft::errc::closed);
    EXPECT_NE(text.find("deadline"), std::string::npos) << text;
    std::error_code ec;
    listener.set_deadline(clock::now(), ec);
    EXPECT_EQ(ec, weft::errc::closed);
    weft::net::tcp_conn none;
    none.clear_deadline(ec);
    EXPECT_EQ(ec, weft::errc::closed);
    p.client.set_deadline(1s, ec);
    EXPECT_EQ(ec, std::error_code());
    EXPECT_EQ(read_code(p.server), weft::errc::closed) << "closed comes before timed out";
  });
}

TEST(Deadline, ErrorsTellByTheirPredicates) {  // covers B42
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.server.set_deadline(0s);
    const std::error_code timeout = read_code(p.server);
    EXPECT_TRUE(weft::is_timeout(timeout));
    EXPECT_TRUE(weft::is_temporary(timeout));
    EXPECT_FALSE(weft::is_closed(timeout));
    try {
      char c;
      p.server.read_some(weft::mutable_buffer(&c, 1));
      ADD_FAILURE() << "read behind its deadline";
    } catch (const weft::io_error& e) {
      EXPECT_TRUE(e.timeout());
      EXPECT_TRUE(e.temporary());
      EXPECT_EQ(std::string_view(e.what()).substr(0, 9), "read tcp ") << e.what();
    }
    p.server.close();
    const std::error_code closed = read_code(p.server);
    EXPECT_FALSE(weft::is_timeout(closed));
    EXPECT_FALSE(weft::is_temporary(closed));
    EXPECT_TRUE(weft::is_closed(closed));
  });
}

TEST(Deadline, StandsFromCallToCall) {  // covers B43
  on_fibers([] {
    tcp_pair p = connected_pair();
    const auto at = clock::now() + 30ms;
    p.server.set_read_deadline(at);
    weft::fiber<void> writer = weft::spawn([&] {
      std::error_code ec;
      while (!ec) {
        p.client.write("x"sv, ec);
        weft::this_fiber::sleep_for(1ms);
      }
      EXPECT_EQ(ec, weft::errc::closed);
    });
    int reads = 0;
    std::error_code ec;
    while (!(ec = read_code(p.server))) ++reads;
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_GE(clock::now(), at);
    EXPECT_GT(reads, 0);
    EXPECT_EQ(read_code(p.server), std::errc::timed_out);
    p.client.close();
    writer.join();
  });
}

TEST(Deadline, AnEmptyReadDoesNotLookAtIt) {  // covers E68
  on_fibers([] {
    tcp_pair p = connected_pair();
    p.server.set_deadline(0s);
    char c;
    EXPECT_EQ(read_code(p.server, &c, 0), std::error_code());
    std::error_code ec;
    p.server.wait_readable(ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    p.server.wait_writable(ec);
    EXPECT_EQ(ec, std::errc::timed_out);
  });
}

TEST(Deadline, WorksFromPlainThreads) {  // covers B22 B26 B28
  on_fibers([] {
    tcp_pair p = connected_pair();
    weft::blocking([&] {
      std::thread([&] {
        const auto at = clock::now() + 5ms;
        p.server.set_read_deadline(at);
        EXPECT_EQ(read_code(p.server), std::errc::timed_out);
        EXPECT_GE(clock::now(), at);
        p.client.write("x"sv);
        p.server.wait_writable();
        EXPECT_EQ(read_code(p.server), std::errc::timed_out);
        p.server.clear_deadline();
        EXPECT_EQ(read_code(p.server), std::error_code());
      }).join();
      // Whether the read is parked already when the deadline passes, or comes later: it ends.
      for (int i = 0; i < 50; ++i) {
        p.server.set_read_deadline(1h);
        std::atomic<bool> begun{false};
        std::thread reader([&] {
          begun = true;
          EXPECT_EQ(read_code(p.server), std::errc::timed_out);
        });
        while (!begun) std::this_thread::yield();
        p.server.set_read_deadline(clock::now());
        reader.join();
      }
    });
  });
}

}  // namespace
