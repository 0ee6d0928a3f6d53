// Channels.
#include "channel_seam.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::TEST_await_receivers;
using testing_support::TEST_await_senders;
using testing_support::thrown_by;
using weft::channel;

// yield_a_while lets others come as far as they get without this fiber.
void yield_a_while() {
  for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
}

// covers G92
TEST(Channel, KeepsTheOrderWhateverItsCapacity) {
  on_fibers([] {
    for (const std::size_t capacity : {0u, 1u, 2u, 7u, 100u}) {
      const channel<int> c(capacity);
      const int n = scaled(2000);
      auto sender = weft::spawn([&] {
        for (int i = 0; i < n; ++i) c.send(i);
        c.close();
      });
      int expected = 0;
      for (const int got : c) EXPECT_EQ(got, expected++);
      EXPECT_EQ(expected, n);
      sender.join();
    }
  });
}

// covers G92
TEST(Channel, ParkedReceiversAreServedInTurn) {
  on_fibers([] {
    const channel<int> c(3);
    std::vector<weft::fiber<void>> receivers;
    for (int i = 0; i < 5; ++i) {
      receivers.push_back(weft::spawn([&, i] { EXPECT_EQ(c.receive(), i); }));
      TEST_await_receivers(c, receivers.size());
    }
    for (int i = 0; i < 5; ++i) c.send(i);
    for (auto& r : receivers) r.join();
    EXPECT_EQ(c.size(), 0u);
  });
}

// covers G93
TEST(Channel, ANullOneIsNeverReady) {
  on_fibers([] {
    const channel<int> null;
    EXPECT_FALSE(null);
    EXPECT_EQ(null.size() + null.capacity(), 0u);
    EXPECT_FALSE(null.try_send(1));
    EXPECT_EQ(null.try_receive(), std::nullopt);
    std::error_code ec;
    EXPECT_EQ(null.try_receive_for(1ms, ec), std::nullopt);
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_FALSE(null.try_send_for(1, 1ms));
    EXPECT_EQ(thrown_by([&] { null.close(); }).second, "close null channel: invalid argument");
    auto sender = weft::spawn([&] { null.send(1); });
    auto receiver = weft::spawn([&] { static_cast<void>(null.receive()); });
    yield_a_while();
    sender.request_stop();
    receiver.request_stop();
    EXPECT_THROW(sender.join(), weft::canceled_error);
    EXPECT_THROW(receiver.join(), weft::canceled_error);
  });
}

// covers G94, G101
TEST(Channel, CloseEndsSendsAndReceives) {
  on_fibers([] {
    const channel<int> c(0);
    std::atomic<int> ended{0};
    std::vector<weft::fiber<void>> waiting;
    for (int i = 0; i < 50; ++i) {
      waiting.push_back(weft::spawn([&] {
        EXPECT_EQ(c.receive(), std::nullopt);
        ++ended;
      }));
    }
    TEST_await_receivers(c, waiting.size());
    c.close();
    for (auto& w : waiting) w.join();
    EXPECT_EQ(ended, 50);
    EXPECT_EQ(thrown_by([&] { c.close(); }).second, "close channel: closed");
    EXPECT_EQ(thrown_by([&] { c.send(1); }).second, "send to channel: closed");
    EXPECT_EQ(thrown_by([&] { static_cast<void>(c.try_send(1)); }).first, weft::errc::closed);

    const channel<std::string> full(1);
    full.send("first");
    std::string mine(100, 'm');
    auto sender = weft::spawn([&] {
      std::error_code ec;
      full.send(std::move(mine), ec);
      return ec;
    });
    TEST_await_senders(full);
    full.close();
    EXPECT_EQ(sender.join(), weft::errc::closed);
    EXPECT_EQ(mine, std::string(100, 'm'));  // not moved from
    EXPECT_EQ(full.receive(), "first");      // what was in the buffer
  });
}

