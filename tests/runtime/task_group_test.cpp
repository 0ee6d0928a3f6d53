// task_group: joins, failures, limits, results, and who stops whom.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::scaled;
using weft::canceled_error;
using weft::task_group;
using weft::task_group_options;

void sleep_till_stopped() { weft::this_fiber::sleep_for(1h); }

// covers M6
TEST(TaskGroup, JoinWaitsForEveryTask) {
  on_fibers([] {
    std::atomic<int> done = 0;
    task_group<> group;
    for (int i = 0; i < scaled(1000); ++i) {
      group.spawn([&done] {
        weft::this_fiber::yield();
        ++done;
      });
    }
    group.join();
    EXPECT_EQ(done, scaled(1000));
    EXPECT_EQ(group.size(), 0u);
    group.join();  // nothing is left to wait for
    group.spawn([&done](int n) { done = n; }, 7);
    group.join();
    EXPECT_EQ(done, 7);
  });
}

// covers M6
TEST(TaskGroup, DestructionWaitsToo) {
  on_fibers([] {
    std::atomic<int> done = 0;
    {
      task_group<> group;
      for (int i = 0; i < 20; ++i) {
        group.spawn([&done] {
          for (int k = 0; k < 10; ++k) weft::this_fiber::yield();
          ++done;
        });
      }
    }
    EXPECT_EQ(done, 20);
    {
      task_group<> group;
      group.spawn([] { throw std::runtime_error("nobody asks"); });
    }
  });
}

// covers M7
TEST(TaskGroup, TheFirstFailureStopsTheOthersAndIsRethrown) {
  on_fibers([] {
    std::atomic<int> stopped = 0;
    task_group<> group;
    for (int i = 0; i < 10; ++i) {
      group.spawn([&] {
        EXPECT_THROW(sleep_till_stopped(), canceled_error);
        ++stopped;
        throw std::logic_error("a later one");
      });
    }
    group.spawn([] { throw std::runtime_error("the first"); });
    try {
      group.join();
      ADD_FAILURE() << "no exception";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "the first");
    }
    EXPECT_EQ(stopped, 10);
    EXPECT_TRUE(group.get_stop_token().stop_requested());
    // It stays stopped, and says why each time.
    bool was_stopped = false;
    group.spawn([&] { was_stopped = weft::this_fiber::stop_requested(); });
    EXPECT_THROW(group.join(), std::runtime_error);
    EXPECT_TRUE(was_stopped);
  });
}

TEST(TaskGroup, ATaskThatAnswersTheStopHasNotFailed) {
  on_fibers([] {
    task_group<> group;
    group.spawn(sleep_till_stopped);
    std::stop_source for_somebody_else = group.get_stop_source();
    for_somebody_else.request_stop();
    EXPECT_NO_THROW(group.join());
    // But one that is stopped by something else has.
    task_group<> other;
    other.spawn([] {
      const weft::timeout_scope scope(1ms);
      sleep_till_stopped();
    });
    EXPECT_THROW(other.join(), canceled_error);
  });
}

// covers M7
TEST(TaskGroup, StopsWhatItsTasksHaveStarted) {
  on_fibers([] {
    std::atomic<int> stopped = 0;
    task_group<> group;
    group.spawn([&] {
      auto child = weft::spawn([&] {
        EXPECT_THROW(sleep_till_stopped(), canceled_error);
        ++stopped;
      });
      const weft::shield s;
      child.join();
      ++stopped;
    });
    group.request_stop();
    group.join();
    EXPECT_EQ(stopped, 2);
  });
}

// covers M8
TEST(TaskGroup, NoMoreTasksThanTheLimitRun) {
  on_fibers([] {
    std::atomic<int> running = 0;
    std::atomic<int> most = 0;
    task_group<> group(task_group_options(3));
    for (int i = 0; i < scaled(300); ++i) {
      group.spawn([&] {
        const int now = ++running;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        weft::this_fiber::yield();
        --running;
      });
    }
    group.join();
    EXPECT_GE(most, 1);
    EXPECT_LE(most, 3);
  });
}

