// timer, ticker, after.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::thrown_by;
using weft::canceled_error;
using weft::on_tick;
using weft::ticker;
using weft::timer;

void yield_a_while() {
  for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
}

// A busy wait, so that something is due though nobody has waited for it.
void until(clock_type::time_point when) {
  while (clock_type::now() < when) {
  }
}

// covers I119
TEST(Timer, GivesOneTickWithTheTimeWhenItWasDue) {
  on_fibers([] {
    const auto due = clock_type::now() + 2ms;
    timer t(due);
    EXPECT_FALSE(t.try_wait());
    EXPECT_EQ(t.wait(), due);
    EXPECT_GE(clock_type::now(), due);
    EXPECT_FALSE(t.try_wait());
    {
      const weft::timeout_scope scope(1ms);
      EXPECT_THROW(t.wait(), canceled_error);  // there is no other
    }
    // However late it is read.
    const auto next = clock_type::now() + 1ms;
    t.reset(next);
    until(next + 1ms);
    EXPECT_EQ(t.try_wait(), next);
    const auto before = clock_type::now();
    const auto tick = timer(-5s).wait();  // at once
    EXPECT_GE(tick, before);
    EXPECT_LE(tick, clock_type::now());
  });
}

// covers I116 I118
TEST(Timer, AfterStopOrResetNoTickOfBeforeComes) {
  on_fibers([] {
    timer never;
    EXPECT_FALSE(never.stop());
    timer t(1h);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.stop());
    // Due, and not received: stop takes it back and says so.
    t.reset(0s);
    EXPECT_TRUE(t.stop());
    EXPECT_FALSE(t.try_wait());
    t.reset(0s);
    EXPECT_TRUE(t.reset(1h));
    EXPECT_FALSE(t.try_wait());
    EXPECT_TRUE(t.reset(0s));
    EXPECT_TRUE(t.try_wait());
    EXPECT_FALSE(t.reset(1h));
  });
}

// covers I117
TEST(Timer, SetEarlierItWakesWhoWaitsSetLaterItDoesNotComeEarly) {
  on_fibers([] {
    timer t(1h);
    const auto due = clock_type::now() + 1ms;
    auto waiting = weft::spawn([&] { return t.wait(); });
    yield_a_while();
    t.reset(due);
    EXPECT_EQ(waiting.join(), due);

    t.reset(100ms);
    auto later = weft::spawn([&] { return t.wait(); });
    yield_a_while();
    const auto moved = clock_type::now() + 120ms;
    t.reset(moved);
    EXPECT_EQ(later.join(), moved);
    EXPECT_GE(clock_type::now(), moved);

    // Stopped, it keeps who waits for a next setting.
    t.reset(1ms);
    auto patient = weft::spawn([&] { return t.wait(); });
    yield_a_while();
    const bool prevented = t.stop();
    if (prevented) {
      weft::this_fiber::sleep_for(3ms);
      t.reset(0s);
    }
    patient.join();
  });
}

TEST(Timer, OneOfSeveralWhoWaitGetsTheTick) {
  on_fibers([] {
    for (int i = 0; i < scaled(200); ++i) {
      timer t(50us);
      std::atomic<int> ticks = 0;
      weft::task_group<> group;
      for (int k = 0; k < 3; ++k) {
        group.spawn([&] {
          t.wait();
          if (++ticks < 3) t.reset(50us);
        });
      }
      group.join();
      EXPECT_EQ(ticks, 3);
      EXPECT_FALSE(t.stop());
    }
  });
}

TEST(Timer, WorksOnPlainThreads) {
  std::thread([] {
    const auto due = clock_type::now() + 2ms;
    timer t(due);
    EXPECT_EQ(t.wait(), due);
    std::thread setter([&] { t.reset(0s); });
    t.wait();
    setter.join();
    std::stop_source source;
    std::thread stopper([&] { source.request_stop(); });
    EXPECT_THROW(t.wait(source.get_token()), canceled_error);
    stopper.join();
  }).join();
}

// covers I115
TEST(Timer, AThousandComeInTheOrderOfTheirTimes) {
  on_fibers([] {
    const auto n = static_cast<std::size_t>(scaled(1000));
    const auto begin = clock_type::now() + 20ms;
    std::vector<clock_type::time_point> seen;
    weft::mutex lock;
    weft::task_group<> group;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t place = i * 7919 % n;
      group.spawn([&, place] {
        timer t(begin + place * 10us);
        const auto due = t.wait();
        EXPECT_GE(clock_type::now(), due);
        const std::lock_guard guard(lock);
        seen.push_back(due);
      });
    }
    group.join();
    EXPECT_EQ(seen.size(), n);
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
  });
}

