// select among descriptors: readiness as a case like others.
#include "channel_seam.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::connected_pair;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::scaled;
using weft::channel;
using weft::on_readable;
using weft::on_receive;
using weft::on_timeout;
using weft::on_writable;
using weft::otherwise;
using weft::select;

void yield_a_while() {
  for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
}

// covers H113
TEST(SelectReady, IsACaseLikeOthers) {
  on_fibers([] {
    auto pair = connected_pair();
    const channel<int> c(1);
    EXPECT_EQ(select(on_readable(pair.server), otherwise()), 1u);
    EXPECT_EQ(select(on_writable(pair.server), otherwise()), 0u);
    EXPECT_EQ(select(on_readable(pair.server), on_receive(c), on_timeout(1ms)), 2u);
    pair.client.write("x");
    EXPECT_EQ(select(on_receive(c), on_readable(pair.server), on_timeout(1h)), 1u);
    // Nothing was read, and it is told again.
    EXPECT_EQ(select(on_readable(pair.server), otherwise()), 0u);
    std::array<char, 8> buffer;
    EXPECT_EQ(pair.server.read_some(buffer), 1u);
    EXPECT_EQ(select(on_readable(pair.server), otherwise()), 1u);
    auto sender = weft::spawn([&] {
      yield_a_while();
      c.send(1);
    });
    EXPECT_EQ(select(on_readable(pair.server), on_receive(c)), 1u);
    sender.join();
    auto writer = weft::spawn([&] {
      yield_a_while();
      pair.client.write("y");
    });
    EXPECT_EQ(select(on_readable(pair.server), on_receive(c)), 0u);
    writer.join();
  });
}

// covers H113
TEST(SelectReady, TheEndAnErrorADeadlineAndACloseAreReadiness) {
  on_fibers([] {
    {
      auto pair = connected_pair();
      auto ender = weft::spawn([&] {
        yield_a_while();
        pair.client.shutdown(weft::net::shutdown_side::write);
      });
      EXPECT_EQ(select(on_readable(pair.server), on_timeout(1h)), 0u);
      ender.join();
      std::array<char, 1> byte;
      EXPECT_EQ(pair.server.read_some(byte), 0u);
    }
    {
      auto pair = connected_pair();
      pair.server.set_read_deadline(2ms);
      EXPECT_EQ(select(on_readable(pair.server), on_timeout(1h)), 0u);
      std::array<char, 1> byte;
      std::error_code ec;
      pair.server.read_some(byte, ec);
      EXPECT_EQ(ec, std::errc::timed_out);
      EXPECT_EQ(select(on_readable(pair.server), otherwise()), 0u);
      pair.server.clear_deadline();
      EXPECT_EQ(select(on_readable(pair.server), otherwise()), 1u);
    }
    {
      auto pair = connected_pair();
      gate selects;
      auto closer = weft::spawn([&] {
        selects.pass();
        yield_a_while();
        pair.server.close();
      });
      selects.open();
      EXPECT_EQ(select(on_readable(pair.server), on_timeout(1h)), 0u);
      closer.join();
      EXPECT_EQ(select(on_readable(pair.server), otherwise()), 0u);  // closed already
      const weft::net::tcp_conn none;
      EXPECT_EQ(select(on_writable(none), otherwise()), 0u);
    }
  });
}

TEST(SelectReady, AHandlerMayCloseWhatItWaitedFor) {
  on_fibers([] {
    auto pair = connected_pair();
    const int number = pair.server.native_handle();
    const channel<int> c(1);
    c.send(1);
    EXPECT_EQ(select(on_readable(pair.server), on_receive(c, [&](std::optional<int>) { pair.server.close(); })), 1u);
    EXPECT_FALSE(testing_support::is_open_number(number));
  });
}