// covers M8
TEST(TaskGroup, AtTheLimitSpawnWaitsAndTrySpawnDoesNot) {
  on_fibers([] {
    gate first;
    bool second = false;
    task_group<> group(task_group_options(1));
    EXPECT_TRUE(group.try_spawn([&] { first.pass(); }));
    EXPECT_FALSE(group.try_spawn([] {}));
    {
      const weft::timeout_scope scope(1ms);
      EXPECT_THROW(group.spawn([] { ADD_FAILURE() << "was not started"; }), canceled_error);
    }
    auto opener = weft::spawn([&] { first.open(); });
    group.spawn([&] { second = true; });
    group.join();
    EXPECT_TRUE(second);
    opener.join();
  });
}

// covers M9
TEST(TaskGroup, ResultsComeInTheOrderOfSpawning) {
  on_fibers([] {
    task_group<std::unique_ptr<int>> group;
    for (int i = 0; i < 50; ++i) {
      group.spawn([i] {
        for (int k = 0; k < (50 - i) % 7; ++k) weft::this_fiber::yield();
        return std::make_unique<int>(i);
      });
    }
    const auto all = group.join();
    ASSERT_EQ(all.size(), 50u);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(*all[static_cast<std::size_t>(i)], i);
    EXPECT_TRUE(group.join().empty());  // those of the next round
    group.spawn([]() -> std::unique_ptr<int> { throw std::runtime_error("none"); });
    EXPECT_THROW(group.join(), std::runtime_error);
  });
}

TEST(TaskGroup, ATaskMaySpawnIntoItsOwnGroup) {
  on_fibers([] {
    std::atomic<int> leaves = 0;
    task_group<> group;
    const auto grow = [&](const auto& self, int depth) -> void {
      if (depth == 0) {
        ++leaves;
        return;
      }
      for (int i = 0; i < 2; ++i) group.spawn([&self, depth] { self(self, depth - 1); });
    };
    grow(grow, 8);
    group.join();
    EXPECT_EQ(leaves, 256);
  });
}

