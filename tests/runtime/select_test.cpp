// select.
#include "channel_seam.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
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
using weft::on_receive;
using weft::on_send;
using weft::on_stop;
using weft::on_timeout;
using weft::otherwise;
using weft::select;

void yield_a_while() {
  for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
}

TEST(Select, MakesOneCaseAndSaysWhich) {
  on_fibers([] {
    const channel<int> a(1);
    const channel<std::string> b(1);
    std::string seen;
    const auto both = [&] {
      return select(on_receive(a, [&](std::optional<int> v) { seen = v ? std::to_string(*v) : "end"; }),
                    on_receive(b, [&](std::optional<std::string> v) { seen = v.value_or("end"); }));
    };
    a.send(1);
    EXPECT_EQ(both(), 0u);
    EXPECT_EQ(seen, "1");
    b.send("two");
    EXPECT_EQ(both(), 1u);
    EXPECT_EQ(seen, "two");
    auto later = weft::spawn([&] { a.send(3); });
    EXPECT_EQ(both(), 0u);
    EXPECT_EQ(seen, "3");
    later.join();
    EXPECT_EQ(select(on_receive(b), on_send(a, 4)), 1u);
    EXPECT_EQ(a.receive(), 4);
  });
}

// covers H104
TEST(Select, TakesOtherwiseOnlyIfNothingCanGoOn) {
  on_fibers([] {
    const channel<int> empty(0);
    const channel<int> full(1);
    full.send(1);
    EXPECT_EQ(select(on_receive(empty), on_send(full, 2), otherwise()), 2u);
    EXPECT_EQ(select(otherwise(), on_receive(full)), 1u);
    // One of the two always has something in it: otherwise is never taken.
    for (int i = 0; i < scaled(2000); ++i) {
      const channel<int> c1(1);
      const channel<int> c2(1);
      c1.send(1);
      auto mover = weft::spawn([&] {
        select(on_send(c2, 1), otherwise());
        select(on_receive(c1), otherwise());
      });
      EXPECT_NE(select(on_receive(c1), on_receive(c2), otherwise()), 2u);
      mover.join();
    }
    // Likewise when a channel is closed instead.
    for (int i = 0; i < scaled(2000); ++i) {
      const channel<int> c1(1);
      const channel<int> c2(0);
      c1.send(1);
      auto closer = weft::spawn([&] {
        c2.close();
        select(on_receive(c1), otherwise());
      });
      EXPECT_NE(select(on_receive(c1), on_receive(c2), otherwise()), 2u);
      closer.join();
    }
  });
}

// covers H105
TEST(Select, ChoosesUniformly) {
  on_fibers([] {
    const int n = 10'000;  // a count, not a load
    std::array<channel<int>, 4> cs;
    for (channel<int>& c : cs) {
      c = channel<int>(static_cast<std::size_t>(n));
      for (int i = 0; i < n; ++i) c.send(1);
    }
    std::array<int, 4> chosen{};
    for (int i = 0; i < n; ++i) {
      ++chosen[select(on_receive(cs[0]), on_receive(cs[1]), on_receive(cs[2]), on_receive(cs[3]))];
    }
    const double expected = n / 4.0;
    for (const int c : chosen) EXPECT_LT(std::abs(c - expected), 10 * std::sqrt(n * 0.25 * 0.75));
  });
}

// covers H106
TEST(Select, NullChannelsAndNothingAtAll) {
  on_fibers([] {
    const channel<int> null;
    const channel<int> one(1);
    EXPECT_EQ(select(on_receive(null), on_send(null, 1), otherwise()), 2u);
    EXPECT_EQ(select(on_receive(null), on_send(one, 1)), 1u);
    EXPECT_EQ(select(on_receive(null), on_timeout(1ms)), 1u);
    EXPECT_EQ(select(otherwise()), 0u);
    auto empty = weft::spawn([] { select(); });
    auto nulls = weft::spawn([&] { select(on_receive(null), on_send(null, 1)); });
    yield_a_while();
    empty.request_stop();
    nulls.request_stop();
    EXPECT_THROW(empty.join(), weft::canceled_error);
    EXPECT_THROW(nulls.join(), weft::canceled_error);
  });
}

// covers H107
TEST(Select, SendingAndReceivingOnOneChannelMeetsOthersOnly) {
  for (const std::size_t capacity : {0u, 10u}) {
    on_fibers([&] {
      const channel<int> c(capacity);
      const int n = scaled(1000);
      std::vector<weft::fiber<void>> both;
      for (int p = 0; p < 2; ++p) {
        both.push_back(weft::spawn([&, p] {
          for (int i = 0; i < n; ++i) {
            // The kind of the case that comes first alternates.
            const auto take = [&](std::optional<int> v) {
              EXPECT_TRUE(capacity != 0 || *v != p);
            };
            if (p == 0 || i % 2 == 0) {
              select(on_receive(c, take), on_send(c, p));
            } else {
              select(on_send(c, p), on_receive(c, take));
            }
          }
        }));
      }
      for (auto& b : both) b.join();
    });
  }
}

