// Park and ready, from fibers and threads; who runs when.
#include <support/engine.hpp>

#include <migration.hpp>
#include <thread_record.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

// A place for one waiter: 0 nobody | a token | the waiter.
struct seat {
  static constexpr std::uintptr_t token = 2;
  std::atomic<std::uintptr_t> word{0};

  // take waits for the token and takes it.
  void take(sched::wait_reason why = sched::wait_reason::none) {
    constexpr auto sit = [](sched::waiter self, void* object, std::uintptr_t) noexcept {
      std::uintptr_t nobody = 0;
      return static_cast<seat*>(object)->word.compare_exchange_strong(nobody, self.bits()) || nobody == self.bits();
    };
    for (;;) {
      std::uintptr_t have = token;
      if (word.compare_exchange_strong(have, 0)) return;
      sched::park({sit, this}, why);
    }
  }
  // put gives the token, if there is none, and wakes whoever waits for it.
  void put() {
    const std::uintptr_t before = word.exchange(token);
    if (before > token) sched::ready(sched::waiter::from_bits(before));
  }
};

// Pinned to nobody: the table of what a commit may answer, for both kinds of waiters.

TEST(Park, ARefusedCommitReturnsAtOnceOnAThread) {
  int calls = 0;
  sched::park({[](sched::waiter self, void* n, std::uintptr_t word) noexcept {
                 EXPECT_TRUE(self.is_thread());
                 EXPECT_EQ(word, 17u);
                 ++*static_cast<int*>(n);
                 return false;
               },
               &calls, 17},
              sched::wait_reason::none);
  EXPECT_EQ(calls, 1);
}

TEST(Park, ARefusedCommitMakesTheFiberRunnable) {
  engine e;
  e.run([&] {
    for (int i = 0; i < 200; ++i) {
      int calls = 0;
      sched::park({[](sched::waiter self, void* n, std::uintptr_t word) noexcept {
                     EXPECT_FALSE(self.is_thread());
                     EXPECT_EQ(word, 18u);
                     ++*static_cast<int*>(n);
                     return false;
                   },
                   &calls, 18},
                  sched::wait_reason::none);
      EXPECT_EQ(calls, 1);
    }
  });
}

TEST(Park, ARefusedFiberGoesBeforeTheRing) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  engine e(1);
  e.run([&] {
    std::vector<int> order;
    countdown others(3);
    for (int i = 0; i < 3; ++i) {
      e.go([&, i] {
        order.push_back(i);
        others.down();
      });
    }
    // It leaves for the first of the ring, whose arrival refuses: then it stands in the next slot.
    sched::park({[](sched::waiter, void*, std::uintptr_t) noexcept { return false; }}, sched::wait_reason::none);
    order.push_back(99);
    EXPECT_TRUE(yield_until([&] { return others.over(); }));
    EXPECT_EQ(order, (std::vector<int>{0, 99, 1, 2}));
  });
}

TEST(Park, TheCommitRunsAfterTheDepartureOnAnotherStack) {
  engine e;
  e.run([&] {
    struct note {
      std::byte* frame = nullptr;
      sched::fiber* self = nullptr;
      bool elsewhere = false;
      bool saved = false;
    } n;
    std::byte here{};
    n.frame = &here;
    n.self = sched::current_fiber();
    n.self->ctx.suspended = {};
    sched::park({[](sched::waiter self, void* object, std::uintptr_t) noexcept {
                   auto* of = static_cast<note*>(object);
                   std::byte there{};
                   sched::fiber* f = self.as_fiber();
                   of->elsewhere = !(&there >= f->stack_bottom && &there < f->stack_top());
                   of->saved = f == of->self && !f->ctx.suspended.empty();
                   return false;
                 },
                 &n},
                sched::wait_reason::none);
    EXPECT_TRUE(n.elsewhere);
    EXPECT_TRUE(n.saved);
  });
}

