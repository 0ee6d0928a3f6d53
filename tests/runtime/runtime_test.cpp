// Start and end of runtimes, embedding, several at once.
#include "runtime_fixture.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <malloc.h>

namespace {

using namespace std::chrono_literals;
using testing_support::eventually;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::with_workers;

template <class F>
std::error_code code_of(F&& f) {
  try {
    f();
  } catch (const std::system_error& e) {
    return e.code();
  }
  return {};
}

int main_function() { return 5; }

TEST(Run, ReturnsWhatMainReturns) {
  EXPECT_EQ(weft::run([] { return 3; }), 3);
  EXPECT_EQ(weft::run([] {}), 0);
  EXPECT_EQ(weft::run(main_function), 5);
  EXPECT_EQ(weft::run(&main_function), 5);
  const auto constant = [] { return 6; };
  EXPECT_EQ(weft::run(constant), 6);
  auto moved_in = [owned = std::make_unique<int>(7)] { return *owned; };  // not copied
  EXPECT_EQ(weft::run(moved_in), 7);
  int counted = 0;
  EXPECT_EQ(weft::run([&]() mutable { return ++counted; }, with_workers(1)), 1);
}

TEST(Run, RethrowsAfterTheShutdown) {
  std::atomic<bool> other_ended{false};
  const std::size_t threads_before = testing_support::threads();
  try {
    weft::run([&] {
      gate begun;
      weft::go([&] {
        begun.open();
        try {
          weft::this_fiber::sleep_for(1h);
        } catch (const weft::canceled_error&) {
          other_ended = true;
          throw;
        }
      });
      begun.pass();
      throw std::runtime_error("from main");
    });
    ADD_FAILURE() << "run returned";
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "from main");
  }
  EXPECT_TRUE(other_ended);
  EXPECT_TRUE(eventually([&] { return testing_support::threads() <= threads_before; }));
}

TEST(RunDeathTest, InsideAFiberIsFatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(weft::run([] { weft::run([] {}); }), "run on fiber");
  EXPECT_DEATH(weft::run([] {
                 weft::runtime other;
                 other.spawn([&] { other.stop(); }).join();
               }),
               "stop of a runtime by its own fiber");
}

