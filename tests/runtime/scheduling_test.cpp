// Who runs when: parallelism, yield, fairness, sleep.
#include "migration.hpp"
#include "runtime_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::with_workers;
using clock = std::chrono::steady_clock;

// covers J127
TEST(Scheduling, AsManySpinnersAsWorkersRunAtOnce) {
  on_fibers([] {
    const unsigned workers = testing_support::default_workers();
    for (int round = 0; round < 5; ++round) {
      // Each passes the baton on by spinning alone: none may need another's worker. This fiber waits parked.
      std::atomic<unsigned> baton{0};
      weft::wait_group group;
      group.add(workers);
      for (unsigned i = 0; i < workers; ++i) {
        weft::go([&, i] {
          for (unsigned turn = 0; turn < 10; ++turn) {
            const auto end = clock::now() + 20s;
            while (baton.load(std::memory_order_acquire) != turn * workers + i) {
              if (clock::now() > end) {
                ADD_FAILURE() << "the others don't run";
                break;
              }
              std::this_thread::yield();  // keeps the worker; there may be fewer CPUs than workers
            }
            baton.fetch_add(1, std::memory_order_acq_rel);
          }
          group.done();
        });
      }
      group.wait();
      ASSERT_EQ(baton, workers * 10);
      weft::this_fiber::sleep_for(1ms);  // again after an idle spell
    }
  });
}

// covers J128
TEST(Scheduling, YieldLetsEverybodyProgress) {
  on_fibers(
      [] {
        constexpr int fibers = 10;
        constexpr int rounds = 200;
        std::vector<int> steps(fibers, 0);
        weft::wait_group group;
        group.add(fibers);
        int widest = 0;
        for (int i = 0; i < fibers; ++i) {
          weft::go([&, i] {
            for (int r = 0; r < rounds; ++r) {
              ++steps[static_cast<std::size_t>(i)];
              weft::this_fiber::yield();
              const auto [least, most] = std::minmax_element(steps.begin(), steps.end());
              if (i == fibers - 1 && r > 0) widest = std::max(widest, *most - *least);
            }
            group.done();
          });
        }
        group.wait();
        EXPECT_LE(widest, weft::sched::forced_migration ? rounds - 1 : 2);
        for (int s : steps) EXPECT_EQ(s, rounds);
      },
      with_workers(1));
}

// Regression: what overflowed from the ring to the global queue came back one fiber at a time. covers J128
TEST(Scheduling, YieldIsFairToThoseThatOverflowedTheRing) {
  on_fibers(
      [] {
        constexpr std::size_t fibers = 1000;  // the ring holds 256
        constexpr int goal = 400;
        std::vector<int> steps(fibers, 0);
        bool end = false;
        weft::wait_group group;
        group.add(fibers);
        for (std::size_t i = 0; i < fibers; ++i) {
          weft::go([&, i] {
            while (!end) {
              if (++steps[i] == goal) end = true;  // the quickest has arrived
              weft::this_fiber::yield();
            }
            group.done();
          });
        }
        group.wait();
        EXPECT_GE(*std::min_element(steps.begin(), steps.end()), goal / 20);
      },
      with_workers(1));
}

// covers J129
TEST(Scheduling, TwoThatWakeEachOtherDoNotStarveAThird) {
  on_fibers(
      [] {
        // Hand-offs by spawn and join: each join parks, each end readies the joiner through the next slot.
        std::atomic<bool> finish{false};
        weft::fiber<long> pingpong = weft::spawn([&] {
          long n = 0;
          while (!finish.load(std::memory_order_relaxed)) {
            weft::spawn([&n] { ++n; }).join();
          }
          return n;
        });
        for (int i = 0; i < 100; ++i) weft::this_fiber::yield();  // own queue
        weft::this_fiber::sleep_for(5ms);                         // timers
        finish = true;
        EXPECT_GT(pingpong.join(), 0);
      },
      with_workers(1));
}

