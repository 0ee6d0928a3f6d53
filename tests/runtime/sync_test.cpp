// The relatives of std's synchronisation, on fibers and plain threads.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::thrown_by;
using std::chrono::steady_clock;

// mixed runs body(i) on n fibers and two plain threads at once.
template <class Body>
void mixed(int n, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back([&, i] { body(n + i); });
  on_fibers([&] {
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < n; ++i) fibers.push_back(weft::spawn([&, i] { body(i); }));
    for (auto& f : fibers) f.join();
  });
  for (std::thread& t : threads) t.join();
}

TEST(Sync, TimedMutexGivesUp) {
  on_fibers([] {
    weft::timed_mutex m;
    std::unique_lock held(m);
    auto other = weft::spawn([&] {
      EXPECT_FALSE(m.try_lock());
      EXPECT_FALSE(m.try_lock_for(2ms));
      EXPECT_FALSE(m.try_lock_until(steady_clock::now() - 1s));
      EXPECT_TRUE(m.try_lock_for(1h));
      m.unlock();
    });
    weft::this_fiber::sleep_for(5ms);
    held.unlock();
    other.join();
    const std::unique_lock now(m, 1ms);
    EXPECT_TRUE(now.owns_lock());
  });
}

// Waits for a time that run out leave nothing behind: neither a bit nor a node.
TEST(Sync, TimedLocksRaceWithUnlocks) {
  weft::timed_mutex m;
  long count = 0;
  std::atomic<long> held{0};
  const int n = scaled(2000);
  mixed(6, [&](int i) {
    for (int k = 0; k < n; ++k) {
      if (!m.try_lock_for(std::chrono::microseconds((i + k) % 5 * 20))) continue;
      ++count;
      if (k % 16 == 0) weft::this_fiber::yield();
      ++held;
      m.unlock();
    }
  });
  EXPECT_EQ(count, held);
  EXPECT_GT(count, 0);
  EXPECT_TRUE(m.try_lock());
  m.unlock();
}

TEST(Sync, LocksEndWithAnExplicitBoundOnly) {
  on_fibers([] {
    weft::mutex m;
    std::unique_lock held(m);
    auto stopped = weft::spawn([&] {
      const std::scoped_lock lock(m);  // a stop does not end this
    });
    stopped.request_stop();
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
    std::stop_source source;
    auto bounded = weft::spawn([&] {
      const weft::sched::stop_link link(source.get_token());
      m.lock();
    });
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
    source.request_stop();
    EXPECT_THROW(bounded.join(), weft::canceled_error);
    weft::wait_group group;
    group.add();
    auto waiting = weft::spawn([&] {
      const weft::sched::stop_link link(source.get_token());
      group.wait();
    });
    EXPECT_THROW(waiting.join(), weft::canceled_error);
    group.done();
    held.unlock();
    stopped.join();
  });
}

TEST(Sync, RecursiveMutexIsFreeAfterAsManyUnlocks) {
  on_fibers([] {
    weft::recursive_timed_mutex m;
    m.lock();
    EXPECT_TRUE(m.try_lock());
    EXPECT_TRUE(m.try_lock_for(1ms));
    auto other = weft::spawn([&] { return m.try_lock(); });
    EXPECT_FALSE(other.join());
    weft::blocking([&] {  // the same fiber
      m.lock();
      m.unlock();
    });
    m.unlock();
    m.unlock();
    m.unlock();
    std::thread thread([&] {
      m.lock();
      m.lock();
      m.unlock();
      m.unlock();
    });
    thread.join();
    EXPECT_TRUE(weft::spawn([&] {
                  const bool got = m.try_lock();
                  if (got) m.unlock();
                  return got;
                }).join());
  });
}

TEST(SyncDeathTest, StrangersDontUnlock) {
  weft::recursive_mutex m;
  EXPECT_DEATH(m.unlock(), "recursive mutex by somebody who does not hold it");
  weft::shared_mutex s;
  EXPECT_DEATH(s.unlock(), "nobody holds alone");
  EXPECT_DEATH(s.unlock_shared(), "nobody shares");
  weft::latch l(1);
  EXPECT_DEATH(l.count_down(2), "latch: 1 counted down by 2");
  weft::binary_semaphore b(1);
  EXPECT_DEATH(b.release(), "above its maximum");
}