// covers G95
TEST(Channel, AClosedOneIsDrainedAndThenEnds) {
  on_fibers([] {
    const channel<int> c(10);
    for (int i = 0; i < 10; ++i) c.send(i);
    EXPECT_EQ(c.size(), 10u);
    EXPECT_EQ(c.capacity(), 10u);
    c.close();
    for (int i = 0; i < 10; ++i) EXPECT_EQ(c.receive(), i);
    std::error_code ec = std::make_error_code(std::errc::timed_out);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(c.receive(ec), std::nullopt);
      EXPECT_FALSE(ec);
      EXPECT_EQ(c.try_receive(ec), std::nullopt);
      EXPECT_FALSE(ec);
      EXPECT_EQ(c.try_receive_for(1h, ec), std::nullopt);
      EXPECT_FALSE(ec);
    }
  });
}

// covers G96
TEST(Channel, AParkedSendersValueBecomesTheLast) {
  on_fibers([] {
    const channel<int> c(2);
    c.send(1);
    c.send(2);
    auto sender = weft::spawn([&] { c.send(3); });
    TEST_await_senders(c);
    EXPECT_FALSE(c.try_send(4));
    EXPECT_EQ(c.receive(), 1);
    sender.join();
    EXPECT_EQ(c.size(), 2u);
    EXPECT_EQ(c.receive(), 2);
    EXPECT_EQ(c.receive(), 3);
  });
}

// covers G97
TEST(Channel, AReceiveThatRacesWithCloseFindsAnItemOrTheEnd) {
  on_fibers([] {
    for (int i = 0; i < scaled(2000); ++i) {
      const channel<int> c(1);
      c.send(1);
      auto receiver = weft::spawn([&] {
        std::error_code ec;
        const auto got = c.try_receive(ec);
        EXPECT_FALSE(ec);
        return got;
      });
      c.close();
      static_cast<void>(c.try_receive());
      receiver.join();
    }
  });
}