TEST(Scheduling, ABusyWorkerLooksAtTheGlobalQueueAndAtTimers) {
  // The same pair must not keep out what comes from a plain thread.
  weft::runtime rt(with_workers(1));
  std::atomic<bool> finish{false};
  weft::fiber<void> pingpong = rt.spawn([&] {
    while (!finish.load(std::memory_order_relaxed)) weft::spawn([] {}).join();
  });
  for (int i = 0; i < 20; ++i) rt.spawn([] { weft::this_fiber::sleep_for(100us); }).join();
  finish = true;
  pingpong.join();
}

// covers I114
TEST(Sleep, NothingAndLessReturnAtOnce) {
  on_fibers([] {
    weft::this_fiber::sleep_for(0s);
    weft::this_fiber::sleep_for(-1h);
    weft::this_fiber::sleep_for(std::chrono::hours::min());
    weft::this_fiber::sleep_for(std::chrono::duration<double>(-1e300));
    weft::this_fiber::sleep_until(clock::time_point{});
    weft::this_fiber::sleep_until(clock::time_point::min());
    weft::this_fiber::sleep_until(std::chrono::system_clock::time_point{});
  });
}

// covers I114
TEST(Sleep, TheLongestNeverEnds) {
  on_fibers([] {
    std::vector<weft::fiber<void>> sleepers;
    std::atomic<int> returned{0};
    const auto add = [&](auto how_long) {
      sleepers.push_back(weft::spawn([&, how_long] {
        try {
          weft::this_fiber::sleep_for(how_long);
          ++returned;
        } catch (const weft::canceled_error&) {
        }
      }));
    };
    add(std::chrono::nanoseconds::max());
    add(std::chrono::hours::max());
    add(std::chrono::duration<double>(1e300));
    add(std::chrono::duration<float, std::ratio<31556952>>(1e30f));
    sleepers.push_back(weft::spawn([&] {
      try {
        weft::this_fiber::sleep_until(clock::time_point::max());
        ++returned;
      } catch (const weft::canceled_error&) {
      }
    }));
    weft::this_fiber::sleep_for(5ms);
    EXPECT_EQ(returned, 0);
    sleepers.clear();
    EXPECT_EQ(returned, 0);
  });
}

// covers I115
TEST(Sleep, EndsInTheOrderOfDueTimes) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  on_fibers(
      [] {
        std::mt19937 random(20240607);
        for (int round = 0; round < 3; ++round) {
          constexpr int n = 200;  // fewer than a run queue holds: if all are due at once, they keep their order in it
          std::vector<int> due(n);
          std::iota(due.begin(), due.end(), 0);
          std::shuffle(due.begin(), due.end(), random);
          std::vector<int> woken;
          woken.reserve(n);
          const auto start = clock::now() + 50ms;  // all sleep by then
          weft::wait_group group;
          group.add(n);
          for (int d : due) {
            weft::go([&, d] {
              weft::this_fiber::sleep_until(start + d * 20us);
              EXPECT_GE(clock::now(), start + d * 20us);
              woken.push_back(d);
              group.done();
            });
          }
          group.wait();
          ASSERT_EQ(woken.size(), static_cast<std::size_t>(n));
          EXPECT_TRUE(std::is_sorted(woken.begin(), woken.end()));
        }
      },
      with_workers(1));
}

TEST(Sleep, NeverEndsEarly) {
  on_fibers([] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 200; ++i) {
      all.push_back(weft::spawn([i] {
        for (int k = 0; k < 5; ++k) {
          const auto time = std::chrono::nanoseconds((i * 7919 + k * 104729) % 300'000);
          const auto before = clock::now();
          weft::this_fiber::sleep_for(time);
          EXPECT_GE(clock::now() - before, time);
        }
      }));
    }
    for (auto& f : all) f.join();
  });
  const auto before = clock::now();
  weft::this_fiber::sleep_for(3ms);  // a plain thread
  EXPECT_GE(clock::now() - before, 3ms);
}

// covers I123
TEST(Sleep, BeatsAlwaysReadyFibers) {
  on_fibers([] {
    std::atomic<bool> finish{false};
    weft::wait_group group;
    group.add(2);
    for (int i = 0; i < 2; ++i) {
      weft::go([&] {
        while (!finish) weft::this_fiber::yield();
        group.done();
      });
    }
    for (int i = 0; i < 5; ++i) weft::this_fiber::sleep_for(1ms);
    finish = true;
    group.wait();
  });
}

}  // namespace