TEST(SelectReady, AHandleMayGoWhileItIsWaitedFor) {
  on_fibers([] {
    auto pair = connected_pair();
    auto goes = std::make_unique<weft::net::tcp_conn>(std::move(pair.server));
    const channel<int> never(0);
    auto ender = weft::spawn([&] {
      testing_support::TEST_await_receivers(never, 1);
      goes.reset();
    });
    EXPECT_EQ(select(on_readable(*goes), on_receive(never)), 0u);
    ender.join();
  });
}

TEST(SelectReady, BesidesAReaderAndOtherSelects) {
  on_fibers([] {
    auto pair = connected_pair();
    std::atomic<int> told = 0;
    std::atomic<bool> got = false;
    auto reader = weft::spawn([&] {
      std::array<char, 1> byte;
      EXPECT_EQ(pair.server.read_some(byte), 1u);
      got = true;
    });
    std::vector<weft::fiber<>> watchers;
    for (int i = 0; i < 3; ++i) {
      watchers.push_back(weft::spawn([&] {
        EXPECT_EQ(select(on_readable(pair.server), on_timeout(1h)), 0u);
        ++told;
      }));
    }
    yield_a_while();
    pair.client.write("xy");  // the reader leaves the second
    for (auto& w : watchers) w.join();
    reader.join();
    EXPECT_EQ(told, 3);
    EXPECT_TRUE(got);
  });
}

TEST(SelectReady, AListenerIsReadableWhenSomebodyConnects) {
  on_fibers([] {
    auto listener = weft::net::listen_tcp("127.0.0.1:0");
    EXPECT_EQ(select(on_readable(listener), otherwise()), 1u);
    auto dialer = weft::spawn([&] { return weft::net::dial_tcp(listener.local_endpoint()); });
    EXPECT_EQ(select(on_readable(listener), on_timeout(1h)), 0u);
    static_cast<void>(listener.accept());
    dialer.join();
  });
}

TEST(SelectReady, PipesInsideTheProgramMeet) {
  on_fibers([] {
    auto ends = weft::io::pipe();
    auto& a = ends.first;
    auto& b = ends.second;
    EXPECT_EQ(select(on_readable(a), otherwise()), 1u);
    EXPECT_EQ(select(on_writable(a), otherwise()), 1u);  // nobody reads
    auto writer = weft::spawn([&] {
      EXPECT_EQ(select(on_writable(a), on_timeout(1h)), 0u);
      a.write("abc");
    });
    EXPECT_EQ(select(on_readable(b), on_timeout(1h)), 0u);
    std::array<char, 3> buffer;
    EXPECT_EQ(b.read_full(buffer), 3u);
    writer.join();
    EXPECT_EQ(select(on_writable(a), otherwise()), 1u);
    auto closer = weft::spawn([&] {
      yield_a_while();
      a.close();
    });
    EXPECT_EQ(select(on_readable(b), on_timeout(1h)), 0u);
    closer.join();
  });
}

TEST(SelectReady, FilesAlwaysAre) {
  on_fibers([] {
    auto file = weft::os::open_file("/dev/null");
    EXPECT_EQ(select(on_readable(file), otherwise()), 0u);
  });
}

TEST(SelectReady, WorksOnPlainThreads) {
  weft::runtime rt;
  std::thread([&] {
    const auto guard = rt.enter();
    auto pair = connected_pair();
    const channel<int> c(0);
    EXPECT_EQ(select(on_readable(pair.server), on_timeout(1ms)), 1u);
    std::thread writer([&] { pair.client.write("x"); });
    EXPECT_EQ(select(on_readable(pair.server), on_receive(c)), 0u);
    writer.join();
  }).join();
}

// A stop ends it as any wait, and leaves the descriptor usable.
TEST(SelectReady, IsEndedByAStop) {
  on_fibers([] {
    auto pair = connected_pair();
    for (int i = 0; i < scaled(300); ++i) {
      auto waiting = weft::spawn([&] { select(on_readable(pair.server), on_timeout(1h)); });
      for (int k = 0; k < i % 4; ++k) weft::this_fiber::yield();
      waiting.request_stop();
      EXPECT_THROW(waiting.join(), weft::canceled_error);
    }
    pair.client.write("x");
    EXPECT_EQ(select(on_readable(pair.server), on_timeout(1h)), 0u);
  });
}