TEST(Sync, SharedMutexKeepsWritersAlone) {
  weft::shared_mutex m;
  long value = 0;
  std::atomic<int> readers{0};
  std::atomic<int> writers{0};
  std::atomic<long> written{0};
  const int n = scaled(1000);
  mixed(8, [&](int i) {
    for (int k = 0; k < n; ++k) {
      if ((i + k) % 4 == 0) {
        const std::unique_lock lock(m);
        EXPECT_EQ(++writers, 1);
        EXPECT_EQ(readers, 0);
        ++value;
        ++written;
        if (k % 8 == 0) weft::this_fiber::yield();
        --writers;
      } else {
        const std::shared_lock lock(m);
        ++readers;
        EXPECT_EQ(writers, 0);
        if (k % 8 == 0) weft::this_fiber::yield();
        --readers;
      }
    }
  });
  EXPECT_EQ(value, written);
}

TEST(Sync, SharedMutexServesInTheOrderOfArrival) {
  on_fibers([] {
    weft::shared_mutex m;
    std::shared_lock first(m);
    std::vector<int> order;
    auto writer = weft::spawn([&] {
      const std::unique_lock lock(m);
      order.push_back(1);
    });
    while (m.try_lock_shared()) {
      m.unlock_shared();
      weft::this_fiber::yield();
    }
    EXPECT_FALSE(m.try_lock_shared_for(1ms));  // behind the writer
    EXPECT_FALSE(m.try_lock_for(1ms));
    auto reader = weft::spawn([&] {
      const std::shared_lock lock(m);
      order.push_back(2);
    });
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
    first.unlock();
    writer.join();
    reader.join();
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
    // A writer that gives up lets the readers behind it in.
    const std::shared_lock again(m);
    auto impatient = weft::spawn([&] { return m.try_lock_for(20ms); });
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
    auto behind = weft::spawn([&] { const std::shared_lock lock(m); });
    EXPECT_FALSE(impatient.join());
    behind.join();
  });
}

TEST(Sync, ConditionVariablesHandOver) {
  weft::mutex m;
  weft::condition_variable changed;
  int turn = 0;
  const int n = scaled(2000);
  mixed(4, [&](int i) {
    for (int k = 0; k < n; ++k) {
      std::unique_lock lock(m);
      changed.wait(lock, [&] { return turn % 6 == i; });
      ++turn;
      changed.notify_all();
    }
  });
  EXPECT_EQ(turn, 6 * n);
}

TEST(Sync, ConditionVariablesNotifyInTurnAndGiveUpInTime) {
  on_fibers([] {
    weft::mutex m;
    weft::condition_variable c;
    c.notify_one();  // nobody: forgotten
    std::unique_lock lock(m);
    EXPECT_EQ(c.wait_for(lock, 2ms), std::cv_status::timeout);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_FALSE(c.wait_for(lock, 2ms, [] { return false; }));
    EXPECT_TRUE(c.wait_until(lock, steady_clock::now() - 1s, [] { return true; }));
    lock.unlock();
    std::vector<int> order;
    std::vector<weft::fiber<void>> waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.push_back(weft::spawn([&, i] {
        std::unique_lock mine(m);
        order.push_back(-i);
        c.wait(mine);
        order.push_back(i);
      }));
      for (std::size_t n = 0; n != static_cast<std::size_t>(i) + 1; weft::this_fiber::yield()) {
        const std::scoped_lock look(m);  // whoever has pushed waits once we hold the mutex
        n = order.size();
      }
    }
    order.clear();
    for (int i = 0; i < 3; ++i) {
      c.notify_one();
      waiting[static_cast<std::size_t>(i)].join();
    }
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
    // A stop of the fiber does not end the wait, a token does, and the lock is held then.
    std::stop_source source;
    std::atomic<bool> began{false};
    auto stoppable = weft::spawn([&] {
      std::unique_lock mine(m);
      began = true;
      const bool held = c.wait(mine, source.get_token(), [] { return false; });
      EXPECT_TRUE(mine.owns_lock());
      return held;
    });
    while (!began) weft::this_fiber::yield();
    stoppable.request_stop();
    weft::this_fiber::yield();
    source.request_stop();
    EXPECT_FALSE(stoppable.join());
    // An unlock that throws leaves no trace.
    std::unique_lock<weft::mutex> not_held(m, std::defer_lock);
    EXPECT_EQ(thrown_by([&] { c.wait(not_held); }).first, std::errc::operation_not_permitted);
    c.notify_all();
  });
}