// covers L161
TEST(Park, AFiberMayRunElsewhereWhileItsCommitIsStillRunning) {
  engine e(std::max(2u, workers_wanted()));
  e.run([&] {
    for (int i = 0; i < 30; ++i) {
      std::array<int, 64> locals;
      locals.fill(i);
      const long before = thread_id();
      ASSERT_TRUE(migrate());
      EXPECT_NE(thread_id(), before);
      for (int x : locals) EXPECT_EQ(x, i);
    }
  });
}

TEST(Park, ThreadsAndFibersWakeEachOther) {
  engine e;
  seat there;
  seat back;
  task t = e.spawn([&] {
    for (int i = 0; i < 500; ++i) {
      there.take();
      back.put();
    }
  });
  for (int i = 0; i < 500; ++i) {
    there.put();
    back.take();
  }
}

TEST(Park, AWakeThatComesBeforeTheCommitIsNotLost) {
  engine e;
  e.run([&] {
    seat s;
    for (int i = 0; i < 100; ++i) {
      s.put();
      s.take();
    }
  });
}

// T3: tokens go round among fibers and threads; the model is the number of tokens, which never changes.
void pass_tokens(unsigned workers, int fibers, int threads, int tokens, int hops) {
  struct stop {
    seat s;
    std::atomic<int> visits{0};
  };
  const int n = fibers + threads;
  std::vector<stop> stops(static_cast<std::size_t>(n));
  // Token by token, so that each seat holds one at most: the next seat is free when its token has moved on.
  std::atomic<int> inside{0};
  const auto body = [&](int i) {
    auto& mine = stops[static_cast<std::size_t>(i)];
    auto& next = stops[static_cast<std::size_t>((i + 1) % n)];
    for (int h = 0; h < hops; ++h) {
      mine.s.take();
      const int now_inside = inside.fetch_add(1) + 1;
      if (now_inside > tokens) ADD_FAILURE() << "more tokens than were put in";
      mine.visits.fetch_add(1);
      inside.fetch_sub(1);
      if (i != n - 1 || h != hops - 1) next.s.put();
    }
  };
  {
    engine e(workers);
    std::vector<task> tasks;
    for (int i = 0; i < fibers; ++i) tasks.push_back(e.spawn([&, i] { body(i); }));
    std::vector<std::thread> plain;
    for (int i = fibers; i < n; ++i) plain.emplace_back([&, i] { body(i); });
    stops[0].s.put();
    for (auto& t : plain) t.join();
  }
  for (auto& s : stops) EXPECT_EQ(s.visits, hops);
}

TEST(Park, ATokenGoesRoundAmongFibers) {
  pass_tokens(workers_wanted(), 10, 0, 1, 300 * static_cast<int>(test_scale()));
}
TEST(Park, ATokenGoesRoundAmongFibersAndThreads) {
  pass_tokens(workers_wanted(), 4, 2, 1, 200 * static_cast<int>(test_scale()));
}