// covers G98
TEST(Channel, ManyConsumersGetEachValueOnce) {
  on_fibers([] {
    const int items = scaled(271'828);
    const channel<int> queue(11);
    const channel<int> results(17);
    std::vector<weft::fiber<void>> consumers;
    for (int i = 0; i < 23; ++i) {
      consumers.push_back(weft::spawn([&, i] {
        for (const int v : queue) {
          if (v % (i + 3) == 0) weft::this_fiber::yield();  // as if there were something to do
          results.send(v);
        }
      }));
    }
    auto producer = weft::spawn([&] {
      for (int i = 0; i < items; ++i) queue.send(i * 7 % 100);
      queue.close();
      for (auto& c : consumers) c.join();
      results.close();
    });
    long expected = 0;
    for (int i = 0; i < items; ++i) expected += i * 7 % 100;
    long sum = 0;
    int n = 0;
    for (const int v : results) {
      sum += v;
      ++n;
    }
    EXPECT_EQ(n, items);
    EXPECT_EQ(sum, expected);
    producer.join();
  });
}

// covers G99
TEST(Channel, AChainPassesATokenAndGoes) {
  on_fibers([] {
    const int n = scaled(10'000);
    channel<int> left(0);
    const channel<int> first = left;
    for (int i = 0; i < n; ++i) {
      const channel<int> right(0);
      weft::go([left, right] { left.send(1 + *right.receive()); });
      left = right;
    }
    left.send(1);
    EXPECT_EQ(first.receive(), n + 1);
  });
}

// counted counts its living values, and throws as it is moved when told to.
struct counted {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> throw_in{-1};  // moves until one throws; negative: none does

  explicit counted(int v) : value(v) { ++alive; }
  counted(counted&& other) : value(other.value) {
    if (throw_in >= 0 && throw_in-- == 0) throw std::runtime_error("moved");
    other.value = -1;
    ++alive;
  }
  counted& operator=(counted&&) = delete;
  ~counted() { --alive; }
  int value;
};

// covers G100
TEST(Channel, MoveOnlyElementsAreNeitherLostNorDoubled) {
  on_fibers([] {
    const channel<std::unique_ptr<int>> c(3);
    const int n = scaled(5000);
    auto sender = weft::spawn([&] {
      for (int i = 0; i < n; ++i) c.send(std::make_unique<int>(i));
      c.close();
    });
    int expected = 0;
    for (std::unique_ptr<int>& p : c) EXPECT_EQ(*p, expected++);
    EXPECT_EQ(expected, n);
    sender.join();
    {
      const channel<counted> left(5);
      for (int i = 0; i < 5; ++i) left.send(counted(i));
      EXPECT_EQ(counted::alive, 5);
      EXPECT_EQ(left.receive()->value, 0);
    }
    EXPECT_EQ(counted::alive, 0);  // those left in the buffer went with the channel
  });
}

// covers G100. Whichever move throws, in whichever constellation: the value is where it was, and can be had again.
TEST(Channel, AnElementThatThrowsStaysWhereItIs) {
  on_fibers([] {
    for (const std::size_t capacity : {0u, 1u, 2u}) {
      for (int bad = 0; bad < 6; ++bad) {
        const channel<counted> c(capacity);
        counted::throw_in = bad;
        std::vector<int> got;
        auto sender = weft::spawn([&] {
          for (int i = 0; i < 4; ++i) {
            counted value(i);
            for (bool sent = false; !sent;) {
              try {
                c.send(std::move(value));
                sent = true;
              } catch (const std::runtime_error&) {
                EXPECT_EQ(value.value, i);
              }
            }
          }
          c.close();
        });
        for (bool more = true; more;) {
          try {
            const std::optional<counted> v = c.receive();
            more = v.has_value();
            if (more) got.push_back(v->value);
          } catch (const std::runtime_error&) {
          }
        }
        sender.join();
        EXPECT_EQ(got, (std::vector<int>{0, 1, 2, 3})) << "capacity " << capacity << ", move " << bad;
        EXPECT_EQ(counted::alive, 0);
      }
    }
    counted::throw_in = -1;
  });
}

struct empty {};

// covers G102
TEST(Channel, SizesAndImpossibleCapacities) {
  const channel<empty> nothing(1000);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(nothing.try_send(empty()));
  EXPECT_FALSE(nothing.try_send(empty()));
  EXPECT_EQ(nothing.size(), 1000u);
  const std::size_t absurd = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(thrown_by([&] { channel<int> c(absurd); }).first, std::errc::not_enough_memory);
  EXPECT_EQ(thrown_by([&] { channel<std::string> c(absurd / sizeof(std::string)); }).first,
            std::errc::not_enough_memory);
  struct alignas(64) wide {
    int v;
  };
  const channel<wide> w(2);
  w.send(wide{7});
  EXPECT_EQ(w.receive()->v, 7);
  const channel<int> a(1);
  const channel<int> b = a;
  EXPECT_EQ(a, b);
  EXPECT_NE(a, channel<int>(1));
}

TEST(Channel, TimedCallsGiveUp) {
  on_fibers([] {
    const channel<std::string> c(0);
    std::error_code ec;
    EXPECT_EQ(c.try_receive(ec), std::nullopt);
    EXPECT_EQ(ec, std::errc::operation_would_block);
    EXPECT_EQ(c.try_receive_for(2ms, ec), std::nullopt);
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_EQ(c.try_receive_for(-1s), std::nullopt);
    std::string mine = "still here";
    EXPECT_FALSE(c.try_send_for(std::move(mine), 2ms));
    EXPECT_EQ(mine, "still here");
    auto receiver = weft::spawn([&] { return c.try_receive_for(1h); });
    EXPECT_TRUE(c.try_send_until(std::move(mine), std::chrono::steady_clock::time_point::max()));
    EXPECT_EQ(receiver.join(), "still here");
    EXPECT_FALSE(c.try_send("nobody there"));
  });
}

TEST(Channel, TimedCallsNeedNoRuntime) {
  const channel<int> c(0);
  EXPECT_EQ(c.try_receive_for(2ms), std::nullopt);
  EXPECT_FALSE(c.try_send_for(1, 2ms));
  EXPECT_EQ(weft::select(weft::on_receive(c), weft::on_timeout(2ms)), 1u);
  std::thread sender([&] { EXPECT_TRUE(c.try_send_for(5, 1h)); });
  EXPECT_EQ(c.try_receive_for(1h), 5);
  sender.join();
}

TEST(Channel, StopsEndTheWaitAndNothingElse) {
  on_fibers([] {
    const channel<int> c(0);
    std::stop_source source;
    std::error_code ec;
    auto receiver = weft::spawn([&] { return c.receive(source.get_token(), ec); });
    TEST_await_receivers(c);
    source.request_stop();
    EXPECT_EQ(receiver.join(), std::nullopt);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    EXPECT_THROW(static_cast<void>(c.receive(source.get_token())), weft::canceled_error);
    EXPECT_FALSE(c.try_send(1));  // it has left the queue
    auto sender = weft::spawn([&] { c.send(1); });
    TEST_await_senders(c);
    sender.request_stop();
    EXPECT_THROW(sender.join(), weft::canceled_error);
    EXPECT_EQ(c.try_receive(), std::nullopt);
    c.close();
  });
}

// A stop that races with the transfer: the value arrives or is still the sender's, never both.
TEST(Channel, AStopThatRacesWithAReceiverLosesNothing) {
  on_fibers([] {
    const channel<int> c(0);
    int sent = 0;
    std::atomic<int> received{0};
    auto drain = weft::spawn([&] {
      for ([[maybe_unused]] const int v : c) ++received;
    });
    for (int i = 0; i < scaled(3000); ++i) {
      std::stop_source source;
      auto stopper = weft::spawn([&] { source.request_stop(); });
      std::error_code ec;
      c.send(i, source.get_token(), ec);
      if (!ec) ++sent;
      stopper.join();
    }
    c.close();
    drain.join();
    EXPECT_EQ(received, sent);
  });
}

TEST(Channel, PlainThreadsTakePart) {
  const channel<int> c(2);
  const channel<long> sums(0);
  const int n = scaled(2000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      long sum = 0;
      while (const std::optional<int> v = c.receive()) sum += *v;
      sums.send(sum);
    });
  }
  on_fibers([&] {
    std::vector<weft::fiber<void>> senders;
    for (int s = 0; s < 4; ++s) {
      senders.push_back(weft::spawn([&] {
        for (int i = 1; i <= n; ++i) c.send(i);
      }));
    }
    for (auto& s : senders) s.join();
    c.close();
    EXPECT_EQ(*sums.receive() + *sums.receive(), 4l * n * (n + 1) / 2);
  });
  for (std::thread& t : threads) t.join();
}

