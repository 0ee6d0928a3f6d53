// Stops: announce, withdraw, request_stop, stop_all.
#include <support/engine.hpp>

#include <atomic>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

struct counting_site : sched::cancel_site {
  counting_site() {
    cancel = [](sched::cancel_site& self, sched::waiter) noexcept {
      static_cast<counting_site&>(self).cancels.fetch_add(1);
    };
  }
  std::atomic<int> cancels{0};
};

// T1: the word `site` and the flag `stop`, all states by all operations.

TEST(StopTable, OnAPlainThreadNothingIsStopped) {
  counting_site site;
  EXPECT_FALSE(sched::stop_requested());
  EXPECT_TRUE(sched::announce(site));
  sched::withdraw();
  EXPECT_EQ(site.cancels, 0);
}

TEST(StopTable, EachStateByEachOperation) {
  engine e(1);
  e.run([&] {
    counting_site a;
    counting_site b;
    task t = e.spawn([&] {
      sched::fiber& f = *sched::current_fiber();
      // No stop, nothing announced: withdraw changes nothing.
      sched::withdraw();
      EXPECT_EQ(f.stops.site(), nullptr);
      // No stop: announce publishes, a second one replaces, withdraw ends it.
      EXPECT_TRUE(sched::announce(a));
      EXPECT_EQ(f.stops.site(), &a);
      EXPECT_TRUE(sched::announce(b));
      EXPECT_EQ(f.stops.site(), &b);
      sched::withdraw();
      EXPECT_EQ(f.stops.site(), nullptr);
      EXPECT_FALSE(sched::stop_requested());
      // A stop with a site announced: it cancels once, and stands.
      EXPECT_TRUE(sched::announce(a));
      sched::request_stop(f);
      EXPECT_EQ(a.cancels, 1);
      EXPECT_TRUE(sched::stop_requested());
      EXPECT_EQ(f.stops.site(), &a);
      // Again: the flag is set already, the site may need it all the same.
      sched::request_stop(f);
      EXPECT_EQ(a.cancels, 2);
      sched::withdraw();
      // A stop that stands: announce refuses, and leaves nothing behind.
      EXPECT_FALSE(sched::announce(b));
      EXPECT_EQ(f.stops.site(), nullptr);
      sched::request_stop(f);
      EXPECT_EQ(b.cancels, 0);
      EXPECT_EQ(a.cancels, 2);
      EXPECT_TRUE(sched::stop_requested());
    });
    t.join();
  });
}

TEST(StopTable, StopBetweenAnnounceAndCommitEndsThePark) {
  // Injected from inside of the commit, before it publishes: nobody is there yet to be taken out.
  engine e(1);
  e.run([&] {
    task t = e.spawn([&] {
      struct word_site : sched::cancel_site {
        std::atomic<std::uintptr_t> word{0};
        sched::fiber* f = nullptr;
      } site;
      site.f = sched::current_fiber();
      site.cancel = [](sched::cancel_site& self, sched::waiter w) noexcept {
        std::uintptr_t expected = w.bits();
        if (static_cast<word_site&>(self).word.compare_exchange_strong(expected, 0)) sched::ready(w);
      };
      EXPECT_TRUE(sched::announce(site));
      sched::park({[](sched::waiter self, void* object, std::uintptr_t) noexcept {
                     auto* at = static_cast<word_site*>(object);
                     sched::request_stop(*at->f);
                     at->word.store(self.bits());
                     return true;
                   },
                   &site},
                  sched::wait_reason::none);
      sched::withdraw();
      EXPECT_TRUE(sched::stop_requested());
      EXPECT_EQ(site.word, 0u);
    });
    t.join();
  });
}

TEST(Stop, EndsASleepAJoinAndAWaitForAnEvent) {
  engine e;
  poll_event event;
  for (int kind = 0; kind < 3; ++kind) {
    for (bool parked : {false, true}) {
      task other = e.spawn([&] { EXPECT_FALSE(sched::sleep_until(sched::never)); });
      task t = e.spawn([&] {
        if (kind == 0) {
          EXPECT_FALSE(sched::sleep_until(sched::never));
        } else if (kind == 1) {
          EXPECT_FALSE(sched::join(*other));
        } else {
          EXPECT_FALSE(e.poller.wait(event));
        }
        EXPECT_TRUE(sched::stop_requested());
        EXPECT_FALSE(sched::sleep_until(sched::never));  // it stands
      });
      if (parked) {
        ASSERT_TRUE(spin_until([&] {
          return (kind == 0 ? (*t).sleep.word.peek() : kind == 1 ? (*other).joined.word.peek() : event.word.load()) > 2;
        }));
      }
      sched::request_stop(*t);
      t.join();
      sched::request_stop(*other);
    }
  }
}

TEST(Stop, OneThatStandsBeforeTheStartIsSeen) {
  engine e;
  sched::fiber* f = make_fiber(
      *e, [] { EXPECT_FALSE(sched::sleep_until(sched::never)); }, sched::handle::one);
  sched::request_stop(*f);
  sched::start(*f);
  task t(f);
}

TEST(Stop, DoesNotReachTheNextUserOfTheStack) {
  engine e(1);
  e.run([&] {
    for (int i = 0; i < 100; ++i) {
      task t = e.spawn([] { EXPECT_FALSE(sched::sleep_until(sched::never)); });
      sched::request_stop(*t);
      t.join();
      e.run([] { EXPECT_FALSE(sched::stop_requested()); });
    }
  });
}

