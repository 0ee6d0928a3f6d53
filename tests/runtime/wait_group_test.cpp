// wait_group, from fibers and plain threads.
#include "runtime_fixture.hpp"

#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;

TEST(WaitGroup, EmptyDoesNotWait) {
  weft::wait_group group;
  group.wait();
  group.add(3);
  group.add(-3);
  group.wait();
}

TEST(WaitGroup, WaitsForAllAndShowsWhatTheyDid) {
  on_fibers([] {
    for (int round = 0; round < 50; ++round) {
      weft::wait_group group;
      std::array<int, 20> done{};  // ordered by the group alone: for ThreadSanitizer
      group.add(done.size());
      for (int& d : done) {
        weft::go([&] {
          weft::this_fiber::yield();
          d = 1;
          group.done();
        });
      }
      group.wait();
      for (int d : done) ASSERT_EQ(d, 1);
    }
  });
}

TEST(WaitGroup, ManyWaitAtOnce) {
  on_fibers([] {
    weft::wait_group group, begun;
    std::atomic<int> returned{0};
    constexpr int waiters = 100;  // several batches of wakes
    group.add();
    begun.add(waiters + 2);
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < waiters; ++i) {
      all.push_back(weft::spawn([&] {
        begun.done();
        group.wait();
        ++returned;
      }));
    }
    std::thread plain[2];
    for (auto& t : plain) {
      t = std::thread([&] {
        begun.done();
        group.wait();
        ++returned;
      });
    }
    begun.wait();
    for (int i = 0; i < 10; ++i) weft::this_fiber::yield();
    EXPECT_EQ(returned, 0);
    group.done();
    for (auto& f : all) f.join();
    weft::blocking([&] {
      for (auto& t : plain) t.join();
    });
    EXPECT_EQ(returned, waiters + 2);
  });
}

// The waiter frees the group while the done() that released it is still returning: for AddressSanitizer.
TEST(WaitGroup, MayBeDestroyedRightAfterWait) {
  on_fibers([] {
    for (int i = 0; i < 3000; ++i) {
      auto group = std::make_unique<weft::wait_group>();
      const int n = 1 + i % 4;
      for (int round = 0; round < 2; ++round) {
        group->add(n);
        for (int k = 0; k < n; ++k) {
          weft::go([shared = group.get()] { shared->done(); });
        }
        if (i % 3 == round) weft::this_fiber::yield();
        group->wait();
      }
      group.reset();
    }
  });
}

TEST(WaitGroup, CanBeUsedAgain) {
  on_fibers([] {
    weft::wait_group group;
    std::atomic<int> ran{0};
    for (int round = 0; round < 500; ++round) {
      group.add(4);
      for (int i = 0; i < 4; ++i) {
        weft::go([&] {
          ++ran;
          group.done();
        });
      }
      group.wait();
      ASSERT_EQ(ran, (round + 1) * 4);
    }
  });
}

TEST(WaitGroupDeathTest, NegativeCountsAreFatal) {
  weft::wait_group group;
  EXPECT_DEATH(group.done(), "negative count");
  group.add(2);
  EXPECT_DEATH(group.add(-3), "negative count");
  EXPECT_DEATH(group.add(std::numeric_limits<std::ptrdiff_t>::max()), "out of range");
  group.add(-2);
}

}  // namespace