TEST(Channel, ItsEndsDoOneThingEach) {
  on_fibers([] {
    const channel<int> c(1);
    const weft::sender<int> in = c;
    const weft::receiver<int> out = c;
    in.send(5);
    EXPECT_EQ(out.receive(), 5);
    in.close();
    EXPECT_EQ(out.receive(), std::nullopt);
    EXPECT_TRUE(in && out);
    EXPECT_FALSE(weft::receiver<int>());
  });
}

// The channel goes with its last handle, though somebody waits at it: he keeps it.
TEST(Channel, OutlivesItsHandlesWhileSomebodyWaits) {
  on_fibers([] {
    auto c = std::make_unique<channel<int>>(0);
    auto receiver = weft::spawn([p = c.get()] { return p->receive(); });
    TEST_await_receivers(*c);
    const weft::sender<int> in = *c;
    c.reset();
    in.send(3);
    EXPECT_EQ(receiver.join(), 3);
  });
}

// covers G103: leaving a queue of many in the middle costs no more than of few. Counted by time it would be a benchmark;
// here a thousand times as many waiters leave in any order, and all are gone.
TEST(Channel, WaitersLeaveFromTheMiddle) {
  on_fibers([] {
    const channel<int> c(0);
    std::vector<weft::fiber<void>> waiting;
    const int n = scaled(5000);
    for (int i = 0; i < n; ++i) {
      waiting.push_back(weft::spawn([&] {
        std::error_code ec;
        static_cast<void>(c.receive(ec));
        EXPECT_EQ(ec, std::errc::operation_canceled);
      }));
    }
    TEST_await_receivers(c, waiting.size());
    for (int i = 0; i < n; ++i) waiting[static_cast<std::size_t>(i * 7919l % n)].request_stop();
    for (auto& w : waiting) w.request_stop();
    for (auto& w : waiting) w.join();
    EXPECT_FALSE(c.try_send(1));
  });
}

}  // namespace
