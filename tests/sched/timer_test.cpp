// Sleeps and timers through the scheduler: never early, and fired by whoever is there to fire them.
#include <support/engine.hpp>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using sched::nanotime;

// covers I114
TEST(Sleep, NotLaterThanNowReturnsAtOnce) {
  engine e(1);
  e.run([&] {
    const auto dispatches = sched::stats_of(*e).dispatches;
    EXPECT_TRUE(sched::sleep_until(sched::now()));
    EXPECT_TRUE(sched::sleep_until(0));
    EXPECT_TRUE(sched::sleep_until(-1));
    EXPECT_TRUE(sched::sleep_until(sched::after(0)));
    EXPECT_TRUE(sched::sleep_until(sched::after(-5)));
    EXPECT_EQ(sched::stats_of(*e).dispatches, dispatches);
  });
  EXPECT_TRUE(sched::sleep_until(sched::now()));
}

// covers I114
TEST(Sleep, ForEverNeverReturns) {
  EXPECT_EQ(sched::after(sched::never), sched::never);
  EXPECT_EQ(sched::after(sched::never - 1), sched::never);
  engine e;
  std::vector<task> tasks;
  for (nanotime d : {sched::never, sched::never - 1, sched::never - sched::now()}) {
    tasks.push_back(e.spawn([d] { EXPECT_FALSE(sched::sleep_until(sched::after(d))); }));
  }
  e.run([] { EXPECT_TRUE(sched::sleep_until(sched::after(5 * millisecond))); });
  for (auto& t : tasks) EXPECT_FALSE(sched::ended(*t));
  for (auto& t : tasks) sched::request_stop(*t);
}

TEST(Sleep, IsNeverShort) {
  engine e;
  std::mt19937 random(std::random_device{}());
  std::vector<task> tasks;
  for (int i = 0; i < 200; ++i) {
    const nanotime d = random() % 2 == 0 ? random() % (200 * microsecond) : random() % (20 * millisecond);
    tasks.push_back(e.spawn([d] {
      for (int r = 0; r < 3; ++r) {
        const nanotime at = sched::after(d);
        EXPECT_TRUE(sched::sleep_until(at));
        EXPECT_GE(sched::now(), at);
      }
    }));
  }
}

TEST(Sleep, OfAPlainThreadAndInABlockingRegion) {
  const nanotime at = sched::after(2 * millisecond);
  EXPECT_TRUE(sched::sleep_until(at));
  EXPECT_GE(sched::now(), at);
  engine e(1);
  e.run([] {
    sched::blocking_region region;
    const nanotime until = sched::after(2 * millisecond);
    EXPECT_TRUE(sched::sleep_until(until));
    EXPECT_GE(sched::now(), until);
  });
}

// covers I115
TEST(Timer, AThousandFireInTheOrderOfTheirTimes) {
  engine e(1);
  constexpr std::size_t n = 1000;
  struct shot {
    sched::timer alarm;
    nanotime due = 0;
    std::vector<shot*>* fired = nullptr;
  };
  std::vector<shot> shots(n);
  std::vector<shot*> fired;  // by the one worker
  e.run([&] {
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), 0u);
    std::shuffle(order.begin(), order.end(), std::mt19937(std::random_device{}()));
    const nanotime start = sched::after(millisecond);
    for (std::size_t i : order) {
      shots[i].due = start + static_cast<nanotime>(i / 2) * microsecond;  // pairs of equal ones
      shots[i].fired = &fired;
      const bool armed = shots[i].alarm.arm(
          *e, shots[i].due,
          [](void* object, std::uint32_t) noexcept {
            auto* s = static_cast<shot*>(object);
            EXPECT_GE(sched::now(), s->due);
            s->fired->push_back(s);
          },
          &shots[i], 0);
      EXPECT_TRUE(armed);
    }
    EXPECT_TRUE(yield_until([&] { return fired.size() == n; }));
  });
  EXPECT_TRUE(std::is_sorted(fired.begin(), fired.end(), [](shot* x, shot* y) { return x->due < y->due; }));
}

