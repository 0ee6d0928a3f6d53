// mutex, from fibers and plain threads.
#include "migration.hpp"
#include "runtime_fixture.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::with_workers;

TEST(Mutex, MeetsTheRequirementsOfStd) {
  weft::mutex a, b;
  {
    std::unique_lock lock(a, std::try_to_lock);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_FALSE(a.try_lock());
  }
  {
    std::scoped_lock both(a, b);
    EXPECT_FALSE(a.try_lock());
    EXPECT_FALSE(b.try_lock());
  }
  std::lock(a, b);
  a.unlock();
  b.unlock();
  EXPECT_TRUE(a.try_lock());
  a.unlock();
}

// crowd runs `each` on so many fibers and plain threads at once.
template <class Each>
void crowd(int fibers, int plain, Each&& each) {
  std::vector<std::thread> others;
  on_fibers([&] {
    weft::wait_group group;
    group.add(fibers + plain);
    for (int i = 0; i < fibers; ++i) {
      weft::go([&, i] {
        each(i);
        group.done();
      });
    }
    for (int i = 0; i < plain; ++i) {
      others.emplace_back([&, i] {
        each(fibers + i);
        group.done();
      });
    }
    group.wait();
    weft::blocking([&] {
      for (std::thread& t : others) t.join();
    });
  });
}

// The model: a plain count of the holders, and plain data that only the lock protects.
struct model {
  weft::mutex mutex;
  std::atomic<int> holders{0};
  std::uint64_t value = 0;
  std::uint64_t copy = 0;

  void step(bool suspend) {
    EXPECT_EQ(holders.fetch_add(1, std::memory_order_relaxed), 0);
    EXPECT_EQ(value, copy);
    ++value;
    if (suspend) weft::this_fiber::yield();
    ++copy;
    EXPECT_EQ(holders.fetch_sub(1, std::memory_order_relaxed), 1);
  }
};

void stress(int fibers, int plain, int steps) {
  model m;
  std::atomic<std::uint64_t> done{0};
  crowd(fibers, plain, [&](int who) {
    std::minstd_rand random(static_cast<unsigned>(who + 1));
    for (int i = 0; i < steps; ++i) {
      const auto what = random() % 16;
      if (what == 0) {
        std::unique_lock lock(m.mutex, std::try_to_lock);
        if (!lock.owns_lock()) continue;
        m.step(false);
      } else {
        const std::lock_guard lock(m.mutex);
        m.step(what < 4);
      }
      done.fetch_add(1, std::memory_order_relaxed);
      if (what == 15) weft::this_fiber::yield();
    }
  });
  EXPECT_EQ(m.value, done);
  EXPECT_TRUE(m.mutex.try_lock());
  m.mutex.unlock();
}

TEST(Mutex, StressAlone) { stress(1, 0, 1000); }
TEST(Mutex, StressFibers) { stress(50, 0, 300); }
TEST(Mutex, StressThreads) { stress(0, 4, 2000); }
TEST(Mutex, StressFibersAndThreads) { stress(20, 3, 500); }

TEST(Mutex, StdLockOfSeveralInAnyOrder) {
  weft::mutex mutexes[3];
  std::uint64_t values[3] = {};
  crowd(10, 2, [&](int who) {
    for (int i = 0; i < 200; ++i) {
      const int a = (who + i) % 3;
      const int b = (a + 1 + i % 2) % 3;
      const std::scoped_lock both(mutexes[a], mutexes[b]);
      ++values[a];
      if (i % 16 == 0) weft::this_fiber::yield();
      ++values[b];
    }
  });
  EXPECT_EQ(values[0] + values[1] + values[2], 2u * 12 * 200);
}

TEST(Mutex, BelongsToTheFiberNotTheThread) {
  on_fibers([] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 20; ++i) {
      all.push_back(weft::spawn([] {
        weft::mutex own;
        for (int k = 0; k < 20; ++k) {
          const std::lock_guard lock(own);
          weft::this_fiber::sleep_for(10us);  // resumed by whichever worker
        }
      }));
    }
    for (auto& f : all) f.join();
  });
}

TEST(Mutex, WaitersGetItInTheOrderOfArrival) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  on_fibers(
      [] {
        weft::mutex m;
        std::vector<int> order;
        m.lock();
        std::vector<weft::fiber<void>> all;
        for (int i = 0; i < 50; ++i) {
          all.push_back(weft::spawn([&, i] {
            const std::lock_guard lock(m);
            order.push_back(i);
          }));
          weft::this_fiber::yield();  // it waits now
        }
        m.unlock();
        for (auto& f : all) f.join();
        ASSERT_EQ(order.size(), 50u);
        for (int i = 0; i < 50; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
      },
      with_workers(1));
}

// Newcomers that never let the lock rest cannot keep a waiter out: after one lost turn it is handed over.
TEST(Mutex, NobodyStarves) {
  on_fibers(
      [] {
        weft::mutex m;
        std::atomic<bool> got{false};
        long passes_since_first_turn = 0;
        m.lock();
        weft::fiber<void> waiter = weft::spawn([&] {
          const std::lock_guard lock(m);
          got = true;
        });
        weft::this_fiber::yield();
        // Each round gives it a turn while the mutex is taken again.
        for (; !got && passes_since_first_turn < 1000; ++passes_since_first_turn) {
          m.unlock();
          m.lock();
          weft::this_fiber::yield();
        }
        m.unlock();
        waiter.join();
        // Where fibers run in no order, not every pass gives it one.
        EXPECT_LE(passes_since_first_turn, weft::sched::forced_migration ? 200 : 3);
      },
      with_workers(1));
}

TEST(Mutex, ABusyOneWakesOneAtATime) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  weft::runtime rt(with_workers(1));
  rt.spawn([&] {
    weft::mutex m;
    m.lock();
    constexpr std::uint64_t n = 20;
    std::vector<weft::fiber<void>> all;
    for (std::uint64_t i = 0; i < n; ++i) {
      all.push_back(weft::spawn([&] { const std::lock_guard lock(m); }));
    }
    weft::this_fiber::yield();  // all wait now
    const std::uint64_t before = rt.stats().dispatches;
    for (std::uint64_t i = 0; i < n; ++i) {
      m.unlock();
      m.lock();
    }
    weft::this_fiber::yield();
    EXPECT_LE(rt.stats().dispatches - before, 3u);  // one waiter, and this fiber
    m.unlock();
  }).join();
}

TEST(Mutex, MayBeDestroyedRightAfterTheLastUnlock) {
  on_fibers([] {
    for (int i = 0; i < 2000; ++i) {
      auto m = std::make_unique<weft::mutex>();
      weft::mutex* const shared = m.get();
      shared->lock();
      weft::wait_group inside;
      inside.add(2);
      auto user = [shared, &inside] {
        inside.done();
        shared->lock();
        shared->unlock();
      };
      weft::fiber<void> a = weft::spawn(user);
      inside.done();
      inside.wait();
      if (i % 2 == 0) weft::this_fiber::yield();
      shared->unlock();
      // Whoever comes last, by the lock's own word, ends it.
      a.join();
      shared->lock();
      shared->unlock();
      m.reset();
    }
  });
}

TEST(MutexDeathTest, UnlockOfAnUnlockedMutexIsFatal) {
  weft::mutex m;
  EXPECT_DEATH(m.unlock(), "unlock of a mutex that is not locked");
  m.lock();
  m.unlock();
  EXPECT_DEATH(m.unlock(), "unlock of a mutex that is not locked");
}

}  // namespace