// T3: whoever holds the lock of a pile wakes a random waiter of it; every park has one ready, every ready one park.
TEST(Park, EachReadyEndsOnePark) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  struct pile {
    sched::spin_lock lock;
    std::vector<sched::waiter> waiting;
    int left = 0;  // fibers that have still to park
  } p;
  constexpr int fibers = 40;
  const int rounds = 50 * static_cast<int>(test_scale());
  p.left = fibers * rounds;
  std::atomic<int> parked{0};
  std::atomic<int> readied{0};
  {
    engine e;
    for (int i = 0; i < fibers; ++i) {
      e.go([&] {
        for (int r = 0; r < rounds; ++r) {
          sched::park({[](sched::waiter self, void* object, std::uintptr_t) noexcept {
                         auto* of = static_cast<pile*>(object);
                         std::lock_guard guard(of->lock);
                         of->waiting.push_back(self);
                         return true;
                       },
                       &p},
                      sched::wait_reason::none);
          parked.fetch_add(1);
        }
      });
    }
    const auto wake = [&](std::uint32_t s) {
      std::mt19937 random(s);
      const sched::nanotime end = sched::after(patience);
      while (readied.load() < fibers * rounds && sched::now() < end) {
        sched::waiter w;
        {
          std::lock_guard guard(p.lock);
          if (!p.waiting.empty()) {
            std::swap(p.waiting[random() % p.waiting.size()], p.waiting.back());
            w = p.waiting.back();
            p.waiting.pop_back();
            readied.fetch_add(1);
          }
        }
        if (w) sched::ready(w);
        if (!w) {
          if (sched::current_fiber() != nullptr)
            sched::yield();
          else
            ::sched_yield();
        }
      }
    };
    std::thread outside([&] { wake(static_cast<std::uint32_t>(seed)); });
    e.go([&] { wake(static_cast<std::uint32_t>(seed) + 1); });
    outside.join();
  }
  EXPECT_EQ(parked, fibers * rounds);
  EXPECT_EQ(readied, fibers * rounds);
}

// Who runs when

// covers J127
TEST(Dispatch, AsManyFibersAsProcessorsRunAtOnce) {
  const unsigned n = workers_wanted();
  engine e(n);
  for (int round = 0; round < 3; ++round) {
    std::atomic<unsigned> inside{0};
    std::atomic<bool> met{false};
    std::vector<task> tasks;
    for (unsigned i = 0; i < n; ++i) {
      tasks.push_back(e.spawn([&] {
        if (inside.fetch_add(1) + 1 == n) met.store(true);
        EXPECT_TRUE(spin_until([&] { return met.load(); })) << "a processor stayed idle";
      }));
    }
    tasks.clear();
    e.run([] { EXPECT_TRUE(sched::sleep_until(sched::after(millisecond))); });
  }
}

// covers J128
TEST(Dispatch, YieldGoesRoundInOrder) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  engine e(1);
  e.run([&] {
    constexpr int fibers = 8;
    std::vector<int> order;
    std::vector<task> tasks;
    for (int i = 0; i < fibers; ++i) {
      tasks.push_back(e.spawn([&, i] {
        for (int r = 0; r < 5; ++r) {
          order.push_back(i);
          sched::yield();
        }
      }));
    }
    tasks.clear();
    ASSERT_EQ(order.size(), static_cast<std::size_t>(fibers * 5));
    for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], static_cast<int>(i % fibers));
  });
}

// covers J128 J129
TEST(Dispatch, APairThatWakesEachOtherStarvesNeitherRingNorGlobalQueue) {
  engine e(1);
  std::atomic<bool> ring{false};
  std::atomic<bool> outside{false};
  std::atomic<bool> stop{false};
  seat a;
  seat b;
  std::atomic<long> turns{0};
  long turns_until_ring = -1;
  task ping;
  task pong;
  e.run([&] {
    ping = e.spawn([&] {
      while (!stop.load()) {
        a.take();
        turns.fetch_add(1);
        b.put();
      }
    });
    pong = e.spawn([&] {
      while (!stop.load()) {
        b.take();
        a.put();
      }
      b.put();
    });
    a.put();
    e.go([&] {
      turns_until_ring = turns.load();
      ring.store(true);
    });
  });
  EXPECT_TRUE(spin_until([&] { return ring.load(); }));
  EXPECT_LE(turns_until_ring, 64);
  e.go([&] { outside.store(true); });
  EXPECT_TRUE(spin_until([&] { return outside.load(); }));
  stop.store(true);
  // Either may wait for a token of the other, which has seen the stop.
  const sched::nanotime end = sched::after(patience);
  while (!(sched::ended(*ping) && sched::ended(*pong)) && sched::now() < end) {
    a.put();
    b.put();
    ::sched_yield();
  }
}

