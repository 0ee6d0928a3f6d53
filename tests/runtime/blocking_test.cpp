// blocking(): a fiber that blocks its thread.
#include "tcp_pair.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::tcp_pair;
using testing_support::with_workers;

TEST(Blocking, GivesTheResultOrTheException) {
  EXPECT_EQ(weft::blocking([] { return 1; }), 1);  // a plain thread
  on_fibers([] {
    EXPECT_EQ(weft::blocking([] { return 42; }), 42);
    EXPECT_EQ(*weft::blocking([] { return std::make_unique<int>(7); }), 7);
    int object = 0;
    EXPECT_EQ(&weft::blocking([&]() -> int& { return object; }), &object);
    EXPECT_EQ(weft::blocking([](int a, int b) { return a + b; }, 1, 2), 3);
    weft::blocking([] {});
    EXPECT_THROW(weft::blocking([]() -> int { throw std::runtime_error("inside"); }), std::runtime_error);
    // Nested it does nothing more.
    EXPECT_EQ(weft::blocking([] { return weft::blocking([] { return 5; }); }), 5);
    EXPECT_EQ(weft::this_fiber::get_id(), weft::blocking([] { return weft::this_fiber::get_id(); }));
  });
}

// A latch of the operating system: what waits on it blocks its thread.
class os_latch {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

// covers J136
TEST(Blocking, OneWorkerServesTheOthersMeanwhile) {
  on_fibers(
      [] {
        os_latch latch;
        weft::fiber<std::uint64_t> blocked = weft::spawn([&] {
          weft::blocking([&] { latch.wait(); });
          return weft::this_fiber::get_id();
        });
        const std::uint64_t id = blocked.get_id();
        // Others run, sleep and spawn while the only worker's thread is blocked; only they can open the latch.
        weft::this_fiber::sleep_for(1ms);
        for (int i = 0; i < 100; ++i) weft::spawn([] { weft::this_fiber::yield(); }).join();
        latch.open();
        EXPECT_EQ(blocked.join(), id);
      },
      with_workers(1));
}

// covers J142
TEST(Blocking, SomebodyStillPollsWhenAllWorkersBlock) {
  on_fibers([] {
    os_latch latch;
    weft::wait_group inside, all;
    constexpr int n = 16;  // more than there are workers
    inside.add(n);
    all.add(n);
    for (int i = 0; i < n; ++i) {
      weft::go([&] {
        weft::blocking([&] {
          inside.done();
          latch.wait();
        });
        all.done();
      });
    }
    inside.wait();
    // Every thread that there was blocks. A timer still ends, and a plain thread can still spawn.
    weft::this_fiber::sleep_for(2ms);
    latch.open();
    all.wait();
  });
}

// covers J137
TEST(Blocking, ThreadsAreBounded) {
  weft::runtime_options options;
  options.blocking_threads = 8;
  on_fibers(
      [] {
        const std::size_t before = testing_support::threads();
        std::atomic<int> inside{0};
        std::atomic<int> most{0};
        weft::wait_group all;
        constexpr int n = 1000;
        all.add(n);
        for (int i = 0; i < n; ++i) {
          weft::go([&] {
            weft::blocking([&] {
              const int now = ++inside;
              for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
              }
              std::this_thread::sleep_for(20us);
              --inside;
            });
            all.done();
          });
        }
        all.wait();
        EXPECT_LE(most, 8);
        EXPECT_GE(most, 1);
        EXPECT_LE(testing_support::threads(), before + 8 + testing_support::default_workers());
      },
      options);
}

// A thousand calls that all block until somebody else opens the latch, and nobody could if the others did not go on: a timer,
// a connection, fibers that compute.
// covers O43
TEST(Blocking, AThousandAtOnceHaveAsManyThreadsAsAllowedAndNobodyElseWaits) {
  weft::runtime_options options;
  options.blocking_threads = 32;
  on_fibers(
      [] {
        constexpr int n = 1000;
        const std::size_t before = testing_support::threads();
        for (int round = 0; round < 3; ++round) {
          os_latch latch;
          std::atomic<int> inside{0};
          std::atomic<int> most{0};
          std::atomic<int> done{0};
          std::atomic<bool> over{false};
          weft::wait_group all;
          all.add(n);
          for (int i = 0; i < n; ++i) {
            weft::go([&] {
              weft::blocking([&] {
                const int now = ++inside;
                for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                }
                latch.wait();
                --inside;
              });
              ++done;
              all.done();
            });
          }
          std::atomic<std::uint64_t> yields{0};
          std::vector<weft::fiber<void>> busy;
          for (int i = 0; i < 8; ++i) {
            busy.push_back(weft::spawn([&] {
              while (!over) {
                ++yields;
                weft::this_fiber::yield();
              }
            }));
          }
          // All places are taken, and stay so while the others get on.
          while (inside != 32) weft::this_fiber::yield();
          tcp_pair pair = testing_support::connected_pair();
          weft::fiber<void> echo = weft::spawn([&] {
            char c = 0;
            for (int i = 0; i < 100; ++i) {
              pair.server.read_some(std::span(&c, 1));
              pair.server.write(std::span<const char>(&c, 1));
            }
          });
          const std::uint64_t yields_before = yields;
          for (int i = 0; i < 100; ++i) {
            char c = static_cast<char>(i);
            pair.client.write(std::span<const char>(&c, 1));
            pair.client.read_some(std::span(&c, 1));
            EXPECT_EQ(c, static_cast<char>(i));
            if (i % 10 == 0) weft::this_fiber::sleep_for(100us);
          }
          echo.join();
          EXPECT_GT(yields, yields_before);
          EXPECT_EQ(inside, 32);
          EXPECT_EQ(done, 0);
          EXPECT_LE(testing_support::threads(), before + 32 + testing_support::default_workers());
          latch.open();
          all.wait();
          over = true;
          for (auto& f : busy) f.join();
          EXPECT_EQ(most, 32);
          EXPECT_EQ(done, n);
          EXPECT_LE(testing_support::threads(), before + 32 + testing_support::default_workers()) << "the same, round after round";
        }
      },
      options);
}

TEST(Blocking, WaitsOfWeftBlockTheThread) {
  on_fibers([] {
    weft::mutex m;
    weft::wait_group group;
    group.add();
    m.lock();
    weft::fiber<int> f = weft::spawn([&] {
      return weft::blocking([&] {
        group.done();
        weft::this_fiber::sleep_for(100us);
        const std::lock_guard lock(m);
        weft::this_fiber::yield();
        weft::fiber<int> child = weft::spawn([] { return 3; });
        return child.join();
      });
    });
    group.wait();
    weft::this_fiber::yield();
    m.unlock();
    EXPECT_EQ(f.join(), 3);
  });
}

TEST(Blocking, ExceptionsInFlightStayWithTheirFiber) {
  on_fibers([] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 50; ++i) {
      all.push_back(weft::spawn([i] {
        for (int k = 0; k < 20; ++k) {
          try {
            weft::blocking([&] {
              if (k % 2 == 0) std::this_thread::sleep_for(50us);
              throw i * 1000 + k;
            });
            ADD_FAILURE();
          } catch (int caught) {
            weft::blocking([] { std::this_thread::sleep_for(10us); });
            EXPECT_EQ(caught, i * 1000 + k);
            EXPECT_EQ(std::uncaught_exceptions(), 0);
          }
        }
      }));
    }
    for (auto& f : all) f.join();
  });
}

}  // namespace
