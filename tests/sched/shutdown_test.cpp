// The end of a scheduler: drain, destroy, handles that outlive it, restart, several at once.
#include <support/engine.hpp>

#include <atomic>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>

namespace {

using namespace weft;
using namespace weft::testing;

std::size_t entries(const char* path) {
  std::size_t n = 0;
  DIR* dir = ::opendir(path);
  while (::readdir(dir) != nullptr) ++n;
  ::closedir(dir);
  return n;
}

// pthread_join returns a moment before the thread has left /proc.
void expect_threads(std::size_t n) {
  EXPECT_TRUE(spin_until([n] { return entries("/proc/self/task") <= n; }));
}

// covers J146
TEST(Shutdown, LeavesNoThreadsAndCanBeRepeated) {
  engine{}.run([] {});
  const auto threads = entries("/proc/self/task");
  const auto files = entries("/proc/self/fd");
  for (unsigned i = 0; i < 50 * test_scale(); ++i) {
    engine e(1 + i % 4);
    for (int k = 0; k < 20; ++k) e.go([] { (void)sched::sleep_until(sched::after(10 * microsecond)); });
    if (i % 3 == 0) e.run([] { sched::blocking_region region; });
  }
  expect_threads(threads);
  EXPECT_EQ(entries("/proc/self/fd"), files);
}

// covers J146
TEST(Shutdown, ReturnsTheStacks) {
  const auto virtual_pages = [] {
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages;
  };
  const auto round = [] {
    engine e(1);
    std::vector<task> tasks;
    for (int i = 0; i < 2000; ++i) tasks.push_back(e.spawn([] { sched::yield(); }));
  };
  round();
  const long before = virtual_pages();
  for (int i = 0; i < 5; ++i) round();
  // Allocators and sanitizers map for themselves.
  EXPECT_LE(virtual_pages(), before + 64 * 1024) << "more than 256 MiB stayed mapped; a round maps 600";
}

TEST(Shutdown, AnIdleSchedulerEndsAtOnce) {
  // Its threads sleep: in the poller, on their futexes, in the monitor.
  engine e(4);
  e.run([] { EXPECT_TRUE(sched::sleep_until(sched::after(millisecond))); });
  ASSERT_TRUE(spin_until([&] { return e.poller.asleep() && e->monitor_asleep.load() == 1; }));
}

TEST(Shutdown, RacesWithWorkersOnTheirWayToSleep) {
  for (unsigned i = 0; i < 200 * test_scale(); ++i) {
    engine e(1 + i % 4);
    const unsigned n = i % 7;
    for (unsigned k = 0; k < n; ++k) e.go([] { sched::yield(); });
  }
}

TEST(Drain, TellsWhetherFibersAreLeft) {
  engine e;
  EXPECT_TRUE(sched::drain(*e, sched::now()));
  poll_event event;
  task t = e.spawn([&] { EXPECT_TRUE(e.poller.wait(event)); });
  EXPECT_FALSE(sched::drain(*e, sched::now()));
  const sched::nanotime until = sched::after(2 * millisecond);
  EXPECT_FALSE(sched::drain(*e, until));
  EXPECT_GE(sched::now(), until);
  e.poller.fire(event);
  EXPECT_TRUE(sched::drain(*e, sched::after(patience)));
  EXPECT_EQ(sched::stats_of(*e).live, 0u);
}

TEST(Drain, WaitsForWhatFibersSpawn) {
  engine e;
  std::atomic<int> ended{0};
  struct node {
    static void grow(engine& on, std::atomic<int>& count, int depth) {
      if (depth > 0) {
        for (int i = 0; i < 3; ++i) on.go([&on, &count, depth] { grow(on, count, depth - 1); });
      }
      sched::yield();
      count.fetch_add(1);
    }
  };
  e.go([&] { node::grow(e, ended, 5); });
  EXPECT_TRUE(sched::drain(*e, sched::after(patience)));
  EXPECT_EQ(ended, 364);
}

TEST(Drain, SeveralThreadsMayWait) {
  for (int round = 0; round < 10; ++round) {
    engine e;
    poll_event event;
    e.go([&] { EXPECT_TRUE(e.poller.wait(event)); });
    std::vector<std::thread> threads;
    countdown waiting(3);
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        waiting.down();
        const sched::nanotime until = sched::after(patience);
        EXPECT_TRUE(sched::drain(*e, until));
        EXPECT_LT(sched::now(), until) << "it was not woken";
      });
    }
    ASSERT_TRUE(spin_until([&] { return waiting.over(); }));
    e.poller.fire(event);
    for (auto& t : threads) t.join();
  }
}