// covers J139 J140
TEST(Dispatch, WorkFromOutsideAlwaysFindsAWorker) {
  engine e;
  std::atomic<int> done{0};
  const int rounds = 200 * static_cast<int>(test_scale());
  for (int i = 0; i < rounds; ++i) {
    e.go([&] { done.fetch_add(1); });
    if (i % 3 == 0) {
      ASSERT_TRUE(spin_until([&] { return done.load() == i + 1; })) << "round " << i;  // an idle scheduler wakes
    }
  }
  EXPECT_TRUE(spin_until([&] { return done.load() == rounds; }));
}

// covers J139
TEST(Dispatch, NoProcessorIsIdleWhileWorkIsQueued) {
  // Each round needs all processors at once, whoever submits: a fiber, a thread, the poller, a timer.
  const unsigned n = workers_wanted();
  engine e(n);
  for (int source = 0; source < 4; ++source) {
    for (int round = 0; round < 10; ++round) {
      std::atomic<unsigned> inside{0};
      std::atomic<unsigned> gone{0};
      std::atomic<unsigned> waiting{0};
      std::vector<poll_event> events(n);
      const auto meet = [&] {
        inside.fetch_add(1);
        EXPECT_TRUE(spin_until([&] { return inside.load() == n; })) << "source " << source;
        gone.fetch_add(1);
      };
      if (source == 0) {
        e.run([&] {
          for (unsigned i = 0; i < n; ++i) e.go(meet);
        });
      } else if (source == 1) {
        for (unsigned i = 0; i < n; ++i) e.go(meet);
      } else if (source == 2) {
        for (unsigned i = 0; i < n; ++i) {
          e.go([&, i] {
            waiting.fetch_add(1);
            EXPECT_TRUE(e.poller.wait(events[i]));
            meet();
          });
        }
        ASSERT_TRUE(spin_until([&] { return waiting.load() == n; }));
        for (auto& x : events) e.poller.fire(x);
      } else {
        const sched::nanotime at = sched::after(2 * millisecond);
        for (unsigned i = 0; i < n; ++i) {
          e.go([&, at] {
            EXPECT_TRUE(sched::sleep_until(at));
            meet();
          });
        }
      }
      ASSERT_TRUE(spin_until([&] { return gone.load() == n; })) << "source " << source << " round " << round;
    }
  }
}

// covers J141
TEST(Dispatch, OneThreadAtMostSleepsInThePoller) {
  engine e(4);
  for (int round = 0; round < 20; ++round) {
    std::vector<task> tasks;
    for (int i = 0; i < 8; ++i) {
      tasks.push_back(e.spawn([i] { (void)sched::sleep_until(sched::after(i * 100 * microsecond)); }));
    }
    tasks.clear();
    ASSERT_TRUE(spin_until([&] { return e.poller.asleep(); })) << "nobody sits in the poller";
  }
  EXPECT_EQ(e.poller.most_asleep, 1);
}

// covers J144
TEST(Dispatch, SpawningWakesAtMostOneWorkerAtATime) {
  engine e(4);
  e.run([&] {
    // All idle but for this one. A burst of spawns and ends on one worker is not worth more than a wake each time a
    // searcher has found something.
    const auto before = sched::stats_of(*e);
    constexpr int burst = 2000;
    std::atomic<int> done{0};
    for (int i = 0; i < burst; ++i) {
      e.go([&] { done.fetch_add(1); });
      if (i % 8 == 7) sched::yield();
    }
    EXPECT_TRUE(yield_until([&] { return done.load() == burst; }));
    const auto after = sched::stats_of(*e);
    EXPECT_LE(after.wakes - before.wakes, burst / 2u);
  });
}

