// weft::lock_check: who leaves a thread with one of pthread's locks is found, and nobody else.
#include "tcp_pair.hpp"

#include <condition_variable>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;

// Where the reports must point to: not inlined, and with something behind the call that it cannot be the last.
volatile int behind = 0;

template <class Lock>
[[gnu::noinline]] void takes_it(Lock&& lock) {
  lock();
  behind = behind + 1;
}

template <class Wait>
[[gnu::noinline]] void waits_there(Wait&& wait) {
  wait();
  behind = behind + 1;
}

// holding runs `lock` and then `wait`, in a fiber.
template <class Lock, class Wait>
void holding(Lock lock, Wait wait) {
  weft::run([&] {
    weft::spawn(weft::spawn_options("holder"), [&] {
      takes_it(lock);
      waits_there(wait);
    }).join();
  });
}

void park() { weft::this_fiber::sleep_for(1ms); }

class spin {
 public:
  spin() { pthread_spin_init(&lock_, PTHREAD_PROCESS_PRIVATE); }
  ~spin() { pthread_spin_destroy(&lock_); }
  spin(const spin&) = delete;
  spin& operator=(const spin&) = delete;
  void lock() { pthread_spin_lock(&lock_); }
  bool try_lock() { return pthread_spin_trylock(&lock_) == 0; }
  void unlock() { pthread_spin_unlock(&lock_); }

 private:
  pthread_spinlock_t lock_;
};

// The report of `holding`: the lock, who took it, what is done and where, and the last line.
std::string report(const std::string& lock, const std::string& does) {
  return "weft: fiber [0-9]+ 'holder' has taken the " + lock + " 0x[0-9a-f]+, and holds it 1 time; taken at\n"
         ".* #[0-9]+ [^\n]*takes_it[^\n]*\n.*"
         "weft: and " + does + " at\n.* #[0-9]+ [^\n]*waits_there.*"
         "weft: fatal: fiber [0-9]+ 'holder' " + does + " while it holds the " + lock +
         " 0x[0-9a-f]+, which belongs to the thread";
}

class LockCheckDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  std::mutex mutex;
};

// covers O30
TEST_F(LockCheckDeathTest, WhoParksWithAMutexIsTold) {
  EXPECT_EXIT(holding([&] { mutex.lock(); }, park), ::testing::KilledBySignal(SIGABRT), report("pthread mutex", "parks"));
}

// covers O30
TEST_F(LockCheckDeathTest, EveryWayOfTakingCounts) {
  const auto dies = [](auto lock, const std::string& kind) {
    EXPECT_EXIT(holding(lock, park), ::testing::KilledBySignal(SIGABRT), report(kind, "parks"));
  };
  const auto later = [](clockid_t clock) {
    timespec t;
    ::clock_gettime(clock, &t);
    t.tv_sec += 100;
    return t;
  };
  pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  spin s;
  dies([&] { return mutex.try_lock(); }, "pthread mutex");
  dies([&] {
    const timespec t = later(CLOCK_REALTIME);
    pthread_mutex_timedlock(mutex.native_handle(), &t);
  }, "pthread mutex");
  dies([&] {
    const timespec t = later(CLOCK_MONOTONIC);
    pthread_mutex_clocklock(mutex.native_handle(), CLOCK_MONOTONIC, &t);
  }, "pthread mutex");
  dies([&] { pthread_rwlock_rdlock(&rwlock); }, "read lock of the pthread rwlock");
  dies([&] { pthread_rwlock_tryrdlock(&rwlock); }, "read lock of the pthread rwlock");
  dies([&] {
    const timespec t = later(CLOCK_REALTIME);
    pthread_rwlock_timedrdlock(&rwlock, &t);
  }, "read lock of the pthread rwlock");
  dies([&] {
    const timespec t = later(CLOCK_MONOTONIC);
    pthread_rwlock_clockrdlock(&rwlock, CLOCK_MONOTONIC, &t);
  }, "read lock of the pthread rwlock");
  dies([&] { pthread_rwlock_wrlock(&rwlock); }, "write lock of the pthread rwlock");
  dies([&] { pthread_rwlock_trywrlock(&rwlock); }, "write lock of the pthread rwlock");
  dies([&] {
    const timespec t = later(CLOCK_REALTIME);
    pthread_rwlock_timedwrlock(&rwlock, &t);
  }, "write lock of the pthread rwlock");
  dies([&] {
    const timespec t = later(CLOCK_MONOTONIC);
    pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &t);
  }, "write lock of the pthread rwlock");
  dies([&] { s.lock(); }, "pthread spin lock");
  dies([&] { s.try_lock(); }, "pthread spin lock");
}

