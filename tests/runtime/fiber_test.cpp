// Handles, results, arguments and exceptions of fibers.
#include "runtime_fixture.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::gate;
using testing_support::on_fibers;

template <class F>
std::error_code code_of(F&& f) {
  try {
    f();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

TEST(Fiber, JoinGivesTheResult) {
  on_fibers([] {
    EXPECT_EQ(weft::spawn([] { return 42; }).join(), 42);
    EXPECT_EQ(weft::spawn([](int a, int b) { return a - b; }, 50, 8).join(), 42);
    EXPECT_EQ(*weft::spawn([] { return std::make_unique<int>(7); }).join(), 7);
    EXPECT_EQ(weft::spawn([]() -> const std::string { return "const"; }).join(), "const");
    weft::spawn([] {}).join();

    int object = 1;
    weft::fiber<int&> f = weft::spawn([&]() -> int& { return object; });
    EXPECT_EQ(&f.join(), &object);
    weft::fiber<int&&> moved = weft::spawn([&]() -> int&& { return std::move(object); });
    int&& again = moved.join();
    EXPECT_EQ(&again, &object);
  });
}

struct alignas(256) wide {
  explicit wide(int v) : value(v) { aligned_from_birth = reinterpret_cast<std::uintptr_t>(this) % 256 == 0; }
  wide(const wide& other) : wide(other.value) {}
  int value;
  bool aligned_from_birth;
};

TEST(Fiber, OveralignedResultsAndArguments) {
  on_fibers([] {
    wide argument(5);
    const auto next = [](const wide& w) { return wide(w.aligned_from_birth ? w.value + 1 : -1); };
    wide result = weft::spawn(next, argument).join();
    EXPECT_EQ(result.value, 6);
    EXPECT_TRUE(result.aligned_from_birth);
  });
}

// covers L158
TEST(Fiber, JoinRethrows) {
  on_fibers([] {
    weft::fiber<int> f = weft::spawn([]() -> int { throw std::out_of_range("from the fiber"); });
    try {
      f.join();
      ADD_FAILURE() << "join returned";
    } catch (const std::out_of_range& e) {
      EXPECT_STREQ(e.what(), "from the fiber");
    }
    EXPECT_FALSE(f.joinable());
    // The worker that ran it works on.
    EXPECT_EQ(weft::spawn([] { return 1; }).join(), 1);
    EXPECT_THROW(weft::spawn([] { throw 42; }).join(), int);
  });
}

struct probe {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<std::uint64_t> last_destroyed_by{0};
  probe() { ++alive; }
  probe(const probe&) { ++alive; }
  probe(probe&&) noexcept { ++alive; }
  ~probe() {
    last_destroyed_by = weft::this_fiber::get_id();
    --alive;
  }
};

TEST(Fiber, FunctionAndArgumentsEndOnTheFiberBeforeJoinReturns) {
  on_fibers([] {
    const probe argument;
    const auto function = [in_capture = probe()](const probe&) { weft::this_fiber::yield(); };
    for (int i = 0; i < 100; ++i) {
      weft::fiber<void> f = weft::spawn(function, argument);  // copies both
      const std::uint64_t id = f.get_id();
      f.join();
      ASSERT_EQ(probe::alive, 2);
      ASSERT_EQ(probe::last_destroyed_by, id);
    }
  });
}

TEST(Fiber, ArgumentsDecay) {
  on_fibers([] {
    char text[] = "copied as a pointer";
    EXPECT_EQ(weft::spawn([](auto x) { return std::is_same_v<decltype(x), char*>; }, text).join(), true);
    int counted = 0;
    weft::spawn([](int& n) { ++n; }, std::ref(counted)).join();
    EXPECT_EQ(counted, 1);
    struct object {
      int member(int x) { return x + base; }
      int base = 10;
    } o;
    EXPECT_EQ(weft::spawn(&object::member, &o, 5).join(), 15);
    EXPECT_EQ(weft::spawn([](std::unique_ptr<int> p) { return *p; }, std::make_unique<int>(3)).join(), 3);
  });
}

struct throws_when_copied {
  throws_when_copied() = default;
  throws_when_copied(const throws_when_copied&) { throw std::runtime_error("copy"); }
};

TEST(Fiber, WhatCopyingThrowsStartsNothing) {
  const weft::runtime_stats stats = on_fibers([] {
    throws_when_copied argument;
    std::size_t resident_before = 0;
    for (int i = 0; i < 5000; ++i) {
      if (i == 100) resident_before = testing_support::value_of("VmRSS");
      EXPECT_THROW(static_cast<void>(weft::spawn([](const throws_when_copied&) {}, argument)), std::runtime_error);
      EXPECT_THROW(weft::go([](const throws_when_copied&) {}, argument), std::runtime_error);
    }
    // The stacks came back: each would be a page.
    if (!testing_support::sanitized) {
      EXPECT_LE(testing_support::value_of("VmRSS"), resident_before + (8 << 10));
    }
  });
  EXPECT_EQ(stats.spawned, 1u);
}

TEST(Fiber, EmptyHandlesSaySo) {
  on_fibers([] {
    weft::fiber<int> empty;
    EXPECT_FALSE(empty.joinable());
    EXPECT_EQ(empty.get_id(), 0u);
    EXPECT_EQ(code_of([&] { empty.join(); }), std::errc::invalid_argument);
    EXPECT_EQ(code_of([&] { empty.detach(); }), std::errc::invalid_argument);
    empty.request_stop();

    weft::fiber<int> f = weft::spawn([] { return 1; });
    weft::fiber<int> g = std::move(f);
    EXPECT_FALSE(f.joinable());
    EXPECT_TRUE(g.joinable());
    swap(f, g);
    EXPECT_EQ(f.join(), 1);
    EXPECT_EQ(code_of([&] { f.join(); }), std::errc::invalid_argument);
  });
}

TEST(Fiber, DestructionAndAssignmentRequestStopAndJoin) {
  on_fibers([] {
    std::atomic<int> canceled{0};
    const auto sleeper = [&] {
      try {
        weft::this_fiber::sleep_for(1h);
      } catch (const weft::canceled_error&) {
        ++canceled;
        throw;
      }
    };
    {
      weft::fiber<void> f = weft::spawn(sleeper);
      weft::this_fiber::yield();
    }
    EXPECT_EQ(canceled, 1);
    weft::fiber<void> f = weft::spawn(sleeper);
    f = weft::spawn([] {});
    EXPECT_EQ(canceled, 2);
    f.join();
    f = weft::spawn(sleeper);
    f = weft::fiber<void>();
    EXPECT_EQ(canceled, 3);
  });
}

TEST(Fiber, ExceptionsThatNobodyJoinedForAreCounted) {
  const weft::runtime_stats stats = on_fibers([] {
    { auto dropped = weft::spawn([] { throw std::runtime_error("not joined for"); }); }
    {  // What a stop is answered with isn't counted.
      auto canceled = weft::spawn([] { weft::this_fiber::sleep_for(1h); });
    }
    gate done;
    auto detached = weft::spawn([&] {
      struct opener {
        gate& g;
        ~opener() { g.open(); }
      } at_end{done};
      throw std::runtime_error("detached");
    });
    detached.detach();
    done.pass();
  });
  EXPECT_EQ(stats.unjoined_exceptions, 2u);
}

TEST(Fiber, DetachedResultsAreDestroyed) {
  on_fibers([] {
    for (int i = 0; i < 200; ++i) {
      weft::fiber<probe> f = weft::spawn([] { return probe(); });
      if (i % 2 == 0) weft::this_fiber::yield();  // some end before, some after
      f.detach();
      EXPECT_FALSE(f.joinable());
    }
  });
  EXPECT_EQ(probe::alive, 0);
}

TEST(Fiber, AStoppedJoinerCanJoinLater) {
  on_fibers([] {
    gate may_end;
    weft::fiber<int> joined = weft::spawn([&] {
      may_end.pass();
      return 9;
    });
    std::atomic<bool> canceled{false};
    weft::fiber<void> joiner = weft::spawn([&] {
      try {
        joined.join();
      } catch (const weft::canceled_error& e) {
        EXPECT_EQ(e.code(), std::errc::operation_canceled);
        canceled = true;
      }
      EXPECT_THROW(joined.join(), weft::canceled_error);  // the stop stands
    });
    weft::this_fiber::yield();
    joiner.request_stop();
    joiner.join();
    EXPECT_TRUE(canceled);
    EXPECT_TRUE(joined.joinable());
    may_end.open();
    EXPECT_EQ(joined.join(), 9);
  });
}

TEST(Fiber, PlainThreadsJoin) {
  weft::runtime rt;
  for (int i = 0; i < 50; ++i) {
    weft::fiber<int> f = rt.spawn([i] {
      weft::this_fiber::sleep_for(100us);
      return i;
    });
    EXPECT_EQ(f.join(), i);
  }
}

TEST(Fiber, SpawnWithoutARuntimeSaysSo) {
  EXPECT_EQ(code_of([] { weft::spawn([] {}).join(); }), weft::errc::no_runtime);
  EXPECT_EQ(code_of([] { weft::go([] {}); }), weft::errc::no_runtime);
}

TEST(Fiber, SpawnWithoutMemoryThrowsAndTheRestRunsOn) {
  on_fibers([] {
    const weft::spawn_options huge("huge", std::size_t{1} << 50);
    EXPECT_EQ(code_of([&] { weft::spawn(huge, [] {}).join(); }), std::errc::not_enough_memory);
    EXPECT_EQ(code_of([&] { weft::go(huge, [] {}); }), std::errc::not_enough_memory);
    EXPECT_EQ(weft::spawn([] { return 1; }).join(), 1);
  });
}

// uses_stack writes to so many bytes of the stack.
[[gnu::noinline]] int uses_stack(std::size_t bytes) {
  volatile char frame[16 * 1024];
  frame[0] = 1;
  frame[sizeof frame - 1] = 1;
  const int below = bytes > sizeof frame ? uses_stack(bytes - sizeof frame) : 0;
  return below + frame[0] + frame[sizeof frame - 1];
}

TEST(Fiber, TheStackIsAsLargeAsAsked) {
  on_fibers([] {
    for (std::size_t size : {std::size_t{128} << 10, std::size_t{1} << 20, std::size_t{8} << 20}) {
      const weft::spawn_options options("large", size);
      EXPECT_GT(weft::spawn(options, uses_stack, size - (40 << 10)).join(), 0);
    }
  });
}

TEST(Fiber, IdsAreNeverUsedAgain) {
  EXPECT_EQ(weft::this_fiber::get_id(), 0u);
  std::set<std::uint64_t> seen;
  for (int round = 0; round < 3; ++round) {
    on_fibers([&] {
      for (int i = 0; i < 1000; ++i) {
        weft::fiber<std::uint64_t> f = weft::spawn([] { return weft::this_fiber::get_id(); });
        const std::uint64_t id = f.get_id();
        ASSERT_EQ(f.join(), id);
        ASSERT_NE(id, 0u);
        ASSERT_TRUE(seen.insert(id).second);
      }
    });
  }
}

// covers L158
TEST(Go, OnUnhandledGetsTheExceptionAndTheName) {
  std::atomic<int> called{0};
  weft::runtime_options options;
  options.on_unhandled = [&](const weft::unhandled_exception& what) {
    EXPECT_EQ(what.name, "thrower");
    EXPECT_EQ(what.fiber, weft::this_fiber::get_id());
    EXPECT_THROW(std::rethrow_exception(what.error), std::logic_error);
    weft::this_fiber::yield();  // it may suspend
    ++called;
  };
  on_fibers(
      [&] {
        weft::go(weft::spawn_options("thrower"), [] { throw std::logic_error("escapes"); });
        while (called == 0) weft::this_fiber::yield();
      },
      options);
  EXPECT_EQ(called, 1);
}

TEST(Go, ACancellationAfterAStopJustEndsTheFiber) {
  std::atomic<int> unhandled{0};
  weft::runtime_options options;
  options.on_unhandled = [&](const weft::unhandled_exception&) { ++unhandled; };
  on_fibers(
      [] {
        for (int i = 0; i < 10; ++i) weft::go([] { weft::this_fiber::sleep_for(1h); });
      },
      options);
  EXPECT_EQ(unhandled, 0);
  // Without a stop, it is an exception like another.
  on_fibers(
      [&] {
        weft::go([] { throw weft::canceled_error("made up"); });
        while (unhandled == 0) weft::this_fiber::yield();
      },
      options);
  EXPECT_EQ(unhandled, 1);
}

TEST(FiberDeathTest, UnhandledExceptionNamesTheFiberAndTerminates) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(weft::run([] {
                 weft::go(weft::spawn_options("culprit"), [] { throw std::runtime_error("the reason"); });
                 for (;;) weft::this_fiber::yield();
               }),
               "unhandled exception in fiber [0-9]+ 'culprit': the reason");
}

TEST(FiberDeathTest, SelfJoinIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(weft::run([] {
                 weft::fiber<void> self;
                 gate assigned;
                 self = weft::spawn([&] {
                   assigned.pass();
                   self.join();
                 });
                 assigned.open();
                 for (;;) weft::this_fiber::yield();
               }),
               "joins itself");
}

}  // namespace