TEST(Stop, WhatUnwindsIsNotCancelled) {
  engine e(1);
  e.run([&] {
    task t = e.spawn([&] {
      struct cleanup {
        engine& on;
        ~cleanup() {
          EXPECT_FALSE(sched::stop_requested());
          const auto dispatches = sched::stats_of(*on).dispatches;
          const sched::nanotime until = sched::after(20 * millisecond);
          EXPECT_TRUE(sched::sleep_until(until));
          EXPECT_GE(sched::now(), until);
          // Asleep, not spinning: the stop that stands takes nobody out of a wait that it cannot end.
          EXPECT_LE(sched::stats_of(*on).dispatches - dispatches, 100u);
        }
      };
      try {
        cleanup at_the_end{e};
        EXPECT_FALSE(sched::sleep_until(sched::never));
        throw 1;
      } catch (int) {
      }
      EXPECT_TRUE(sched::stop_requested());
    });
    EXPECT_TRUE(yield_until([&] { return (*t).sleep.word.peek() != 0; }));
    sched::request_stop(*t);
    t.join();
  });
}

TEST(Stop, ReachesTokens) {
  engine e;
  for (bool before : {false, true}) {
    std::atomic<int> calls{0};
    std::atomic<bool> armed{false};
    task t = e.spawn([&] {
      EXPECT_TRUE(yield_until([&] { return !before || sched::stop_requested(); }));
      std::stop_token token = sched::stop_token_of(*sched::current_fiber());
      std::stop_callback call(token, [&] { calls.fetch_add(1); });
      armed.store(true);
      EXPECT_TRUE(yield_until([&] { return token.stop_requested(); }));
      EXPECT_TRUE(yield_until([&] { return calls.load() == 1; }));
    });
    EXPECT_TRUE(spin_until([&] { return before || armed.load(); }));
    sched::request_stop(*t);
    t.join();
    EXPECT_EQ(calls, 1);
  }
}

TEST(Stop, AllMeansThoseToComeToo) {
  engine e;
  std::atomic<int> asleep{0};
  std::atomic<int> stopped{0};
  const auto sleeper = [&] {
    asleep.fetch_add(1);
    EXPECT_FALSE(sched::sleep_until(sched::never));
    stopped.fetch_add(1);
  };
  for (int i = 0; i < 50; ++i) e.go(sleeper);
  sched::fiber* not_started = make_fiber(*e, sleeper, sched::handle::none);
  EXPECT_TRUE(spin_until([&] { return asleep.load() == 50; }));
  EXPECT_FALSE(sched::drain(*e, sched::now()));
  sched::stop_all(*e);
  sched::start(*not_started);
  e.go([&] {
    for (int i = 0; i < 10; ++i) e.go(sleeper);
    sleeper();
  });
  EXPECT_TRUE(sched::drain(*e, sched::after(patience)));
  EXPECT_EQ(stopped, 62);
}

// T3: a stop races with the event, with the start and with other stops; each wait ends exactly once, and an event that
// was taken is never lost for a stop.
TEST(Stop, RacesWithTheEventAndOneWins) {
  engine e;
  const int rounds = 300 * static_cast<int>(test_scale());
  std::mt19937 random(std::random_device{}());
  int won = 0;
  for (int r = 0; r < rounds; ++r) {
    poll_event event;
    std::atomic<int> result{-1};
    task t = e.spawn([&] { result.store(e.poller.wait(event) ? 1 : 0); });
    const auto delay = random() % 40;
    std::thread stopper([&] {
      for (unsigned i = 0; i < delay; ++i) ::sched_yield();
      sched::request_stop(*t);
    });
    e.poller.fire(event);
    stopper.join();
    t.join();
    ASSERT_NE(result, -1);
    won += result;
    // Whatever won: the event was fired, so it is consumed or still there, never gone.
    EXPECT_TRUE(spin_until([&] { return event.word.load() == (result == 1 ? 0 : poll_event::happened); }));
  }
  RecordProperty("events", won);
}

TEST(Stop, RacesWithStartJoinAndEnd) {
  engine e;
  const int rounds = 200 * static_cast<int>(test_scale());
  for (int r = 0; r < rounds; ++r) {
    std::atomic<bool> alive{true};
    task t = e.spawn([&] {
      (void)sched::sleep_until(sched::after((r % 5) * 20 * microsecond));
      alive.store(false);
    });
    task joiner = e.spawn([&] { (void)sched::join(*t); });
    std::thread one([&] { sched::request_stop(*joiner); });
    std::thread two([&] { sched::request_stop(*t); });
    one.join();
    two.join();
    joiner.join();
    t.join();
    EXPECT_FALSE(alive);
  }
}

TEST(Stop, AllRacesWithSpawnsAndEnds) {
  for (int r = 0; r < 20; ++r) {
    engine e;
    std::atomic<int> left{200};
    task spawner = e.spawn([&] {
      for (int i = 0; i < 200; ++i) {
        e.go([&] {
          (void)sched::sleep_until(sched::never);
          left.fetch_sub(1);
        });
        if (i % 16 == 0) sched::yield();
      }
    });
    for (int i = 0; i < r * 10; ++i) ::sched_yield();
    sched::stop_all(*e);
    spawner.join();
    EXPECT_TRUE(sched::drain(*e, sched::after(patience)));
    EXPECT_EQ(left, 0);
  }
}

}  // namespace