// Sets a variable of the environment for as long as it exists.
class environment {
 public:
  environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value, 1);
  }
  ~environment() {
    if (old_) {
      ::setenv(name_, old_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(Options, WorkersComeFromTheEnvironment) {
  environment three("WEFT_WORKERS", "3");
  EXPECT_EQ(weft::runtime().stats().workers, 3u);
  EXPECT_EQ(weft::runtime(with_workers(2)).stats().workers, 2u);  // said explicitly
  environment empty("WEFT_WORKERS", "");
  EXPECT_GE(weft::runtime().stats().workers, 1u);
}

TEST(Options, BadOnesAreNamed) {
  for (const char* bad : {"0", "-1", "two", "2x", " 2", "99999", "18446744073709551617"}) {
    environment variable("WEFT_WORKERS", bad);
    try {
      weft::runtime rt;
      ADD_FAILURE() << bad << " was accepted";
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::invalid_argument);
      EXPECT_NE(std::string(e.what()).find(std::string("WEFT_WORKERS=") + bad), std::string::npos) << e.what();
    }
  }
  EXPECT_EQ(code_of([] { weft::runtime rt(with_workers(100'000)); }), std::errc::invalid_argument);
}

// covers L163
TEST(Shutdown, EndsParkedFibersByTheirStop) {
  std::atomic<int> ended{0};
  std::atomic<int> canceled{0};
  struct counts {
    std::atomic<int>& n;
    ~counts() { ++n; }
  };
  on_fibers([&] {
    for (int i = 0; i < 100; ++i) {
      weft::go([&, i] {
        counts at_end{ended};
        try {
          if (i % 2 == 0) {
            weft::this_fiber::sleep_for(1h);
          } else {
            weft::spawn([] { weft::this_fiber::sleep_for(1h); }).join();
          }
        } catch (const weft::canceled_error&) {
          ++canceled;
          weft::this_fiber::yield();
        }
      });
    }
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
  });
  EXPECT_EQ(ended, 100);
  EXPECT_EQ(canceled, 100);
}

TEST(Shutdown, FibersSpawnedMeanwhileStartWithTheStopStanding) {
  std::atomic<int> refused{0};
  on_fibers([&] {
    weft::go([&] {
      try {
        weft::this_fiber::sleep_for(1h);
      } catch (const weft::canceled_error&) {
        // Cleaning up with help: the helpers run, but may not wait.
        for (int i = 0; i < 10; ++i) {
          weft::go([&] {
            try {
              weft::this_fiber::sleep_for(1h);
            } catch (const weft::canceled_error&) {
              ++refused;
            }
          });
        }
      }
    });
    weft::this_fiber::yield();
  });
  EXPECT_EQ(refused, 10);
}

TEST(Shutdown, WithADeadlineGivesUpAndCanBeTakenUpAgain) {
  weft::runtime rt;
  gate may_end;
  rt.go([&] { may_end.pass(); });
  EXPECT_FALSE(rt.stop(5ms));
  EXPECT_FALSE(rt.stop(std::chrono::steady_clock::now()));
  EXPECT_EQ(rt.stats().live, 1u);
  may_end.open();
  EXPECT_TRUE(rt.stop(1h));
  rt.stop();
  EXPECT_EQ(rt.stats().live, 0u);
}

TEST(Shutdown, IsIdempotentAndConcurrent) {
  for (int round = 0; round < 20; ++round) {
    weft::runtime rt;
    for (int i = 0; i < 10; ++i) rt.go([] { weft::this_fiber::sleep_for(1h); });
    std::thread others[3];
    for (auto& t : others) t = std::thread([&] { rt.stop(); });
    rt.stop();
    EXPECT_EQ(rt.stats().live, 0u);
    for (auto& t : others) t.join();
  }
}

// covers J146
TEST(Shutdown, ThousandStartsAndStopsLeaveNothing) {
  // The C library reserves 64 MiB of addresses for each arena it makes, up to eight a CPU, whenever threads collide in
  // malloc; with a fixed number of arenas the growth that is left is ours.
  ::mallopt(M_ARENA_MAX, 1);
  const auto start_and_stop = [] {
    weft::runtime rt;
    for (int i = 0; i < 3; ++i) rt.go([] { weft::this_fiber::sleep_for(1h); });
    EXPECT_EQ(rt.spawn([] { return weft::spawn([] { return 1; }).join(); }).join(), 1);
  };
  for (int i = 0; i < 50; ++i) start_and_stop();
  const std::size_t descriptors = testing_support::open_descriptors();
  const std::size_t threads = testing_support::threads();
  const std::size_t virtual_size = testing_support::value_of("VmSize");
  const std::size_t resident = testing_support::value_of("VmRSS");
  for (int i = 0; i < 1000; ++i) start_and_stop();
  EXPECT_EQ(testing_support::open_descriptors(), descriptors);
  EXPECT_TRUE(eventually([&] { return testing_support::threads() <= threads; }));
  if (!testing_support::sanitized) {
    EXPECT_LE(testing_support::value_of("VmSize"), virtual_size + (64 << 10));
    EXPECT_LE(testing_support::value_of("VmRSS"), resident + (4 << 10));
  }
}

TEST(Shutdown, HandlesMayOutliveTheRuntime) {
  weft::fiber<std::string> with_result, stopped;
  weft::fiber<std::unique_ptr<int>> never_joined;
  weft::fiber<void> with_exception, detached;
  {
    weft::runtime rt;
    with_result = rt.spawn([] { return std::string("kept, and too long for the small string buffer"); });
    never_joined = rt.spawn([] { return std::make_unique<int>(1); });
    with_exception = rt.spawn([] { throw std::runtime_error("kept"); });
    detached = rt.spawn([] { weft::this_fiber::sleep_for(1h); });
    stopped = rt.spawn([] {
      weft::this_fiber::sleep_for(1h);
      return std::string();
    });
  }
  with_result.request_stop();
  EXPECT_NE(with_result.get_id(), 0u);
  EXPECT_EQ(with_result.join(), "kept, and too long for the small string buffer");
  EXPECT_THROW(with_exception.join(), std::runtime_error);
  EXPECT_THROW(stopped.join(), weft::canceled_error);
  detached.detach();
}

// covers J140
TEST(Embedding, PlainThreadsSpawn) {
  weft::runtime rt;
  std::atomic<int> ran{0};
  std::thread spawners[3];
  for (auto& t : spawners) {
    t = std::thread([&] {
      for (int i = 0; i < 300; ++i) {
        if (i % 3 == 0) {
          rt.go([&] { ++ran; });
        } else {
          EXPECT_EQ(rt.spawn([&](int x) { return ++ran, x; }, i).join(), i);  // an idle runtime wakes for it
        }
      }
    });
  }
  for (auto& t : spawners) t.join();
  EXPECT_TRUE(eventually([&] { return ran == 900; }));
}

TEST(Embedding, EnterMakesTheRuntimeCurrent) {
  weft::runtime one, two;
  EXPECT_EQ(code_of([] { weft::go([] {}); }), weft::errc::no_runtime);
  {
    const auto in_one = one.enter();
    weft::spawn([] {}).join();
    {
      const auto in_two = two.enter();
      weft::spawn([] {}).join();
      weft::spawn([] {}).join();
    }
    weft::spawn([] {}).join();
    // Each thread enters for itself.
    std::thread([] { EXPECT_EQ(code_of([] { weft::go([] {}); }), weft::errc::no_runtime); }).join();
  }
  EXPECT_EQ(code_of([] { weft::go([] {}); }), weft::errc::no_runtime);
  EXPECT_EQ(one.stats().spawned, 2u);
  EXPECT_EQ(two.stats().spawned, 2u);
}

TEST(Embedding, AGuardMayOutliveTheStop) {
  const std::size_t threads_before = testing_support::threads();
  {
    weft::runtime rt;
    const auto inside = rt.enter();
    weft::spawn([] {}).join();
    rt.stop();
    EXPECT_EQ(code_of([] { weft::go([] {}); }), weft::errc::no_runtime);
    EXPECT_EQ(code_of([&] { rt.go([] {}); }), weft::errc::no_runtime);
    EXPECT_EQ(code_of([&] { static_cast<void>(rt.enter()); }), weft::errc::no_runtime);
    // Another runtime meanwhile isn't mistaken for it.
    weft::runtime other;
    EXPECT_EQ(code_of([] { weft::go([] {}); }), weft::errc::no_runtime);
    EXPECT_EQ(other.stats().spawned, 0u);
  }
  EXPECT_TRUE(eventually([&] { return testing_support::threads() <= threads_before; }));
}

TEST(Embedding, SpawningRacesWithStop) {
  for (int round = 0; round < 50; ++round) {
    weft::runtime rt;
    std::atomic<int> started{0}, ran{0};
    std::atomic<bool> refused{false};
    std::thread spawner([&] {
      for (;;) {
        if (code_of([&] { rt.go([&] { ++ran; }); })) break;
        ++started;
      }
      refused = true;
    });
    while (started < round) std::this_thread::yield();
    rt.stop();
    spawner.join();
    EXPECT_TRUE(refused);
    EXPECT_EQ(started, ran);
  }
}

TEST(Several, RuntimesCross) {
  // Fibers of one join fibers of the other, and share locks and groups with them and with a plain thread.
  weft::runtime a, b;
  weft::mutex mutex;
  weft::wait_group group;
  long counter = 0;
  constexpr int fibers = 10, steps = 100;
  group.add(2 * fibers + 1);
  const auto work = [&](weft::runtime& other) {
    for (int i = 0; i < steps; ++i) {
      {
        const std::lock_guard lock(mutex);
        ++counter;
        if (i % 8 == 0) weft::this_fiber::yield();
      }
      if (i % 10 == 0) {
        EXPECT_EQ(other.spawn([i] {
          weft::this_fiber::yield();
          return i;
        }).join(), i);
      }
    }
    group.done();
  };
  for (int i = 0; i < fibers; ++i) {
    a.go([&] { work(b); });
    b.go([&] { work(a); });
  }
  std::thread plain([&] { work(a); });
  group.wait();
  plain.join();
  EXPECT_EQ(counter, (2 * fibers + 1) * steps);
}

TEST(Several, AFiberOwnsAnotherRuntime) {
  on_fibers([] {
    for (int i = 0; i < 5; ++i) {
      weft::runtime inner(with_workers(2));
      EXPECT_EQ(inner.spawn([] { return weft::spawn([] { return 2; }).join(); }).join(), 2);
      inner.go([] { weft::this_fiber::sleep_for(1h); });
      inner.stop();
    }
  });
}

TEST(Stats, CountFibers) {
  weft::runtime rt(with_workers(2));
  for (int i = 0; i < 10; ++i) rt.spawn([] { weft::spawn([] {}).join(); }).join();
  const weft::runtime_stats running = rt.stats();
  EXPECT_EQ(running.workers, 2u);
  EXPECT_EQ(running.spawned, 20u);
  EXPECT_GE(running.dispatches, 20u);
  rt.stop();
  const weft::runtime_stats ended = rt.stats();
  EXPECT_EQ(ended.spawned, 20u);
  EXPECT_EQ(ended.live, 0u);
  EXPECT_EQ(ended.threads, 0u);
}

}  // namespace