TEST(Drain, AFiberInABlockingRegionMayWaitForAnotherScheduler) {
  engine mine;
  engine other;
  mine.run([&] {
    for (int i = 0; i < 10; ++i) other.go([] { EXPECT_TRUE(sched::sleep_until(sched::after(100 * microsecond))); });
    sched::blocking_region region;
    EXPECT_TRUE(sched::drain(*other, sched::after(patience)));
  });
}

TEST(Handles, OutliveTheirScheduler) {
  std::vector<sched::fiber*> kept;
  {
    engine e;
    for (int i = 0; i < 40; ++i) kept.push_back(e.spawn([] { sched::yield(); }).take());
    for (sched::fiber* f : kept) sched::join_uncancelled(*f);
  }
  for (sched::fiber* f : kept) {
    EXPECT_TRUE(sched::ended(*f));
    EXPECT_TRUE(sched::join(*f));
    EXPECT_NE(sched::id_of(*f), 0u);
    sched::request_stop(*f);
  }
  // Released by several threads; the last one frees what is left.
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < kept.size(); i += 4) sched::release(*kept[i]);
    });
  }
  for (auto& t : threads) t.join();
}

TEST(Handles, ReleasedWhileTheSchedulerEnds) {
  for (unsigned round = 0; round < 50 * test_scale(); ++round) {
    std::vector<sched::fiber*> kept;
    auto e = std::make_unique<engine>();
    for (int i = 0; i < 10; ++i) kept.push_back(e->spawn([] {}).take());
    for (sched::fiber* f : kept) sched::join_uncancelled(*f);
    std::thread releasing([&] {
      for (sched::fiber* f : kept) sched::release(*f);
    });
    e.reset();
    releasing.join();
  }
}

TEST(Schedulers, WakeEachOthersFibers) {
  engine a;
  engine b(1);
  std::atomic<std::uintptr_t> parked_a{0};
  std::atomic<std::uintptr_t> parked_b{0};
  constexpr auto publish = [](sched::waiter self, void* word, std::uintptr_t) noexcept {
    static_cast<std::atomic<std::uintptr_t>*>(word)->store(self.bits());
    return true;
  };
  const int rounds = 200;
  const auto side = [=](std::atomic<std::uintptr_t>& mine, std::atomic<std::uintptr_t>& other, bool first,
                        sched::scheduler* home) {
    for (int i = 0; i < rounds; ++i) {
      if (i > 0 || !first) {
        sched::park({publish, &mine}, sched::wait_reason::none);
        EXPECT_EQ(sched::current_scheduler(), home);
      }
      if (i == rounds - 1 && !first) break;
      EXPECT_TRUE(yield_until([&] { return other.load() != 0; }));
      sched::ready(sched::waiter::from_bits(other.exchange(0)));
    }
  };
  task tb = b.spawn([&] { side(parked_b, parked_a, false, &*b); });
  task ta = a.spawn([&] { side(parked_a, parked_b, true, &*a); });
  ta.join();
  tb.join();
}

TEST(Schedulers, AreEnteredByThreads) {
  engine a;
  EXPECT_EQ(sched::current_scheduler(), nullptr);
  EXPECT_EQ(sched::enter_scheduler(&*a), nullptr);
  EXPECT_EQ(sched::current_scheduler(), &*a);
  std::thread([] { EXPECT_EQ(sched::current_scheduler(), nullptr); }).join();
  EXPECT_EQ(sched::enter_scheduler(nullptr), &*a);
  EXPECT_EQ(sched::current_scheduler(), nullptr);
}

TEST(Schedulers, WorkersBlockAsynchronousSignals) {
  engine e;
  e.run([] {
    sigset_t mask;
    ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, nullptr, &mask), 0);
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGALRM, SIGPIPE, SIGUSR1}) {
      EXPECT_EQ(::sigismember(&mask, signal), 1) << signal;
    }
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGPROF, SIGABRT}) EXPECT_EQ(::sigismember(&mask, signal), 0) << signal;
    char name[16] = {};
    // Whoever starts a thread names it, a moment later.
    EXPECT_TRUE(spin_until([&] {
      ::pthread_getname_np(::pthread_self(), name, sizeof name);
      return std::string(name).rfind("weft-", 0) == 0;
    })) << name;
  });
}

}  // namespace
