// Stacks on their way back to the system, while fibers come and go, are stopped, and are looked at.
#include <support/engine.hpp>

#include <weft/sched/inspect.hpp>

#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

// Everything that is free goes, at each tick.
sched::scheduler_options at_once() {
  sched::scheduler_options options;
  options.stack_span = 0;
  options.stacks_kept = 0;
  options.stack_size = 16 * 1024;
  return options;
}

bool all_given_back(sched::scheduler& s) {
  return spin_until([&] { return sched::stats_of(s).warm_stacks == 0; });
}

// covers O41
TEST(StackTrim, GivesBackWhatTheProcessorsDoNotKeep) {
  engine e(workers_wanted(), at_once());
  constexpr int n = 1000;
  for (int round = 0; round < 3; ++round) {
    std::vector<task> all;
    for (int i = 0; i < n; ++i) all.push_back(e.spawn([] { sched::yield(); }));
    all.clear();
    ASSERT_TRUE(all_given_back(*e));
    const sched::scheduler_stats stats = sched::stats_of(*e);
    EXPECT_GE(stats.free_stacks + 64 * stats.processors, stats.stacks);
  }
}

// covers O41
TEST(StackTrim, ASleeperThatWasStoppedKeepsItsStackUntilItsTimerIsOutOfTheHeap) {
  engine e(1, at_once());
  std::vector<task> all;
  for (int i = 0; i < 200; ++i) all.push_back(e.spawn([] { EXPECT_FALSE(sched::sleep_until(sched::after(3600 * second))); }));
  for (task& t : all) sched::request_stop(*t);
  all.clear();
  EXPECT_TRUE(all_given_back(*e));
  // The heap is whole: a timer that comes next rings.
  e.run([] { EXPECT_TRUE(sched::sleep_until(sched::after(millisecond))); });
}

TEST(StackTrim, WaitsForAWorkerThatIsStillInACommit) {
  if (workers_wanted() < 2) GTEST_SKIP() << "one worker";
  // The second worker has the fiber's end behind it while the first is still in the commit that the fiber left by.
  engine e(2, at_once());
  std::atomic<bool> left{false};
  struct slow {
    std::atomic<bool>* left = nullptr;
    bool seen_free = false;
  } s;
  s.left = &left;
  sched::fiber_options other_pool;  // which has no stock with the processors: what ends goes straight to it
  other_pool.stack_size = 64 * 1024;
  sched::fiber* f = make_fiber(
      *e,
      [&s] {
        sched::park({[](sched::waiter self, void* object, std::uintptr_t) noexcept {
                       auto* const m = static_cast<slow*>(object);
                       sched::fiber* const mine = self.as_fiber();
                       sched::scheduler* const home = mine->home;
                       std::atomic<std::uint64_t>& slot = *mine->slot;
                       home->global.push(mine);
                       home->wake_for_work();
                       (void)spin_until([&] { return (slot.load() & 1) == 0; });
                       // Several ticks: what is free in the pool goes, but not while we are here.
                       const sched::nanotime until = sched::after(60 * millisecond);
                       while (sched::now() < until) {
                         if (mine->home == nullptr) m->seen_free = true;
                         ::sched_yield();
                       }
                       m->left->store(true);
                       return true;
                     },
                     &s},
                    sched::wait_reason::none);
      },
      sched::handle::none, other_pool);
  ASSERT_NE(f, nullptr);
  sched::start(*f);
  ASSERT_TRUE(spin_until([&] { return left.load(); }));
  EXPECT_TRUE(all_given_back(*e)) << "afterwards it goes";
  EXPECT_FALSE(s.seen_free) << "given back under the worker's hands";
}

TEST(StackTrim, WaitsForWhoeverReadsTheRegistry) {
  engine e(workers_wanted(), at_once());
  sched::fiber_options other_pool;  // as above
  other_pool.stack_size = 64 * 1024;
  {
    const sched::registry_readers::reading now(e->readers);
    e.spawn([] {}, other_pool).join();
    ASSERT_TRUE(spin_until([&] { return sched::stats_of(*e).warm_stacks != 0; }));
    // Several ticks.
    const sched::nanotime until = sched::after(60 * millisecond);
    while (sched::now() < until) {
      ASSERT_NE(sched::stats_of(*e).warm_stacks, 0u) << "given back under the reader's eyes";
      ::sched_yield();
    }
  }
  EXPECT_TRUE(all_given_back(*e));
}

TEST(StackTrim, FibersComeAndGoAndAreLookedAtMeanwhile) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const int rounds = static_cast<int>(12 * test_scale());
  std::uint64_t begun = 0;
  std::atomic<std::uint64_t> ended{0};
  for (int round = 0; round < rounds; ++round) {
    engine e(workers_wanted(), at_once());
    std::atomic<bool> over{false};
    std::thread looker([&] {
      std::uint64_t found = 0;
      while (!over.load()) {
        sched::inspect(
            *e, {}, [](void* context, const sched::fiber_view& v) { *static_cast<std::uint64_t*>(context) += v.id; }, &found);
        sched::for_each_live(
            *e, [](void* context, std::uint64_t id, const char*) { *static_cast<std::uint64_t*>(context) += id; }, &found);
      }
    });
    for (int wave = 0; wave < 4; ++wave) {
      std::vector<task> all;
      const int n = 50 + static_cast<int>(random() % 200);
      for (int i = 0; i < n; ++i) {
        ++begun;
        const auto kind = random() % 4;
        const auto time = static_cast<sched::nanotime>(random() % (2 * millisecond));
        all.push_back(e.spawn([kind, time, &ended] {
          if (kind == 0) sched::yield();
          if (kind == 1) (void)sched::sleep_until(sched::after(time));
          if (kind == 2) (void)sched::sleep_until(sched::after(3600 * second));
          if (kind == 3) (void)sched::sleep_until(sched::never);
          ended.fetch_add(1);
        }));
      }
      if (wave == 3) {
        sched::stop_all(*e);
      } else {
        for (task& t : all) {
          if (random() % 2 == 0) sched::request_stop(*t);
        }
        for (task& t : all) sched::request_stop(*t);
      }
      all.clear();
      // Long enough, as a rule, for some to go back before the next come.
      const sched::nanotime until = sched::after(15 * millisecond);
      while (sched::now() < until) ::sched_yield();
    }
    over.store(true);
    looker.join();
    EXPECT_TRUE(all_given_back(*e));
  }
  EXPECT_EQ(ended.load(), begun);
}

}  // namespace