// covers O30
TEST_F(LockCheckDeathTest, EveryWayOfLeavingCounts) {
  const auto dies = [&](auto wait, const std::string& does) {
    EXPECT_EXIT(holding([&] { mutex.lock(); }, wait), ::testing::KilledBySignal(SIGABRT), report("pthread mutex", does));
  };
  weft::channel<int> channel(0);
  dies([&] { channel.receive(); }, "parks");
  dies([] { weft::spawn([] {}).join(); }, "parks");
  dies([] {
    std::error_code ec;
    weft::net::tcp_listener l = weft::net::listen_tcp("127.0.0.1:0");
    l.set_deadline(1ms);
    (void)l.accept(ec);
  }, "parks");
  // Where nobody else is there to go first, yield goes on without leaving: until the loop is to be served.
  dies([] { for (int i = 0; i < 1000; ++i) weft::this_fiber::yield(); }, "yields");
}

// covers O30
TEST_F(LockCheckDeathTest, WhoEndsWithAMutexIsTold) {
  EXPECT_EXIT(holding([&] { mutex.lock(); }, [] {}), ::testing::KilledBySignal(SIGABRT),
              "taken at\n.*takes_it.*weft: and ends at\n.*fatal: fiber [0-9]+ 'holder' ends while it holds");
}

// covers O30
TEST_F(LockCheckDeathTest, AllLocksAreShown) {
  spin s;
  EXPECT_EXIT(holding([&] { mutex.lock(), s.lock(); }, park), ::testing::KilledBySignal(SIGABRT),
              "has taken the pthread mutex .*has taken the pthread spin lock .*parks.*\\(2 in all");
}

// covers O32
TEST_F(LockCheckDeathTest, AsOftenTakenAsGivenBack) {
  std::recursive_mutex recursive;
  std::shared_mutex shared;
  EXPECT_EXIT(holding([&] { recursive.lock(), recursive.lock(), recursive.lock(), recursive.unlock(); }, park),
              ::testing::KilledBySignal(SIGABRT), "pthread mutex .*, and holds it 2 times; taken at");
  EXPECT_EXIT(holding([&] { shared.lock_shared(), shared.lock_shared(), shared.unlock(); }, park),
              ::testing::KilledBySignal(SIGABRT), "read lock of the pthread rwlock .*, and holds it 1 time; taken at");
}

// covers O33
TEST_F(LockCheckDeathTest, BothEndsOfABlockingCallAreSuchPlaces) {
  const auto blocks = [](auto body) { return [body] { weft::blocking(body); }; };
  EXPECT_EXIT(holding([&] { mutex.lock(); }, blocks([&] { mutex.unlock(); })), ::testing::KilledBySignal(SIGABRT),
              report("pthread mutex", "begins or ends a blocking call"));
  EXPECT_EXIT(holding([] {}, blocks([&] { takes_it([&] { mutex.lock(); }); })), ::testing::KilledBySignal(SIGABRT),
              report("pthread mutex", "begins or ends a blocking call"));
}

// covers O33
TEST(LockCheck, InsideABlockingCallTheThreadIsTheFibers) {
  std::mutex mutex;
  weft::event event;
  on_fibers([&] {
    auto setter = weft::spawn([&] { event.set(); });
    weft::blocking([&] {
      const std::lock_guard guard(mutex);
      event.wait();  // the thread blocks
      weft::this_fiber::sleep_for(1ms);
      weft::this_fiber::yield();
      weft::blocking([] {});
    });
    setter.join();
  });
}

// covers O31
TEST(LockCheck, WhatIsGivenBackInTimeIsFine) {
  std::mutex mutex;
  std::timed_mutex timed;
  std::recursive_mutex recursive;
  std::shared_mutex shared;
  spin s;
  on_fibers([&] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 8; ++i) {
      all.push_back(weft::spawn([&] {
        for (int n = scaled(200); n != 0; --n) {
          { const std::scoped_lock guard(mutex, s); }
          { const std::unique_lock guard(timed, 10s); }
          { const std::unique_lock guard(recursive), again(recursive); }
          { const std::unique_lock guard(shared); }
          { const std::shared_lock guard(shared), again(shared); }
          weft::this_fiber::yield();
          // In another order than the reverse.
          mutex.lock();
          s.lock();
          mutex.unlock();
          s.unlock();
          weft::this_fiber::sleep_for(10us);
        }
      }));
    }
    for (auto& f : all) f.join();
  });
}