// covers J138
TEST(Dispatch, AnIdleSchedulerDoesNothing) {
  engine e;
  poll_event never_fired;
  task parked = e.spawn([&] { EXPECT_FALSE(e.poller.wait(never_fired)); });
  // Quiet, as soon as whatever was on its way has ended: the monitor sleeps a second after the last work.
  ASSERT_TRUE(spin_until([&] { return e->monitor_asleep.load() == 1 && e.poller.asleep(); }));
  const auto before = sched::stats_of(*e);
  const auto polls = e.poller.polls.load();
  const auto end = sched::after(50 * millisecond);
  ASSERT_TRUE(spin_until([&] { return sched::now() >= end; }));
  const auto after = sched::stats_of(*e);
  EXPECT_EQ(after.wakes, before.wakes);
  EXPECT_EQ(after.dispatches, before.dispatches);
  EXPECT_EQ(e.poller.polls.load(), polls);
  EXPECT_EQ(e->monitor_asleep, 1u);
  sched::request_stop(*parked);
}

TEST(Dispatch, ReadyFibersOfOnePollRunOldestFirst) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  engine e(1);
  constexpr std::size_t n = 60;
  std::vector<poll_event> events(n);
  std::vector<std::size_t> order;
  std::vector<task> tasks;
  e.run([&] {
    for (std::size_t i = 0; i < n; ++i) {
      tasks.push_back(e.spawn([&, i] {
        EXPECT_TRUE(e.poller.wait(events[i]));
        order.push_back(i);
      }));
    }
    const auto all_parked = [&] {
      return std::all_of(events.begin(), events.end(), [](poll_event& x) { return x.word.load() > 2; });
    };
    EXPECT_TRUE(yield_until(all_parked));
    for (auto& x : events) e.poller.fire(x);  // nobody polls while this fiber runs
  });
  tasks.clear();
  ASSERT_EQ(order.size(), n);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

// covers J135
TEST(Dispatch, ReadyFibersRunThoughTheOthersNeverRest) {
  engine e;
  std::atomic<bool> stop{false};
  poll_event event;
  std::vector<task> busy;
  task reader = e.spawn([&] {
    EXPECT_TRUE(e.poller.wait(event));
    stop.store(true);
  });
  ASSERT_TRUE(spin_until([&] { return event.word.load() > 2; }));
  for (unsigned i = 0; i < 2 * workers_wanted(); ++i) {
    busy.push_back(e.spawn([&] { EXPECT_TRUE(yield_until([&] { return stop.load(); })); }));
  }
  e.poller.fire(event);
}

// Of the handle

TEST(Fiber, JoinReturnsWhenTheFiberHasLeftItsStack) {
  engine e;
  for (int i = 0; i < 200; ++i) {
    int value = 0;
    task t = e.spawn([&] {
      sched::yield();
      value = i;
    });
    t.join();
    EXPECT_EQ(value, i);
  }
}

TEST(Fiber, AJoinerIsAFiberOrAThread) {
  engine e;
  e.run([&] {
    int n = 0;
    for (int i = 0; i < 100; ++i) e.run([&] { ++n; });
    EXPECT_EQ(n, 100);
  });
}

TEST(Fiber, AThreadThatWakesForNothingJoinsOn) {
  // Threads' tokens merge and may be left over: a park may return early.
  engine e;
  std::atomic<bool> go{false};
  task t = e.spawn([&] { EXPECT_TRUE(yield_until([&] { return go.load(); })); });
  std::thread joiner([&] {
    sched::ready(sched::current_waiter());
    std::thread later([&] {
      // The joiner has woken once and parked again, or is about to: either way it joins.
      EXPECT_TRUE(spin_until([&] { return (*t).joined.word.peek() != 0; }));
      go.store(true);
    });
    t.join();
    later.join();
  });
  joiner.join();
}

