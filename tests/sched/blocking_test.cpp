// Blocking regions: the processor goes on without the worker that blocks.
#include <support/engine.hpp>

#include <thread_record.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

TEST(Blocking, OnAPlainThreadItDoesNothing) {
  sched::blocking_region outer;
  sched::blocking_region inner;
  EXPECT_EQ(sched::current_fiber(), nullptr);
}

// covers J136
TEST(Blocking, OthersRunMeanwhile) {
  engine e(1);
  std::atomic<int> ran{0};
  e.run([&] {
    for (int round = 0; round < 20; ++round) {
      const int before = ran.load();
      for (int i = 0; i < 5; ++i) e.go([&] { ran.fetch_add(1); });
      sched::blocking_region region;
      EXPECT_TRUE(spin_until([&] { return ran.load() == before + 5; })) << "round " << round;
    }
  });
}

TEST(Blocking, AProcessorWithWorkIsGivenAwayAtOnce) {
  // Not left to the monitor: before the region begins, somebody has been told. So too if nobody would poll.
  engine e(1);
  e.run([&] {
    for (int round = 0; round < 20; ++round) {
      std::atomic<bool> ran{false};
      e.go([&] { ran.store(true); });
      sched::blocking_region region;
      EXPECT_NE(e->processors[0]->state.load(), sched::processor_state::blocking);
      EXPECT_TRUE(spin_until([&] { return ran.load(); }));
    }
  });
}

TEST(Blocking, WhoComesWhileItBlocksRunsToo) {
  engine e(1);
  std::atomic<bool> blocked{false};
  std::atomic<bool> release{false};
  task t = e.spawn([&] {
    sched::blocking_region region;
    blocked.store(true);
    EXPECT_TRUE(spin_until([&] { return release.load(); }));
  });
  ASSERT_TRUE(spin_until([&] { return blocked.load(); }));
  for (int i = 0; i < 50; ++i) {
    e.run([] {});
    e.run([] { EXPECT_TRUE(sched::sleep_until(sched::after(10 * microsecond))); });
  }
  release.store(true);
}

TEST(Blocking, TheFiberStaysOnItsThreadAndKnowsWhoItIs) {
  engine e;
  e.run([&] {
    for (int i = 0; i < 100; ++i) {
      sched::fiber* self = sched::current_fiber();
      sched::blocking_region region;
      const long thread = thread_id();
      EXPECT_EQ(sched::current_fiber(), self);
      EXPECT_EQ(sched::current_scheduler(), &*e);
      EXPECT_TRUE(sched::current_waiter().is_thread());
      {
        sched::blocking_region nested;
        EXPECT_TRUE(sched::current_waiter().is_thread());
        sched::yield();
      }
      EXPECT_TRUE(sched::current_waiter().is_thread()) << "the inner region gave the processor back";
      EXPECT_EQ(thread_id(), thread);
    }
    EXPECT_FALSE(sched::current_waiter().is_thread());
  });
}

TEST(Blocking, AParkInsideWaitsAsAThread) {
  engine e(1);
  e.run([&] {
    task child;
    poll_event event;
    bool joined = false;
    {
      sched::blocking_region region;
      child = e.spawn([&] { EXPECT_TRUE(sched::sleep_until(sched::after(millisecond))); });
      joined = sched::join(*child);
      e.go([&] { e.poller.fire(event); });
      EXPECT_TRUE(e.poller.wait(event));
    }
    EXPECT_TRUE(joined);
  });
}

TEST(Blocking, MoreRegionsThanThreadsTakeTurns) {
  sched::scheduler_options options;
  options.blocking_threads = 3;
  engine e(workers_wanted(), options);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> done{0};
  {
    std::vector<task> tasks;
    for (int i = 0; i < 60; ++i) {
      tasks.push_back(e.spawn([&] {
        for (int r = 0; r < 3; ++r) {
          sched::blocking_region region;
          const int now_inside = inside.fetch_add(1) + 1;
          int seen = most.load();
          while (seen < now_inside && !most.compare_exchange_weak(seen, now_inside)) {
          }
          for (int k = 0; k < 50; ++k) ::sched_yield();
          inside.fetch_sub(1);
        }
        done.fetch_add(1);
      }));
    }
  }
  EXPECT_EQ(done, 60);
  EXPECT_LE(most, 3);
  EXPECT_EQ(e->blocking_count, 0u);
  // The threads that exist stay within processors and places to block, and those on their way between both.
  EXPECT_LE(sched::stats_of(*e).threads, 2 * (workers_wanted() + 3));
}

TEST(Blocking, AsManyAsTheOptionsAllowBlockAtOnce) {
  sched::scheduler_options options;
  options.blocking_threads = 8;
  engine e(1, options);
  std::atomic<int> inside{0};
  std::vector<task> tasks;
  for (int i = 0; i < 8; ++i) {
    tasks.push_back(e.spawn([&] {
      sched::blocking_region region;
      inside.fetch_add(1);
      EXPECT_TRUE(spin_until([&] { return inside.load() == 8; }));
    }));
  }
  tasks.clear();
  EXPECT_LE(sched::stats_of(*e).threads, 8u + 2u);
}