// Several descriptors in one select, whichever way that ends.
TEST(SelectReady, OfSeveralDescriptors) {
  on_fibers([] {
    auto a = connected_pair();
    auto b = connected_pair();
    weft::timer t(1ms);
    EXPECT_EQ(select(weft::on_tick(t), on_readable(a.server), on_readable(b.server)), 0u);
    EXPECT_EQ(select(on_readable(a.server), on_readable(b.server), on_timeout(1ms)), 2u);
    std::stop_source source;
    auto stopper = weft::spawn([&] { source.request_stop(); });
    EXPECT_EQ(select(on_readable(a.server), on_readable(b.server), weft::on_stop(source.get_token())), 2u);
    stopper.join();
    b.client.write("x");
    EXPECT_EQ(select(on_readable(a.server), on_readable(b.server), on_writable(b.server)) == 0, false);
    // A channel that becomes ready while the descriptors are looked at.
    const channel<int> c(0);
    for (int i = 0; i < scaled(500); ++i) {
      auto sender = weft::spawn([&] { c.send(i); });
      EXPECT_EQ(select(on_readable(a.server), on_receive(c), on_readable(a.client)), 1u);
      sender.join();
    }
  });
}

// Stops and times that come before the wait has begun, or while it ends.
TEST(SelectReady, IsEndedAtAnyMoment) {
  weft::runtime rt;
  std::atomic<std::stop_source*> next = nullptr;
  std::atomic<bool> over = false;
  std::thread stopper([&] {
    while (!over) {
      if (std::stop_source* const s = next.exchange(nullptr)) {
        std::stop_source mine(*s);  // the other may go as soon as it tells of the request
        mine.request_stop();
      }
    }
  });
  rt.spawn([&] {
    auto a = connected_pair();
    auto b = connected_pair();
    for (int i = 0; i < scaled(2000); ++i) {
      std::stop_source source;
      next = &source;
      EXPECT_EQ(select(on_readable(a.server), on_readable(b.server), weft::on_stop(source.get_token())), 2u);
      EXPECT_EQ(select(on_readable(a.server), on_timeout(std::chrono::microseconds(i % 20)), on_readable(b.server)), 1u);
      const weft::timeout_scope scope(std::chrono::microseconds(i % 20));
      EXPECT_THROW(select(on_readable(a.server), on_readable(b.server)), weft::canceled_error);
      while (!source.stop_requested()) std::this_thread::yield();
    }
  }).join();
  over = true;
  stopper.join();
}

// Each byte is announced, whatever else happens at that moment: a select that missed one would wait for ever.
TEST(SelectReady, MissesNothing) {
  on_fibers([] {
    const int rounds = scaled(3000);
    auto pair = connected_pair();
    const channel<int> c(0);
    auto writer = weft::spawn([&] {
      std::uint32_t dice = 7;
      for (int i = 0; i < rounds; ++i) {
        dice = dice * 1664525u + 1013904223u;
        for (std::uint32_t k = 0; k < dice % 4; ++k) weft::this_fiber::yield();
        if (dice >> 16 & 1) {
          pair.client.write("x");
          std::array<char, 1> echo;
          EXPECT_EQ(pair.client.read_some(echo), 1u);
        } else {
          c.send(i);
        }
      }
      c.close();
    });
    int seen = 0;
    for (bool over = false; !over;) {
      select(on_receive(c,
                        [&](std::optional<int> v) {
                          over = !v;
                          seen += v ? 1 : 0;
                        }),
             on_readable(pair.server, [&] {
               std::array<char, 1> byte;
               pair.server.read_some(byte);
               pair.server.write(byte);
               ++seen;
             }));
    }
    writer.join();
    EXPECT_EQ(seen, rounds);
  });
}

}  // namespace