// covers O32
TEST(LockCheck, AFailedAttemptTakesNothing) {
  std::timed_mutex mutex;
  std::shared_mutex shared;
  spin s;
  const std::scoped_lock held(mutex, shared, s);  // by a thread
  on_fibers([&] {
    EXPECT_FALSE(mutex.try_lock());
    EXPECT_FALSE(mutex.try_lock_for(1ms));
    EXPECT_FALSE(shared.try_lock());
    EXPECT_FALSE(shared.try_lock_shared());
    EXPECT_FALSE(s.try_lock());
    park();
  });
}

// covers O31
TEST(LockCheck, AThreadKeepsItsLocks) {
  std::mutex mutex;
  weft::mutex ours;
  on_fibers([&] {
    weft::event locked;
    weft::event over;
    std::thread thread([&] {
      const std::lock_guard guard(mutex);
      locked.set();
      over.wait();
      const std::lock_guard waits(ours);
      weft::this_fiber::sleep_for(1ms);
      weft::blocking([] {});
    });
    locked.wait();
    {
      const std::lock_guard guard(ours);
      over.set();
      for (int i = 0; i < 10; ++i) park();
    }
    weft::blocking([&] { thread.join(); });
  });
}

// covers O31
TEST(LockCheck, AConditionOfTheSystemBlocksTheThread) {
  std::mutex mutex;
  std::condition_variable condition;
  std::condition_variable_any any;
  int turn = 0;
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) {
      std::unique_lock guard(mutex);
      condition.wait(guard, [&] { return turn % 2 == 1; });
      ++turn;
      condition.notify_all();
      any.notify_all();
    }
  });
  on_fibers([&] {
    for (int i = 0; i < 200; ++i) {
      {
        std::unique_lock guard(mutex);
        ++turn;
        condition.notify_all();
        if (i % 2 == 0) {
          condition.wait(guard, [&] { return turn % 2 == 0; });
        } else {
          while (!any.wait_for(guard, 1ms, [&] { return turn % 2 == 0; })) continue;
        }
        EXPECT_EQ(condition.wait_for(guard, 1us), std::cv_status::timeout);
      }
      weft::this_fiber::yield();
    }
  });
  other.join();
}

// covers O30
TEST_F(LockCheckDeathTest, AMutexIsHeldAgainAfterAWaitForACondition) {
  std::condition_variable condition;
  EXPECT_EXIT(holding(
                  [&] {
                    std::unique_lock guard(mutex);
                    condition.wait_for(guard, 1ms);
                    guard.release();
                  },
                  park),
              ::testing::KilledBySignal(SIGABRT), report("pthread mutex", "parks"));
}

// covers O31
TEST(LockCheck, LocksForFibersMayBeHeld) {
  weft::mutex mutex;
  weft::shared_mutex shared;
  int n = 0;
  on_fibers([&] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 10; ++i) {
      all.push_back(weft::spawn([&] {
        const std::scoped_lock guard(mutex);
        const std::shared_lock reading(shared);
        park();
        weft::this_fiber::yield();
        weft::blocking([] {});
        ++n;
      }));
    }
    for (auto& f : all) f.join();
  });
  EXPECT_EQ(n, 10);
}

// What the library itself does with mutexes of the system.
// covers O31
TEST(LockCheck, TheLibraryKeepsItsOwnRule) {
  on_fibers([&] {
    weft::net::tcp_listener l = weft::net::listen_tcp("localhost:0");
    auto server = weft::spawn([&] {
      weft::net::tcp_conn conn = l.accept();
      std::array<std::byte, 100> buffer;
      while (const std::size_t n = conn.read_some(buffer)) conn.write(std::span(buffer).first(n));
    });
    {
      weft::net::tcp_conn conn = weft::net::dial_tcp(l.local_endpoint());
      conn.write("abc");
      std::string got(3, '\0');
      conn.read_full(got);
      EXPECT_EQ(got, "abc");
      EXPECT_NE(weft::debug::dump().find("'test'"), std::string::npos);
    }
    server.join();
    weft::os::file f = weft::os::open_file("/dev/null");
    std::array<std::byte, 10> some;
    EXPECT_EQ(f.read_some(some), 0u);
    weft::timeout_scope soon(1ms);
    weft::event never;
    EXPECT_THROW(never.wait(), weft::canceled_error);
  });
}

}  // namespace