TEST(Fiber, IdsAreNeverZeroAndNeverRepeated) {
  engine e;
  std::vector<std::uint64_t> ids;
  for (int i = 0; i < 3000; ++i) {
    task t = e.spawn([] {});
    ids.push_back(sched::id_of(*t));
  }
  e.run([&] {
    for (int i = 0; i < 3000; ++i) {
      task t = e.spawn([] {});
      ids.push_back(sched::id_of(*t));
    }
  });
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
  EXPECT_NE(ids.front(), 0u);
}

TEST(Fiber, ADetachedBodyIsDisposedOfOnce) {
  engine e;
  static std::atomic<int> disposed;
  disposed = 0;
  constexpr int n = 100;
  for (int i = 0; i < n; ++i) {
    std::atomic<bool> ran{false};
    sched::fiber* f = e.spawn([&] { ran.store(true); }).take();
    if (i % 2 == 0) {
      ASSERT_TRUE(spin_until([&] { return sched::ended(*f); }));
    }
    sched::detach(*f, [](void*) noexcept { disposed.fetch_add(1); });
    ASSERT_TRUE(spin_until([&] { return disposed.load() == i + 1; }));
    EXPECT_TRUE(ran);
  }
}

TEST(Fiber, ADiscardedOneNeverRuns) {
  engine e;
  for (int i = 0; i < 100; ++i) {
    auto body = [] { ADD_FAILURE(); };
    sched::fiber* f = make_fiber(*e, body, i % 2 == 0 ? sched::handle::one : sched::handle::none);
    ASSERT_NE(f, nullptr);
    sched::discard(*f);
  }
  EXPECT_EQ(sched::stats_of(*e).live, 0u);
}

TEST(Fiber, ABodyThatLeavesNoStackIsRefused) {
  engine e;
  constexpr auto nothing = [](void*) noexcept {};
  EXPECT_EQ(sched::create_fiber(*e, {}, 128 * 1024 + 64, 64, nothing, sched::handle::none), nullptr);
  sched::fiber* f = sched::create_fiber(*e, {}, 100 * 1024, 4096, nothing, sched::handle::none);
  ASSERT_NE(f, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(sched::body_of(*f)) % 4096, 0u);
  sched::discard(*f);
}

TEST(Fiber, NamesAreCutAndListed) {
  engine e;
  std::atomic<bool> stop{false};
  sched::fiber_options options;
  options.name = "a name that is longer than one and thirty bytes";
  task t = e.spawn([&] { EXPECT_TRUE(yield_until([&] { return stop.load(); })); }, options);
  EXPECT_EQ(sched::name_of(*t), "a name that is longer than one ");
  std::vector<std::string> names;
  sched::for_each_live(
      *e,
      [](void* into, std::uint64_t, const char* name) {
        static_cast<std::vector<std::string>*>(into)->push_back(name);
      },
      &names);
  EXPECT_EQ(names, std::vector<std::string>{"a name that is longer than one "});
  stop.store(true);
}

using FiberDeathTest = ::testing::Test;

TEST(FiberDeathTest, ASecondJoinerIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        engine e(1);
        sched::fiber* f = e.spawn([] { (void)sched::sleep_until(sched::never); }).take();
        e.go([f] { (void)sched::join(*f); });
        e.go([f] { (void)sched::join(*f); });
        (void)sched::drain(*e, sched::after(patience));
      },
      "two callers join the same fiber");
}

TEST(FiberDeathTest, JoiningOneselfIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        engine e(1);
        e.go([] { (void)sched::join(*sched::current_fiber()); });
        (void)sched::drain(*e, sched::after(patience));
      },
      "joins itself");
}

TEST(FiberDeathTest, DestroyingASchedulerWithLiveFibersIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        fake_poller poller;
        int error = 0;
        sched::scheduler* s = sched::create_scheduler({}, poller, error);
        sched::fiber* f = make_fiber(
            *s, [] { (void)sched::sleep_until(sched::never); }, sched::handle::none);
        sched::start(*f);
        sched::destroy_scheduler(s);
      },
      "a scheduler with 1 live fibers is destroyed");
}

}  // namespace