TEST(Sync, SemaphoresCount) {
  weft::counting_semaphore<3> s(3);
  std::atomic<int> inside{0};
  const int n = scaled(1000);
  mixed(8, [&](int i) {
    for (int k = 0; k < n; ++k) {
      if (i % 3 == 0 && k % 4 == 0) {
        if (!s.try_acquire_for(std::chrono::microseconds(k % 50))) continue;
      } else {
        s.acquire();
      }
      EXPECT_LE(++inside, 3);
      if (k % 8 == 0) weft::this_fiber::yield();
      --inside;
      s.release();
    }
  });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(s.try_acquire());
  EXPECT_FALSE(s.try_acquire());
  on_fibers([] {
    weft::binary_semaphore none(0);
    std::stop_source source;
    auto waiting = weft::spawn([&] { none.acquire(source.get_token()); });
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
    source.request_stop();
    EXPECT_THROW(waiting.join(), weft::canceled_error);
    none.release();
    EXPECT_TRUE(none.try_acquire());
  });
}

TEST(Sync, EventsWakeAllOrOne) {
  on_fibers([] {
    weft::event e;
    EXPECT_FALSE(e.wait_for(1ms));
    std::vector<weft::fiber<void>> waiting;
    for (int i = 0; i < 10; ++i) waiting.push_back(weft::spawn([&] { e.wait(); }));
    std::thread setter([&] { e.set(); });
    for (auto& w : waiting) w.join();
    setter.join();
    e.wait();
    e.reset();
    EXPECT_FALSE(e.is_set());

    weft::auto_reset_event one;
    one.set();
    one.set();
    EXPECT_TRUE(one.try_wait());
    EXPECT_FALSE(one.try_wait());
    std::atomic<int> passed{0};
    std::vector<weft::fiber<void>> some;
    for (int i = 0; i < 5; ++i) {
      some.push_back(weft::spawn([&] {
        one.wait();
        ++passed;
      }));
    }
    for (int i = 1; i <= 5; ++i) {
      one.set();
      while (passed != i) weft::this_fiber::yield();
    }
    for (auto& f : some) f.join();
    EXPECT_FALSE(one.wait_for(1ms));
  });
}

TEST(Sync, LatchesAndBarriers) {
  on_fibers([] {
    weft::latch l(5);
    std::vector<weft::fiber<void>> all;
    std::atomic<int> before{0};
    for (int i = 0; i < 5; ++i) {
      all.push_back(weft::spawn([&] {
        ++before;
        l.arrive_and_wait();
        EXPECT_EQ(before, 5);
      }));
    }
    l.wait();
    EXPECT_TRUE(l.try_wait());
    for (auto& f : all) f.join();
  });
  int phase = 0;
  const int phases = scaled(500);
  weft::barrier b(6, [&]() noexcept { ++phase; });
  mixed(4, [&](int i) {
    for (int k = 0; k < phases; ++k) {
      EXPECT_EQ(phase, k) << i;
      b.arrive_and_wait();
    }
    b.arrive_and_drop();
  });
  EXPECT_EQ(phase, phases + 1);
}

TEST(Sync, OnceIsOnce) {
  weft::once_flag flag;
  std::atomic<int> calls{0};
  std::atomic<int> failures{0};
  mixed(10, [&](int) {
    try {
      weft::call_once(flag, [&] {
        weft::this_fiber::yield();
        if (++calls < 4) throw std::runtime_error("not yet");
      });
      EXPECT_EQ(calls, 4);
    } catch (const std::runtime_error&) {
      ++failures;
    }
  });
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(failures, 3);
}

// Clean-up code waits for a time though a stop stands, and ends.
TEST(Sync, TimedWaitsEndWhileTheCallerUnwinds) {
  struct clean_up {
    ~clean_up() {
      const weft::channel<int> c(0);
      weft::timed_mutex m;
      m.lock();
      EXPECT_EQ(c.try_receive_for(2ms), std::nullopt);
      EXPECT_EQ(weft::select(weft::on_receive(c), weft::on_timeout(2ms)), 1u);
      EXPECT_FALSE(m.try_lock_for(2ms));
      m.unlock();
      weft::this_fiber::sleep_for(1ms);
    }
  };
  const auto unwind = [] {
    try {
      const clean_up at_the_end;
      throw std::runtime_error("unwinds");
    } catch (const std::runtime_error&) {
    }
  };
  unwind();  // a plain thread
  on_fibers([&] {
    auto stopped = weft::spawn([&] {
      std::stop_source source;
      const weft::sched::stop_link outer(source.get_token());
      source.request_stop();
      unwind();
      EXPECT_THROW(weft::this_fiber::sleep_for(1h), weft::canceled_error);  // the outer link counts again
    });
    stopped.request_stop();
    stopped.join();
  });
}

}  // namespace