// Each takes along the group's token from the one before.
TEST(TaskGroup, ATaskMaySpawnItsSuccessorForEver) {
  on_fibers([] {
    std::atomic<int> generation = 0;
    task_group<> group;
    const auto next = [&](const auto& self) -> void {
      if (++generation < scaled(20'000)) group.spawn([&self] { self(self); });
    };
    next(next);
    group.join();
    EXPECT_EQ(generation, scaled(20'000));
    // Groups within groups have as many tokens as levels.
    const auto nest = [](const auto& self, int depth) -> int {
      if (depth == 0) return 0;
      task_group<int> inner;
      inner.spawn([&self, depth] { return self(self, depth - 1); });
      return inner.join().front() + 1;
    };
    EXPECT_EQ(nest(nest, 50), 50);
  });
}

// covers M10
TEST(TaskGroup, JoinEndsWithAStopOfItsCallerAndUnwindingStopsTheTasks) {
  on_fibers([] {
    std::atomic<int> stopped = 0;
    gate joins;
    auto owner = weft::spawn([&] {
      task_group<> group;
      for (int i = 0; i < 5; ++i) {
        group.spawn([&] {
          EXPECT_THROW(sleep_till_stopped(), canceled_error);
          ++stopped;
        });
      }
      joins.open();
      group.join();
    });
    joins.pass();
    owner.request_stop();
    EXPECT_THROW(owner.join(), canceled_error);
    EXPECT_EQ(stopped, 5);
    // Unwinding for another reason.
    try {
      task_group<> group;
      group.spawn([&] {
        EXPECT_THROW(sleep_till_stopped(), canceled_error);
        ++stopped;
      });
      throw std::runtime_error("something else");
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(stopped, 6);
    // A destructor that is reached with a stop standing doesn't wait for what nobody wants any more.
    auto in_vain = weft::spawn([&] {
      task_group<> group;
      group.spawn([&] {
        EXPECT_THROW(sleep_till_stopped(), canceled_error);
        ++stopped;
      });
    });
    in_vain.request_stop();
    in_vain.join();
    EXPECT_EQ(stopped, 7);
  });
}

// Arguments, functions and fiber_locals go before join comes back, on the task's fiber.
TEST(TaskGroup, WhatATaskHasIsDestroyedBeforeItIsJoined) {
  struct witness {
    std::atomic<int>* gone;
    std::uint64_t on = 0;
    explicit witness(std::atomic<int>* g) : gone(g) {}
    witness(witness&& other) noexcept : gone(std::exchange(other.gone, nullptr)) {}
    witness(const witness&) = delete;
    ~witness() {
      if (gone == nullptr) return;
      weft::this_fiber::yield();
      ++*gone;
    }
  };
  on_fibers([] {
    static weft::fiber_local<std::optional<witness>> local;
    std::atomic<int> gone = 0;
    task_group<> group;
    for (int i = 0; i < scaled(200); ++i) {
      group.spawn([w = witness(&gone), &gone](const witness&) { local->emplace(&gone); }, witness(&gone));
    }
    group.join();
    EXPECT_EQ(gone, 3 * scaled(200));
  });
}

TEST(TaskGroup, WorksFromAPlainThread) {
  weft::runtime rt;
  std::thread([&] {
    const auto guard = rt.enter();
    task_group<int> group(task_group_options(2));
    for (int i = 0; i < 10; ++i) group.spawn([i] { return i; });
    const std::vector<int> all = group.join();
    EXPECT_EQ(std::accumulate(all.begin(), all.end(), 0), 45);
  }).join();
  task_group<> homeless;
  EXPECT_THROW(homeless.spawn([] {}), std::system_error);
  homeless.join();
}

TEST(TaskGroup, AStartThatFailsLeavesNothing) {
  struct refuses {
    refuses() = default;
    refuses(const refuses&) { throw std::runtime_error("cannot be copied"); }
    int operator()() const { return 1; }
  };
  on_fibers([] {
    task_group<int> group(task_group_options(1));
    const refuses f;
    for (int i = 0; i < 3; ++i) EXPECT_THROW(group.spawn(f), std::runtime_error);
    EXPECT_EQ(group.size(), 0u);
    group.spawn([] { return 2; });
    EXPECT_EQ(group.join(), std::vector<int>{2});
  });
}

// Groups that fail, are stopped, hit their limit and end, all at once.
TEST(TaskGroup, AllShapesAtOnce) {
  on_fibers([] {
    std::atomic<int> begun = 0;
    std::atomic<int> ended = 0;
    const auto storm = [&](unsigned seed) {
      for (int round = 0; round < scaled(150); ++round) {
        seed = seed * 1664525u + 1013904223u;
        task_group<> group(task_group_options(seed % 4));
        const unsigned tasks = seed / 16 % 12;
        try {
          const weft::timeout_scope scope(std::chrono::microseconds(seed / 256 % 300));
          for (unsigned i = 0; i < tasks; ++i) {
            group.spawn([&, i, seed] {
              ++begun;
              struct counts {
                std::atomic<int>& n;
                ~counts() { ++n; }
              } const at_the_end{ended};
              if ((seed >> i) % 8 == 0) throw std::runtime_error("chance");
              weft::this_fiber::sleep_for(std::chrono::microseconds((seed >> i) % 200));
            });
          }
          if (seed % 5 == 0) group.request_stop();
          if (seed % 3 != 0) group.join();
        } catch (const std::system_error&) {
        } catch (const std::runtime_error&) {
        }
      }
    };
    std::vector<weft::fiber<>> storms;
    for (unsigned i = 0; i < 4; ++i) storms.push_back(weft::spawn(storm, i + 1));
    for (auto& s : storms) s.join();
    EXPECT_EQ(begun, ended);
    EXPECT_GT(begun, 0);
  });
}

}  // namespace