TEST(Select, ChannelsMayComeSeveralTimes) {
  on_fibers([] {
    const channel<int> c(0);
    const channel<int> d(0);
    auto selecting = weft::spawn([&] { return select(on_receive(c), on_receive(c), on_receive(d), on_receive(d)); });
    TEST_await_receivers(d, 2);
    d.send(1);
    EXPECT_GE(selecting.join(), 2u);
    EXPECT_FALSE(c.try_send(1));
    EXPECT_FALSE(d.try_send(1));
  });
}

// covers H108. A value of each sender is taken by one of the two cases, once.
TEST(Select, SeveralWakersMakeOneCase) {
  on_fibers([] {
    const int n = scaled(20'000);
    std::array<channel<int>, 4> cs;
    for (channel<int>& c : cs) c = channel<int>(0);
    std::vector<weft::fiber<void>> senders;
    for (int s = 0; s < 4; ++s) {
      senders.push_back(weft::spawn([&, s] {
        for (int i = s; i < n; i += 4) cs[static_cast<std::size_t>(s)].send(i);
      }));
    }
    std::vector<char> seen(static_cast<std::size_t>(n), 0);
    int count = 0;
    const auto mark = [&](std::optional<int> v) {
      ASSERT_TRUE(v);
      EXPECT_EQ(seen[static_cast<std::size_t>(*v)]++, 0) << *v;
      ++count;
    };
    for (int i = 0; i < n; ++i) {
      select(on_receive(cs[0], mark), on_receive(cs[1], mark), on_receive(cs[2], mark), on_receive(cs[3], mark));
    }
    for (auto& s : senders) s.join();
    EXPECT_EQ(count, n);
  });
}

// covers H109
TEST(Select, LosersLeaveTheMiddleOfTheirQueues) {
  on_fibers([] {
    const channel<int> c1(0);
    const channel<int> c2(0);
    auto first = weft::spawn([&] { return *c1.receive(); });
    TEST_await_receivers(c1);
    auto middle = weft::spawn([&] { return select(on_receive(c1), on_receive(c2)); });
    TEST_await_receivers(c1, 2);
    auto last = weft::spawn([&] { return *c1.receive(); });
    TEST_await_receivers(c1, 3);
    c2.send(0);
    EXPECT_EQ(middle.join(), 1u);
    c1.send(1);
    c1.send(2);
    EXPECT_EQ(first.join(), 1);
    EXPECT_EQ(last.join(), 2);
    EXPECT_FALSE(c1.try_send(3));
  });
}

// covers H110
TEST(Select, ClosedChannels) {
  on_fibers([] {
    const channel<int> c(0);
    const channel<int> other(0);
    auto receiving = weft::spawn([&] {
      bool end = false;
      select(on_receive(c, [&](std::optional<int> v) { end = !v; }), on_receive(other));
      return end;
    });
    auto sending = weft::spawn([&] { select(on_send(c, 1), on_receive(other)); });
    // They meet each other first; a second pair parks.
    receiving.join();
    sending.join();
    auto again = weft::spawn([&] { select(on_send(c, 1), on_receive(other)); });
    TEST_await_senders(c);
    c.close();
    EXPECT_EQ(thrown_by([&] { again.join(); }).second, "send to channel: closed");
    EXPECT_EQ(thrown_by([&] { select(on_send(c, 1), otherwise()); }).first, weft::errc::closed);
    bool end = false;
    EXPECT_EQ(select(on_receive(other), on_receive(c, [&](std::optional<int> v) { end = !v; })), 1u);
    EXPECT_TRUE(end);
  });
}

// covers H111, H108
TEST(Select, AHundredThousandLeaveNothing) {
  on_fibers([] {
    const channel<int> a(0);
    const channel<int> b(0);
    const channel<int> stop(0);
    const int n = scaled(100'000);
    auto echo = weft::spawn([&] {
      for (int i = 0; i < n; ++i) select(on_receive(a), on_receive(b), on_receive(stop));
    });
    for (int i = 0; i < n; ++i) select(on_send(a, 1), on_send(b, 2));
    echo.join();
    EXPECT_FALSE(stop.try_send(1));
  });
}

// covers H112: all shapes at once, as Go's TestSelectStress.
TEST(Select, StressOnFourChannels) {
  on_fibers([] {
    const int n = scaled(5000);
    std::array<channel<int>, 4> c{channel<int>(0), channel<int>(0), channel<int>(2), channel<int>(3)};
    std::vector<weft::fiber<void>> all;
    for (std::size_t k = 0; k < 4; ++k) {
      all.push_back(weft::spawn([&, k] {
        for (int i = 0; i < n; ++i) c[k].send(0);
      }));
      all.push_back(weft::spawn([&, k] {
        for (int i = 0; i < n; ++i) static_cast<void>(c[k].receive());
      }));
    }
    const auto share = [&](bool sends) {
      std::array<int, 4> left{n, n, n, n};
      std::array<channel<int>, 4> mine = c;
      for (int i = 0; i < 4 * n; ++i) {
        const std::size_t k = sends ? select(on_send(mine[3], 0), on_send(mine[2], 0), on_send(mine[0], 0),
                                             on_send(mine[1], 0))
                                    : select(on_receive(mine[0]), on_receive(mine[1]), on_receive(mine[2]),
                                             on_receive(mine[3]));
        constexpr std::array<std::size_t, 4> as_sent{3, 2, 0, 1};
        const std::size_t which = sends ? as_sent[k] : k;
        if (--left[which] == 0) mine[which] = {};  // null from here on
      }
    };
    all.push_back(weft::spawn([&] { share(true); }));
    all.push_back(weft::spawn([&] { share(false); }));
    for (auto& f : all) f.join();
    for (const channel<int>& each : c) EXPECT_EQ(each.try_receive(), std::nullopt);
  });
}

// covers H113
TEST(Select, TimeoutsAndStops) {
  on_fibers([] {
    const channel<int> c(0);
    EXPECT_EQ(select(on_receive(c), on_timeout(2ms)), 1u);
    EXPECT_EQ(select(on_timeout(1h), on_receive(c), on_timeout(-1s)), 2u);
    EXPECT_EQ(select(on_timeout(1h), on_timeout(1ms)), 1u);
    const channel<int> ready(1);
    ready.send(1);
    EXPECT_EQ(select(on_timeout(0s), on_receive(ready)), 1u);  // no timeout before what can go on
    std::stop_source source;
    std::stop_source other;
    auto waiting = weft::spawn([&] {
      return select(on_receive(c), on_stop(other.get_token()), on_stop(source.get_token()), on_timeout(1h));
    });
    TEST_await_receivers(c);
    source.request_stop();
    EXPECT_EQ(waiting.join(), 2u);
    EXPECT_EQ(select(on_receive(c), on_stop(source.get_token())), 1u);
    EXPECT_FALSE(c.try_send(1));
    auto stopped = weft::spawn([&] { select(on_receive(c), on_stop(other.get_token()), on_timeout(1h)); });
    TEST_await_receivers(c);
    stopped.request_stop();
    EXPECT_THROW(stopped.join(), weft::canceled_error);
    EXPECT_EQ(select(on_receive(c), otherwise()), 1u);
  });
}

TEST(Select, TheValueIsMovedFromOnlyIfItIsSent) {
  on_fibers([] {
    const channel<std::string> full(1);
    const channel<std::string> room(1);
    full.send("there");
    std::string mine = "mine";
    std::string other = "other";
    EXPECT_EQ(select(on_send(full, std::move(mine)), on_send(room, other)), 1u);
    EXPECT_EQ(mine, "mine");
    EXPECT_EQ(other, "other");  // was copied
    EXPECT_EQ(room.receive(), "other");
    EXPECT_EQ(select(on_send(full, std::move(mine)), on_send(room, std::move(other))), 1u);
    EXPECT_EQ(mine, "mine");
    const channel<std::unique_ptr<int>> only_moves(1);
    EXPECT_EQ(select(on_send(only_moves, std::make_unique<int>(5))), 0u);
    EXPECT_EQ(**only_moves.receive(), 5);
  });
}

TEST(Select, HandlersMayWaitAndThrow) {
  on_fibers([] {
    const channel<int> c(1);
    c.send(1);
    const channel<int> back(0);
    auto peer = weft::spawn([&] { return *back.receive(); });
    select(on_receive(c, [&](std::optional<int> v) { back.send(*v + 1); }));
    EXPECT_EQ(peer.join(), 2);
    c.send(1);
    EXPECT_THROW(select(on_receive(c, [](std::optional<int>) { throw std::runtime_error("no"); })),
                 std::runtime_error);
    EXPECT_TRUE(c.try_send(1));
  });
}

// The handles may go while a select waits at their channels.
TEST(Select, OutlivesTheHandles) {
  on_fibers([] {
    auto a = std::make_unique<channel<int>>(0);
    auto b = std::make_unique<channel<int>>(0);
    const weft::sender<int> in = *b;
    auto selecting = weft::spawn([&, pa = a.get(), pb = b.get()] { return select(on_receive(*pa), on_receive(*pb)); });
    TEST_await_receivers(*b);
    a.reset();
    b.reset();
    in.send(1);
    EXPECT_EQ(selecting.join(), 1u);
  });
}

TEST(Select, PlainThreadsTakePart) {
  const channel<int> a(0);
  const channel<int> b(0);
  const channel<int> done(0);
  const int n = scaled(3000);
  std::thread thread([&] {
    for (int i = 0; i < 2 * n; ++i) select(on_receive(a), on_receive(b));
    done.close();
  });
  on_fibers([&] {
    auto one = weft::spawn([&] {
      for (int i = 0; i < n; ++i) a.send(i);
    });
    for (int i = 0; i < n; ++i) select(on_send(b, i), on_receive(done));
    one.join();
    EXPECT_EQ(done.receive(), std::nullopt);
  });
  thread.join();
}

}  // namespace