// covers I117
TEST(Sleep, AnEarlierOneEndsThePollersSleep) {
  engine e;
  task far = e.spawn([] { EXPECT_FALSE(sched::sleep_until(sched::after(3600 * second))); });
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(spin_until([&] { return e.poller.asleep(); }));
    const nanotime at = sched::after(millisecond);
    task near = e.spawn([at] { EXPECT_TRUE(sched::sleep_until(at)); });
    near.join();
    EXPECT_LT(sched::now(), at + patience);
  }
  sched::request_stop(*far);
}

TEST(Sleep, ATimerOfAThreadWakesTheScheduler) {
  // Armed from outside, in the heap that outside threads share, while the poller sleeps for ever.
  engine e;
  ASSERT_TRUE(spin_until([&] { return e.poller.asleep(); }));
  struct bell {
    sched::timer alarm;
    std::atomic<nanotime> rang{0};
    std::atomic<std::uint32_t> sequence{0};
  } b;
  for (std::uint32_t i = 1; i <= 20; ++i) {
    b.rang.store(0);
    const nanotime at = sched::after(500 * microsecond);
    const bool armed = b.alarm.arm(
        *e, at,
        [](void* object, std::uint32_t sequence) noexcept {
          auto* of = static_cast<bell*>(object);
          of->sequence.store(sequence);
          of->rang.store(sched::now());
        },
        &b, i);
    ASSERT_TRUE(armed);
    ASSERT_TRUE(spin_until([&] { return b.rang.load() != 0; }));
    EXPECT_GE(b.rang.load(), at);
    EXPECT_EQ(b.sequence, i);
  }
  // Moved: nearer and farther, it fires once, for the last arming.
  b.rang.store(0);
  const auto ring = [](void* object, std::uint32_t sequence) noexcept {
    static_cast<bell*>(object)->sequence.store(sequence);
    static_cast<bell*>(object)->rang.store(sched::now());
  };
  EXPECT_TRUE(b.alarm.arm(*e, sched::after(3600 * second), ring, &b, 100));
  EXPECT_TRUE(b.alarm.arm(*e, sched::after(1800 * second), ring, &b, 101));
  const nanotime last = sched::after(millisecond);
  EXPECT_TRUE(b.alarm.arm(*e, last, ring, &b, 102));
  ASSERT_TRUE(spin_until([&] { return b.rang.load() != 0; }));
  EXPECT_EQ(b.sequence, 102u);
  EXPECT_GE(b.rang.load(), last);
}

TEST(Sleep, ATimerOfABlockedProcessorFires) {
  // One processor, whose only worker blocks: somebody else runs the fibers that it left, and their timers.
  engine e(1);
  std::atomic<bool> woke{false};
  std::atomic<bool> blocked{false};
  task sleeper = e.spawn([&] {
    EXPECT_TRUE(yield_until([&] { return blocked.load(); }));
    EXPECT_TRUE(sched::sleep_until(sched::after(2 * millisecond)));
    woke.store(true);
  });
  task early = e.spawn([&] { EXPECT_TRUE(sched::sleep_until(sched::after(4 * millisecond))); });
  e.run([&] {
    sched::blocking_region region;
    blocked.store(true);
    EXPECT_TRUE(spin_until([&] { return woke.load() && sched::ended(*early); }));
  });
}

// covers I122
TEST(Sleep, ATimerOfABusyProcessorIsFiredByAnother) {
  engine e(2);
  std::atomic<bool> woke{false};
  e.run([&] {
    task sleeper = e.spawn([&] {
      EXPECT_TRUE(sched::sleep_until(sched::after(2 * millisecond)));
      woke.store(true);
    });
    EXPECT_TRUE(yield_until([&] { return (*sleeper).sleep.word.peek() > 2; }));
    EXPECT_TRUE(spin_until([&] { return woke.load(); })) << "nobody looks at the timers of a busy processor";
  });
}

