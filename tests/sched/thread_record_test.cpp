// A plain thread's place to wait, and the small lock.
#include <thread_record.hpp>

#include <weft/sched/spin_lock.hpp>

#include <support/engine.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

// As park does on a plain thread.
void park_on(sched::thread_record* r, const sched::commit& c) {
  static constinit const std::atomic<bool> nobody{false};
  sched::park_thread(r, c, r->stops, nobody);
}

constexpr auto stay = [](sched::waiter, void*, std::uintptr_t) noexcept { return true; };

// T1: the token word, by what happens to it.

TEST(ThreadRecord, ATokenThatIsThereEndsThePark) {
  sched::thread_record* r = sched::acquire_record();
  EXPECT_EQ(r->token, 0u);
  sched::ready_thread(r);
  EXPECT_EQ(r->token, 1u);
  sched::ready_thread(r);  // they merge
  park_on(r, {stay});
  EXPECT_EQ(r->token, 0u);
  sched::release_record(r);
}

TEST(ThreadRecord, ARefusedCommitLeavesTheTokenAlone) {
  sched::thread_record* r = sched::acquire_record();
  const sched::commit refuse{[](sched::waiter, void*, std::uintptr_t) noexcept { return false; }};
  park_on(r, refuse);
  sched::ready_thread(r);
  park_on(r, refuse);
  EXPECT_EQ(r->token, 1u);
  park_on(r, {stay});
  sched::release_record(r);
}

TEST(ThreadRecord, WakeFromInsideOfTheCommit) {
  sched::thread_record* r = sched::acquire_record();
  park_on(r, {[](sched::waiter self, void*, std::uintptr_t) noexcept {
                       sched::ready(self);
                       return true;
                     }});
  EXPECT_EQ(r->token, 0u);
  sched::release_record(r);
}

TEST(ThreadRecord, IsOnePerThreadAndReused) {
  const auto own = sched::current_waiter();
  EXPECT_TRUE(own.is_thread());
  EXPECT_EQ(sched::current_waiter(), own);
  sched::thread_record* first = nullptr;
  std::thread([&] { first = sched::current_waiter().as_thread(); }).join();
  EXPECT_NE(first, own.as_thread());
  sched::thread_record* second = nullptr;
  std::thread([&] { second = sched::current_waiter().as_thread(); }).join();
  EXPECT_EQ(second, first);
  // A waker that is late by a thread's life wakes its successor, for nothing, and does no other harm.
  sched::ready(sched::waiter(first));
  std::thread([&] {
    sched::park({stay}, sched::wait_reason::none);
    EXPECT_EQ(sched::current_waiter().as_thread()->token, 0u);
  }).join();
}

TEST(Waiter, TagsTheKindInItsBits) {
  sched::waiter none;
  EXPECT_FALSE(none);
  EXPECT_EQ(none.bits(), 0u);
  auto* r = sched::acquire_record();
  const sched::waiter w(r);
  EXPECT_TRUE(w);
  EXPECT_TRUE(w.is_thread());
  EXPECT_EQ(w.as_thread(), r);
  EXPECT_EQ(sched::waiter::from_bits(w.bits()), w);
  EXPECT_EQ(w.bits() & 2, 0u);
  EXPECT_GT(w.bits(), 2u);
  sched::release_record(r);
}

// T3: two threads and two records; every wake after a commit ends a park.
TEST(ThreadRecord, PingPongLosesNoWake) {
  struct side {
    sched::thread_record* record = sched::acquire_record();
    std::atomic<int> balls{0};
  } a, b;
  const int rounds = 5'000 * static_cast<int>(test_scale());
  const auto play = [rounds](side& mine, side& other) {
    for (int i = 0; i < rounds; ++i) {
      while (mine.balls.load() == 0) {
        park_on(mine.record, {[](sched::waiter, void* s, std::uintptr_t) noexcept {
                                           return static_cast<side*>(s)->balls.load() == 0;
                                         },
                                         &mine});
      }
      mine.balls.fetch_sub(1);
      other.balls.fetch_add(1);
      sched::ready_thread(other.record);
    }
  };
  a.balls = 1;
  std::thread one([&] { play(a, b); });
  std::thread two([&] { play(b, a); });
  one.join();
  two.join();
  EXPECT_EQ(a.balls + b.balls, 1);
  sched::release_record(a.record);
  sched::release_record(b.record);
}

TEST(SpinLock, TryLockTellsWhetherItWasFree) {
  sched::spin_lock lock;
  EXPECT_TRUE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock());
  lock.unlock();
  lock.lock();
  EXPECT_FALSE(lock.try_lock());
  std::thread([&] { lock.unlock(); }).join();  // it belongs to nobody
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
}

// T3: mutual exclusion by a counter that is no atomic; holders that sleep make others sleep on the word.
TEST(SpinLock, ExcludesAndForgetsNoSleeper) {
  sched::spin_lock lock;
  long counter = 0;
  const long rounds = 20'000L * test_scale();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (long i = 0; i < rounds; ++i) {
        std::lock_guard guard(lock);
        const long seen = counter;
        if (i % 1000 == 0) {
          for (int k = 0; k < 20; ++k) ::sched_yield();  // long enough for the others to give up spinning
        }
        counter = seen + 1;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(counter, 4 * rounds);
}

TEST(SpinLock, TwoSleepersAreBothWokenInTurn) {
  // Nobody else comes by whose unlock would help.
  sched::spin_lock lock;
  std::atomic<int> through{0};
  std::atomic<long> ids[2] = {};
  lock.lock();
  std::vector<std::thread> sleepers;
  for (auto& id : ids) {
    sleepers.emplace_back([&] {
      id.store(thread_id());
      lock.lock();
      lock.unlock();
      through.fetch_add(1);
    });
  }
  const auto asleep = [](long id) {
    std::ifstream stat("/proc/self/task/" + std::to_string(id) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    const auto end = text.rfind(')');
    return end != std::string::npos && text[end + 2] == 'S';
  };
  for (auto& id : ids) {
    ASSERT_TRUE(spin_until([&] { return id.load() != 0 && asleep(id.load()); }));
  }
  lock.unlock();
  if (!spin_until([&] { return through.load() == 2; })) {
    std::fputs("a sleeper was forgotten\n", stderr);
    std::abort();  // it can't be joined
  }
  for (auto& t : sleepers) t.join();
}

TEST(SpinLock, MayBeUnlockedByTheCommitOfAPark) {
  engine e;
  sched::spin_lock lock;
  struct guarded {
    sched::spin_lock& lock;
    sched::waiter waiting{};
  } g{lock};
  task t = e.spawn([&] {
    lock.lock();
    sched::park({[](sched::waiter self, void* object, std::uintptr_t) noexcept {
                   auto* of = static_cast<guarded*>(object);
                   of->waiting = self;
                   of->lock.unlock();
                   return true;
                 },
                 &g},
                sched::wait_reason::none);
  });
  ASSERT_TRUE(spin_until([&] {
    std::lock_guard guard(lock);
    return static_cast<bool>(g.waiting);
  }));
  sched::ready(g.waiting);
}

}  // namespace