// covers J142
TEST(Blocking, SomebodyPollsThoughEveryWorkerBlocks) {
  engine e;
  poll_event event;
  std::atomic<bool> woke{false};
  std::atomic<unsigned> blocked{0};
  task reader = e.spawn([&] {
    EXPECT_TRUE(e.poller.wait(event));
    woke.store(true);
  });
  ASSERT_TRUE(spin_until([&] { return event.word.load() > 2; }));
  std::vector<task> tasks;
  for (unsigned i = 0; i < workers_wanted(); ++i) {
    tasks.push_back(e.spawn([&] {
      sched::blocking_region region;
      blocked.fetch_add(1);
      EXPECT_TRUE(spin_until([&] { return woke.load(); })) << "nobody polls";
    }));
  }
  ASSERT_TRUE(spin_until([&] { return blocked.load() == workers_wanted(); }));
  e.poller.fire(event);
}

// To the monitor a lent processor is an idle one, so it goes to sleep during a long region. It is needed again for a
// fiber in the next slot of somebody who does not park.
TEST(Blocking, TheMonitorIsAwakeAgainAfterALongRegion) {
  engine e(2);
  std::atomic<std::uintptr_t> parked{0};
  std::atomic<bool> ran{false};
  task woken = e.spawn([&] {
    const auto publish = [](sched::waiter self, void* object, std::uintptr_t) noexcept {
      static_cast<std::atomic<std::uintptr_t>*>(object)->store(self.bits());
      return true;
    };
    sched::park({publish, &parked}, sched::wait_reason::none);
    ran.store(true);
  });
  ASSERT_TRUE(spin_until([&] { return parked.load() != 0; }));
  task waking = e.spawn([&] {
    {
      sched::blocking_region region;
      EXPECT_TRUE(spin_until([&] { return e->monitor_asleep.load() != 0; }));
    }
    sched::ready(sched::waiter::from_bits(parked.load()));
    EXPECT_TRUE(spin_until([&] { return ran.load(); })) << "the monitor sleeps on";
  });
}

// An event and a break reach the poller together, and it comes back with the event alone.
// covers C47
TEST(Blocking, ABreakAbsorbedByAnEventLeavesNoWorkBehind) {
  struct poller_without_breaks final : sched::netpoller {
    void netpoll(sched::nanotime delay, sched::ready_list& out) noexcept override { inner.netpoll(delay, out); }
    void delivered(std::size_t n) noexcept override { inner.delivered(n); }
    void netpollbreak() noexcept override {
      if (!absorbs.load()) inner.netpollbreak();
    }
    bool any_waiters() const noexcept override { return inner.any_waiters(); }
    fake_poller inner;
    std::atomic<bool> absorbs{false};
  } poller;
  int error = 0;
  sched::scheduler_options options;
  options.processors = 2;
  sched::scheduler* s = sched::create_scheduler(options, poller, error);
  ASSERT_EQ(error, 0);
  poll_event event;
  std::atomic<bool> ran{false};
  std::atomic<bool> inside{false};
  const auto start = [&](auto body) {
    sched::fiber* f = make_fiber(*s, body, sched::handle::one);
    sched::start(*f);
    return task(f);
  };
  {
    task computing = start([&] {
      EXPECT_TRUE(poller.inner.wait(event));
      EXPECT_TRUE(spin_until([&] { return ran.load(); })) << "nobody runs what came with the break";
    });
    task blocking = start([&] {
      sched::blocking_region region;
      inside.store(true);
      EXPECT_TRUE(spin_until([&] { return ran.load(); }));
    });
    EXPECT_TRUE(spin_until([&] { return event.word.load() > 2 && inside.load() && poller.inner.asleep(); }));
    poller.absorbs.store(true);
    task submitted = start([&] { ran.store(true); });
    poller.inner.fire(event);
  }
  poller.absorbs.store(false);
  EXPECT_TRUE(sched::drain(*s, sched::after(patience)));
  sched::destroy_scheduler(s);
}

// T3: regions, parks, sleeps and events at once; every fiber gets through.
TEST(Blocking, MixedWithEverythingElse) {
  sched::scheduler_options options;
  options.blocking_threads = 4;
  engine e(workers_wanted(), options);
  std::atomic<int> done{0};
  constexpr int n = 60;
  const auto events = std::make_unique<poll_event[]>(n);
  {
    std::vector<task> tasks;
    for (int i = 0; i < n; ++i) {
      tasks.push_back(e.spawn([&, i] {
        for (unsigned r = 0; r < 20 * test_scale(); ++r) {
          switch ((static_cast<unsigned>(i) + r) % 5) {
            case 0: {
              sched::blocking_region region;
              ::sched_yield();
              break;
            }
            case 1:
              sched::yield();
              break;
            case 2:
              EXPECT_TRUE(sched::sleep_until(sched::after(20 * microsecond)));
              break;
            case 3:
              e.poller.fire(events[i]);
              EXPECT_TRUE(e.poller.wait(events[i]));
              break;
            default: {
              sched::blocking_region region;
              task t = e.spawn([] { sched::yield(); });
              t.join();
            }
          }
        }
        done.fetch_add(1);
      }));
    }
  }
  EXPECT_EQ(done, n);
  EXPECT_EQ(e->blocking_count, 0u);
}

}  // namespace