// covers I123
TEST(Sleep, BeatsTwoFibersThatAreAlwaysReady) {
  engine e;
  std::atomic<bool> stop{false};
  std::vector<task> busy;
  for (unsigned i = 0; i < 2 * workers_wanted(); ++i) {
    busy.push_back(e.spawn([&] { EXPECT_TRUE(yield_until([&] { return stop.load(); })); }));
  }
  e.run([] { EXPECT_TRUE(sched::sleep_until(sched::after(20 * millisecond))); });
  stop.store(true);
}

TEST(Sleep, AShotMeetsAStopOnce) {
  // T3: sleeps that end by their alarm or by a stop, at about the same time; a fiber that is stopped was stopped for a
  // reason, one that slept to the end slept to the end.
  engine e;
  std::mt19937 random(std::random_device{}());
  for (unsigned r = 0; r < 200 * test_scale(); ++r) {
    const nanotime at = sched::after(random() % (100 * microsecond));
    std::atomic<int> ended{0};
    task t = e.spawn([&] {
      if (sched::sleep_until(at)) {
        EXPECT_GE(sched::now(), at);
      } else {
        EXPECT_TRUE(sched::stop_requested());
      }
      ended.fetch_add(1);
    });
    std::thread stopper([&] {
      for (auto i = random() % 30; i != 0; --i) ::sched_yield();
      sched::request_stop(*t);
    });
    stopper.join();
    t.join();
    ASSERT_EQ(ended, 1);
  }
}

TEST(Sleep, ManyWithStopsLeaveNoTimerBehind) {
  engine e;
  std::vector<task> tasks;
  for (int i = 0; i < 1000; ++i) {
    tasks.push_back(e.spawn([i] {
      const nanotime d = i % 2 == 0 ? 3600 * second : (i % 50) * 20 * microsecond;
      EXPECT_EQ(sched::sleep_until(sched::after(d)), i % 2 != 0);
    }));
  }
  for (std::size_t i = 0; i < tasks.size(); i += 2) sched::request_stop(*tasks[i]);
}

// The one in the poller leaves with an event whose fiber computes; the timer that it watched is everybody's then.
// covers I122
TEST(Timers, AreServedWhenThePollerLeftWithAnEventThatKeepsItBusy) {
  engine e(2);
  poll_event event;
  std::atomic<bool> woke{false};
  std::atomic<bool> armed{false};
  task computing = e.spawn([&] {
    EXPECT_TRUE(e.poller.wait(event));
    EXPECT_TRUE(spin_until([&] { return woke.load(); })) << "nobody looks at the timer";
  });
  task sleeping = e.spawn([&] {
    armed.store(true);
    EXPECT_TRUE(sched::sleep_until(sched::after(20 * millisecond)));
    woke.store(true);
  });
  ASSERT_TRUE(spin_until([&] { return event.word.load() > 2 && armed.load() && e.poller.asleep(); }));
  e.poller.fire(event);
}

// A worker more than there are processors sits in the poller, whose timer is overdue while all processors compute.
// There is nothing that it could do.
TEST(Timers, OverdueOnesDoNotMakeASpareWorkerSpin) {
  engine e(1);
  e.run([] {
    sched::blocking_region region;  // makes the second thread
    EXPECT_TRUE(spin_until([] { return true; }));
  });
  ASSERT_TRUE(spin_until([&] { return e.poller.asleep(); }));
  const nanotime due = sched::after(20 * millisecond);
  task sleeping = e.spawn([&] { EXPECT_TRUE(sched::sleep_until(due)); });
  task computing = e.spawn([&] {
    {
      sched::blocking_region region;
      EXPECT_TRUE(spin_until([&] { return e.poller.asleep(); }));
    }
    EXPECT_TRUE(spin_until([&] { return sched::now() > due + 5 * millisecond; }));
    const auto polls = e.poller.polls.load();
    EXPECT_TRUE(spin_until([&] { return sched::now() > due + 105 * millisecond; }));
    EXPECT_LE(e.poller.polls.load() - polls, 50u);
  });
}

}  // namespace
