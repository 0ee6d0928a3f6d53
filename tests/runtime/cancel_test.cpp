// Stop requests: what ends, what doesn't, and that they stand.
#include "runtime_fixture.hpp"

#include <atomic>
#include <chrono>
#include <mutex>
#include <stop_token>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::gate;
using testing_support::on_fibers;

TEST(Cancel, AStopEndsASleepAndStands) {
  on_fibers([] {
    gate asleep;
    weft::fiber<int> f = weft::spawn([&] {
      int canceled = 0;
      asleep.open();
      for (int i = 0; i < 3; ++i) {
        try {
          weft::this_fiber::sleep_for(1h);
        } catch (const weft::canceled_error& e) {
          EXPECT_EQ(e.code(), std::errc::operation_canceled);
          ++canceled;
        }
      }
      return canceled;
    });
    asleep.pass();
    f.request_stop();
    f.request_stop();
    EXPECT_EQ(f.join(), 3);
  });
}

TEST(Cancel, AStopBeforeTheStartStands) {
  // With one worker the fiber cannot have begun.
  on_fibers(
      [] {
        weft::fiber<void> f = weft::spawn([] { EXPECT_THROW(weft::this_fiber::sleep_for(0s), weft::canceled_error); });
        f.request_stop();
        f.join();
      },
      testing_support::with_workers(1));
}

TEST(Cancel, WhileUnwindingNothingIsCancelled) {
  on_fibers([] {
    std::atomic<bool> slept{false};
    gate asleep;
    weft::fiber<void> f = weft::spawn([&] {
      struct cleans_up {
        std::atomic<bool>& slept;
        ~cleans_up() {
          weft::this_fiber::sleep_for(1ms);
          weft::spawn([] { weft::this_fiber::sleep_for(1ms); }).join();
          slept = true;
        }
      } guard{slept};
      asleep.open();
      weft::this_fiber::sleep_for(1h);
    });
    asleep.pass();
    f.request_stop();
    EXPECT_THROW(f.join(), weft::canceled_error);
    EXPECT_TRUE(slept);
  });
}

TEST(Cancel, TokensReportStops) {
  EXPECT_FALSE(weft::this_fiber::get_stop_token().stop_possible());
  on_fibers([] {
    for (const bool token_first : {true, false}) {
      std::atomic<bool> called{false};
      gate has_token, stopped;
      weft::fiber<void> f = weft::spawn([&] {
        if (!token_first) stopped.pass();
        std::stop_token token = weft::this_fiber::get_stop_token();
        EXPECT_EQ(token.stop_requested(), !token_first);
        std::stop_callback callback(token, [&] { called = true; });
        has_token.open();
        stopped.pass();
        EXPECT_TRUE(token.stop_requested());
      });
      if (token_first) has_token.pass();
      f.request_stop();
      stopped.open();
      f.join();
      EXPECT_TRUE(called);
    }
  });
}

TEST(Cancel, TokensReportShutdown) {
  std::atomic<bool> called{false};
  on_fibers([&] {
    gate ready;
    weft::go([&] {
      std::stop_token token = weft::this_fiber::get_stop_token();
      std::stop_callback callback(token, [&] { called = true; });
      ready.open();
      while (!token.stop_requested()) weft::this_fiber::yield();
    });
    ready.pass();
  });
  EXPECT_TRUE(called);
}

TEST(Cancel, LocksAndGroupsAreNotCancelled) {
  on_fibers([] {
    weft::mutex m;
    weft::wait_group group;
    group.add();
    m.lock();
    std::atomic<int> passed{0};
    gate begun;
    weft::fiber<void> f = weft::spawn([&] {
      begun.open();
      m.lock();
      ++passed;
      m.unlock();
      group.wait();
      ++passed;
    });
    begun.pass();
    f.request_stop();
    for (int i = 0; i < 100; ++i) weft::this_fiber::yield();
    EXPECT_EQ(passed, 0);
    m.unlock();
    while (passed == 0) weft::this_fiber::yield();
    for (int i = 0; i < 100; ++i) weft::this_fiber::yield();
    EXPECT_EQ(passed, 1);
    group.done();
    f.join();
    EXPECT_EQ(passed, 2);
  });
}

// Stops race with the wake by the timer and with the start of the sleep: each sleep ends exactly once, one way.
TEST(Cancel, StopsRaceWithWakes) {
  on_fibers([] {
    for (int i = 0; i < 500; ++i) {
      weft::fiber<int> f = weft::spawn([i] {
        try {
          weft::this_fiber::sleep_for(std::chrono::microseconds(i % 20));
        } catch (const weft::canceled_error&) {
          return 1;
        }
        return 0;
      });
      for (int k = 0; k < i % 7; ++k) weft::this_fiber::yield();
      f.request_stop();
      const int outcome = f.join();
      ASSERT_TRUE(outcome == 0 || outcome == 1);
    }
  });
}

}  // namespace