// covers I124
TEST(Timer, ManyShortSleepsAndTimeoutsInSelectsAreOverSoon) {
  on_fibers([] {
    weft::task_group<> group;
    for (int i = 0; i < scaled(5000); ++i) {
      group.spawn([i] { weft::this_fiber::sleep_for(std::chrono::microseconds(i % 100)); });
    }
    const weft::channel<int> never(0);
    for (int i = 0; i < scaled(50'000); ++i) {
      const weft::channel<int> ready(1);
      ready.send(1);
      EXPECT_EQ(weft::select(weft::on_receive(never), weft::on_timeout(1h), weft::on_receive(ready)), 2u);
    }
    group.join();
  });
}

// A timer that nobody waits for is a word: a million of them are set, set anew and stopped.
TEST(Timer, AMillion) {
  on_fibers([] {
    const auto n = static_cast<std::size_t>(scaled(1'000'000));
    const auto all = std::make_unique<timer[]>(n);
    for (std::size_t i = 0; i < n; ++i) EXPECT_FALSE(all[i].reset(1h));
    for (std::size_t i = 0; i < n; i += 2) EXPECT_TRUE(all[i].reset(0s));
    std::size_t ticks = 0;
    for (std::size_t i = 0; i < n; ++i) ticks += all[i].try_wait() ? 1 : 0;
    EXPECT_EQ(ticks, (n + 1) / 2);
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(all[i].stop(), i % 2 == 1);
  });
}

// covers I120
TEST(Ticker, DropsWhatNobodyHasWaitedFor) {
  on_fibers([] {
    const auto begin = clock_type::now();
    ticker t(20ms);
    const auto first = t.wait();
    EXPECT_GE(first, begin + 20ms);
    until(first + 90ms);
    const auto late = t.wait();
    EXPECT_EQ(late, first + 20ms);  // the first that was missed,
    const auto next = t.wait();
    EXPECT_GE(next, first + 100ms);  // and then those to come
    EXPECT_EQ((next - first) % 20ms, 0ns);
    t.stop();
    EXPECT_FALSE(t.try_wait());
    t.reset(1ms);
    const auto again = t.wait();
    EXPECT_GE(t.wait() - again, 1ms);
    EXPECT_EQ(thrown_by([] { ticker(0s); }).first, std::errc::invalid_argument);
    EXPECT_EQ(thrown_by([&] { t.reset(-1s); }).first, std::errc::invalid_argument);
    ticker endless(std::chrono::nanoseconds::max());
    EXPECT_FALSE(endless.try_wait());
  });
}

TEST(Ticker, ManyWaitForOneThatIsResetAndStopped) {
  on_fibers([] {
    ticker t(1us);
    std::atomic<int> left = scaled(20'000);
    weft::task_group<> group;
    for (int i = 0; i < 4; ++i) {
      group.spawn([&] {
        while (left > 0) {
          if (weft::select(on_tick(t), weft::on_timeout(1ms)) == 0) --left;
        }
      });
    }
    group.spawn([&] {
      for (int i = 0; left > 0; ++i) {
        if (i % 3 == 0) t.stop();
        t.reset(std::chrono::microseconds(1 + i % 5));
        weft::this_fiber::yield();
      }
    });
    group.join();
  });
}

// covers H113
TEST(Ticker, IsACaseOfASelect) {
  on_fibers([] {
    const weft::channel<int> c(1);
    ticker t(1ms);
    timer end(20ms);
    int ticks = 0;
    int values = 0;
    bool over = false;
    clock_type::time_point last{};
    while (!over) {
      weft::select(on_tick(t, [&](clock_type::time_point due) {
                     EXPECT_GT(due, last);
                     last = due;
                     ++ticks;
                     c.send(ticks);
                   }),
                   weft::on_receive(c, [&](std::optional<int>) { ++values; }), on_tick(end, [&] { over = true; }));
    }
    EXPECT_GE(ticks, 1);
    EXPECT_LE(ticks - values, 1);
    // A timer that is set earlier meanwhile.
    timer moved(1h);
    auto mover = weft::spawn([&] {
      yield_a_while();
      moved.reset(0s);
    });
    EXPECT_EQ(weft::select(weft::on_receive(weft::channel<int>()), on_tick(moved), weft::on_timeout(2h)), 1u);
    mover.join();
    // Of a timer and a timeout, the earlier; otherwise comes if neither is due.
    timer late(1h);
    EXPECT_EQ(weft::select(on_tick(late), weft::on_timeout(1ms)), 1u);
    EXPECT_EQ(weft::select(on_tick(late), weft::otherwise()), 1u);
    timer soon(1ms);
    EXPECT_EQ(weft::select(on_tick(soon), weft::on_timeout(1h)), 0u);
    // Of a tick and a timeout that are due at the same time, the tick: a timeout comes when nothing else can go on.
    const auto both = clock_type::now() + 2ms;
    timer same(both);
    EXPECT_EQ(weft::select(weft::on_timeout(both), on_tick(same)), 1u);
  });
}

// covers I118
TEST(Timer, StopAgainstTheTickThatComes) {
  on_fibers([] {
    int prevented = 0;
    for (int i = 0; i < scaled(2000); ++i) {
      timer t(std::chrono::microseconds(i % 50));
      auto waiting = weft::spawn([&] {
        try {
          t.wait();
          return true;
        } catch (const canceled_error&) {
          return false;
        }
      });
      for (int k = 0; k < i % 5; ++k) weft::this_fiber::yield();
      const bool stopped = t.stop();
      if (stopped) {
        ++prevented;
        waiting.request_stop();
      }
      EXPECT_EQ(waiting.join(), !stopped);
    }
    EXPECT_GT(prevented, 0);
  });
}

// covers I121
TEST(After, CallsOnAFiberOfItsOwn) {
  on_fibers([] {
    weft::event called;
    std::uint64_t on = 0;
    const auto call = weft::after(1ms, [&] {
      on = weft::this_fiber::get_id();
      called.set();
    });
    called.wait();
    EXPECT_NE(on, 0u);
    EXPECT_NE(on, weft::this_fiber::get_id());
  });
}

// covers I116
TEST(After, StopTellsWhetherItPreventedTheCall) {
  on_fibers([] {
    int calls = 0;
    weft::event called;
    auto call = weft::after(1h, [&] {
      ++calls;
      called.set();
    });
    EXPECT_TRUE(call.stop());
    EXPECT_FALSE(call.stop());
    EXPECT_FALSE(call.reset(0s));
    called.wait();
    EXPECT_EQ(calls, 1);
    EXPECT_FALSE(call.stop());
    called.reset();
    EXPECT_FALSE(call.reset(1h));
    EXPECT_TRUE(call.reset(0s));
    called.wait();
    EXPECT_EQ(calls, 2);
    {
      const auto never = weft::after(1h, [&] { ++calls; });
    }
    EXPECT_EQ(calls, 2);
    // Its end stops a call under way, and waits for that.
    weft::event begun;
    bool stopped = false;
    {
      const auto long_call = weft::after(0s, [&] {
        begun.set();
        try {
          weft::this_fiber::sleep_for(1h);
        } catch (const canceled_error&) {
          stopped = true;
          throw;
        }
      });
      begun.wait();
    }
    EXPECT_TRUE(stopped);
  });
}

TEST(After, OutlivesTheScopeItWasMadeIn) {
  on_fibers([] {
    weft::event called;
    std::optional<weft::delayed_call> call;
    {
      const weft::timeout_scope scope(1ms);
      call.emplace(10ms, [&] { called.set(); });
    }
    called.wait();
  });
}

TEST(After, IsATimerToo) {
  on_fibers([] {
    const auto begin = clock_type::now();
    timer t = weft::after(1ms);
    EXPECT_GE(t.wait(), begin + 1ms);
  });
}

// covers I121 I123
TEST(After, ComesThoughAllWorkersAreBusyWithFibersThatYield) {
  on_fibers([] {
    std::atomic<bool> called = false;
    weft::task_group<> group;
    for (int i = 0; i < 8; ++i) {
      group.spawn([&] {
        while (!called) weft::this_fiber::yield();
      });
    }
    const auto call = weft::after(1ms, [&] { called = true; });
    group.join();
  });
}

// What escapes a call goes where go's does.
TEST(After, AnEscapedExceptionIsReported) {
  std::atomic<int> reported = 0;
  weft::runtime_options options;
  options.on_unhandled = [&](const weft::unhandled_exception&) { ++reported; };
  on_fibers(
      [&] {
        auto call = weft::after(0s, [] { throw std::runtime_error("escaped"); });
        while (reported == 0) weft::this_fiber::yield();
        call.reset(0s);  // it goes on
        while (reported == 1) weft::this_fiber::yield();
      },
      options);
  EXPECT_EQ(reported, 2);
}

}  // namespace
