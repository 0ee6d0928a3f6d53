#include <fd_mutex.hpp>
#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using poll::canceled;
using poll::closed;
using poll::entry;
using poll::mode;
using poll::ok;
using poll::stoppable;

// A queue that only counts, for a single thread: whoever would wait finds a grant or is stopped.
struct counting_queue {
  int grants = 0;
  int asked = 0;
  bool acquire(stoppable, sched::wait_reason) noexcept {
    ++asked;
    if (grants == 0) return false;
    --grants;
    return true;
  }
  void release(std::uint32_t n) noexcept { grants += static_cast<int>(n); }
};
using table_mutex = poll::basic_fd_mutex<std::atomic, counting_queue>;

struct table {
  table_mutex mu;
  counting_queue r;
  counting_queue w;

  counting_queue& of(mode m) { return m == mode::read ? r : w; }
  int lock(mode m) { return mu.rwlock(m, of(m)).error; }
  bool unlock(mode m) { return mu.rwunlock(m, of(m)); }
  bool close() { return mu.incref_and_close(r, w); }
  std::uint32_t refs() { return table_mutex::count(mu.peek(), table_mutex::ref); }
};

TEST(FdMutex, ReferencesAndDirectionsAreIndependent) {
  table t;
  EXPECT_TRUE(t.mu.incref());
  EXPECT_EQ(t.lock(mode::read), ok);
  EXPECT_EQ(t.lock(mode::write), ok);
  EXPECT_EQ(t.refs(), 3u);
  EXPECT_FALSE(t.unlock(mode::read));
  EXPECT_EQ(t.lock(mode::read), ok);
  EXPECT_FALSE(t.unlock(mode::write));
  EXPECT_FALSE(t.unlock(mode::read));
  EXPECT_FALSE(t.mu.decref());
  EXPECT_EQ(t.mu.peek(), 0u);
  EXPECT_EQ(t.r.asked + t.w.asked, 0);
}

// covers D60
TEST(FdMutex, AfterCloseNothingIsGivenOutAndTheLastOneIsTold) {
  table t;
  EXPECT_TRUE(t.mu.incref());
  EXPECT_EQ(t.lock(mode::read), ok);
  EXPECT_TRUE(t.close());
  EXPECT_FALSE(t.close());
  EXPECT_FALSE(t.mu.incref());
  EXPECT_EQ(t.lock(mode::read), closed);
  EXPECT_EQ(t.lock(mode::write), closed);
  EXPECT_EQ(t.refs(), 3u);
  EXPECT_FALSE(t.unlock(mode::read));
  EXPECT_FALSE(t.mu.decref());
  EXPECT_TRUE(t.mu.decref());
}

TEST(FdMutex, LastUnlockOfAClosedOneIsTold) {
  table t;
  EXPECT_EQ(t.lock(mode::write), ok);
  EXPECT_TRUE(t.close());
  EXPECT_FALSE(t.mu.decref());
  EXPECT_TRUE(t.unlock(mode::write));
}

TEST(FdMutex, StoppedWhileQueuedLeavesNoTrace) {
  table t;
  EXPECT_EQ(t.lock(mode::read), ok);
  const std::uint64_t before = t.mu.peek();
  EXPECT_EQ(t.lock(mode::read), canceled);
  EXPECT_EQ(t.mu.peek(), before);
  EXPECT_FALSE(t.unlock(mode::read));
  EXPECT_EQ(t.mu.peek(), 0u);
  EXPECT_EQ(t.r.grants, 0);
}

TEST(FdMutex, ReferencePassedToTheLockIsPartOfIt) {
  table t;
  EXPECT_TRUE(t.mu.incref());
  EXPECT_EQ(t.mu.rwlock(mode::read, t.r, entry::referenced).error, ok);
  EXPECT_EQ(t.refs(), 1u);
  EXPECT_TRUE(t.mu.incref());
  EXPECT_EQ(t.mu.rwlock(mode::read, t.r, entry::referenced).error, canceled);
  EXPECT_EQ(t.refs(), 1u);
  EXPECT_TRUE(t.mu.incref());
  EXPECT_TRUE(t.close());
  EXPECT_FALSE(t.unlock(mode::read));
  EXPECT_FALSE(t.mu.decref());
  const poll::lock_result last = t.mu.rwlock(mode::read, t.r, entry::referenced);
  EXPECT_EQ(last.error, closed);
  EXPECT_TRUE(last.last);
}

// covers D63
TEST(FdMutexDeathTest, MisuseIsFatal) {
  table t;
  EXPECT_DEATH((void)t.mu.decref(), "decref without holding");
  EXPECT_DEATH((void)t.unlock(mode::read), "unlock without holding");
  EXPECT_EQ(t.lock(mode::read), ok);
  EXPECT_DEATH((void)t.unlock(mode::write), "unlock without holding");
  EXPECT_DEATH(
      {
        (void)t.unlock(mode::read);
        (void)t.unlock(mode::read);
      },
      "unlock without holding");
}

// covers D63
TEST(FdMutexDeathTest, TooManyReferencesAreFatal) {
  table t;
  for (std::uint64_t i = 0; i < table_mutex::limit; ++i) ASSERT_TRUE(t.mu.incref());
  EXPECT_DEATH((void)t.mu.incref(), "too many concurrent operations");
  EXPECT_DEATH((void)t.lock(mode::read), "too many concurrent operations");
  EXPECT_DEATH((void)t.close(), "too many concurrent operations");
}

// T2: the queue is a semaphore whose waiters the explorer blocks. A stop ends only the wait of the one it is meant for.

struct model_grants {
  model::atomic<std::uint32_t> count{0};
};

struct model_queue {
  model_grants& grants;
  model::atomic<bool>* stop = nullptr;  // null: nobody stops this one
  bool stands = false;                  // the stop stood before the run began

  bool acquire(stoppable s, sched::wait_reason) noexcept {
    const bool can_stop = s == stoppable::yes && stop != nullptr;
    if (can_stop && stands) return false;
    for (;;) {
      if (can_stop) {
        model::wait_until(
            [&] { return grants.count.load(std::memory_order_seq_cst) != 0 || stop->load(std::memory_order_seq_cst); });
        // Stopped wins over granted here: the harder case, a grant that nobody has picked up.
        if (stop->load(std::memory_order_seq_cst)) return false;
      } else {
        grants.count.wait(0, std::memory_order_seq_cst);
      }
      std::uint32_t n = 1;
      while (n != 0) {
        if (grants.count.compare_exchange_strong(n, n - 1, std::memory_order_seq_cst, std::memory_order_seq_cst)) {
          return true;
        }
      }
    }
  }
  void release(std::uint32_t n) noexcept {
    if (n != 0) grants.count.fetch_add(n, std::memory_order_seq_cst);
  }
};

struct world {
  poll::basic_fd_mutex<model::atomic, model_queue> mu;
  model_grants readers;
  model_grants writers;
  model::atomic<bool> stop{false};
  model::atomic<int> inside{0};
  bool watch_overlap = true;  // off where it would only multiply the runs
  bool overlap[4] = {};
  int errors[4] = {};
  int destroyed[4] = {};

  enum class user { plain, can_be_stopped, is_stopped };

  // A call of one direction: in, alone, out.
  void use(int who, mode m, user u = user::plain) {
    model_queue queue{m == mode::read ? readers : writers, u == user::plain ? nullptr : &stop, u == user::is_stopped};
    const poll::lock_result r = mu.rwlock(m, queue);
    errors[who] = r.error;
    if (r.last) ++destroyed[who];
    if (r.error != ok) return;
    if (watch_overlap) {
      if (inside.fetch_add(1, std::memory_order_seq_cst) != 0) overlap[who] = true;
      inside.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (mu.rwunlock(m, queue)) ++destroyed[who];
  }
  void close(int who) {
    model_queue r{readers};
    model_queue w{writers};
    if (mu.incref_and_close(r, w) && mu.decref()) ++destroyed[who];
  }

  std::string check(int expected_destroyed) {
    for (const bool o : overlap) {
      if (o) return "two inside";
    }
    int sum = 0;
    for (const int d : destroyed) sum += d;
    if (sum != expected_destroyed) return "destroyed " + std::to_string(sum) + " times";
    const std::uint64_t end = mu.peek() & ~poll::fd_mutex::closed_bit;
    if (end != 0) return "left state " + std::to_string(end);
    if (readers.count.load(std::memory_order_seq_cst) + writers.count.load(std::memory_order_seq_cst) != 0) {
      return "a grant was left over";
    }
    return "";
  }
};

// covers D62 D64
TEST(FdMutexModel, ThreeUsersOfOneDirectionAreSerialised) {
  const auto found = model::explore<world>({{"a", [](world& w) { w.use(0, mode::read); }},
                                            {"b", [](world& w) { w.use(1, mode::read); }},
                                            {"c", [](world& w) { w.use(2, mode::read); }}},
                                           [](world& w) { return w.check(0); });
  EXPECT_GT(found.runs, 10u);
}

// covers D57 D59
TEST(FdMutexModel, CloseFreesTheQueueAndOneDestroys) {
  const auto found = model::explore<world>({{"a", [](world& w) { w.use(0, mode::read); }},
                                            {"b", [](world& w) { w.use(1, mode::read); }},
                                            {"closer", [](world& w) { w.close(2); }}},
                                           [](world& w) { return w.check(1); });
  EXPECT_GT(found.runs, 10u);
}

TEST(FdMutexModel, OneOfTwoClosersWins) {
  model::explore<world>({{"closer", [](world& w) { w.close(0); }},
                         {"other closer", [](world& w) { w.close(1); }},
                         {"a", [](world& w) { w.use(2, mode::write); }}},
                        [](world& w) { return w.check(1); });
}

// The lock is held already when the actors begin; that saves most of the runs.
struct held_world : world {
  model::atomic<int> unlocked_once{0};

  held_world() {
    watch_overlap = false;
    model_queue queue{readers};
    EXPECT_EQ(mu.rwlock(mode::read, queue).error, ok);
  }
  void unlock(int who) {
    model_queue queue{readers};
    if (mu.rwunlock(mode::read, queue)) ++destroyed[who];
  }
};

// Whoever is stopped in the queue must neither take a grant away with it nor leave one behind.
TEST(FdMutexModel, StoppedInTheQueueLosesNoWake) {
  const auto found =
      model::explore<held_world>({{"holder", [](held_world& w) { w.unlock(0); }},
                                  {"stopped", [](held_world& w) { w.use(1, mode::read, world::user::can_be_stopped); }},
                                  {"b", [](held_world& w) { w.use(2, mode::read); }},
                                  {"stopper", [](held_world& w) { w.stop.store(true, std::memory_order_seq_cst); }}},
                                 [](held_world& w) {
                                   if (w.errors[0] != ok || w.errors[2] != ok) return std::string("refused");
                                   return w.check(0);
                                 });
  EXPECT_GT(found.runs, 10u);
}

// The grant that a stopped one leaves with may be the only one under way: it has to pass it on. That takes somebody who
// unlocks twice, and somebody who used up the first grant in between.
TEST(FdMutexModel, StoppedInTheQueuePassesItsGrantOn) {
  const auto found =
      model::explore<held_world>({{"holder",
                                   [](held_world& w) {
                                     w.unlock(0);
                                     w.unlocked_once.store(1, std::memory_order_seq_cst);
                                     w.use(0, mode::read);
                                   }},
                                  {"stopped", [](held_world& w) { w.use(1, mode::read, world::user::is_stopped); }},
                                  {"b",
                                   [](held_world& w) {
                                     w.unlocked_once.wait(0, std::memory_order_seq_cst);
                                     w.use(2, mode::read);
                                   }}},
                                 [](held_world& w) {
                                   if (w.errors[0] != ok || w.errors[2] != ok) return std::string("refused");
                                   return w.check(0);
                                 });
  EXPECT_GT(found.runs, 10u);
}

TEST(FdMutexModel, StopAndCloseInTheQueue) {
  const auto found =
      model::explore<held_world>({{"holder", [](held_world& w) { w.unlock(0); }},
                                  {"stopped", [](held_world& w) { w.use(1, mode::read, world::user::can_be_stopped); }},
                                  {"closer", [](held_world& w) { w.close(2); }},
                                  {"stopper", [](held_world& w) { w.stop.store(true, std::memory_order_seq_cst); }}},
                                 [](held_world& w) { return w.check(1); });
  EXPECT_GT(found.runs, 10u);
}

// T3: threads that lock, refer and unlock at random; a plain count per direction, guarded by the lock alone, is the
// model.
// covers D64
TEST(FdMutexStress, ExclusionHoldsUntilTheClose) {
  const char* scale = std::getenv("WEFT_TEST_SCALE");
  const int rounds = 5'000 * (scale != nullptr ? std::max(1, std::atoi(scale)) : 1);
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  poll::fd_mutex mu;
  poll::lock_queue queues[2];
  long counts[2] = {};
  std::atomic<long> taken[2] = {};
  std::atomic<int> destroyed{0};
  std::atomic<int> left{4};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(seed + t);
      for (int i = 0; i < rounds; ++i) {
        const unsigned pick = static_cast<unsigned>(random() % 3);
        if (pick == 2) {
          if (mu.incref() && mu.decref()) ++destroyed;
          continue;
        }
        const mode m = pick == 0 ? mode::read : mode::write;
        const poll::lock_result r = mu.rwlock(m, queues[pick]);
        if (r.last) ++destroyed;
        if (r.error != ok) break;
        ++counts[pick];
        if (i % 8 == 0) std::this_thread::yield();
        taken[pick].fetch_add(1, std::memory_order_relaxed);
        if (mu.rwunlock(m, queues[pick])) ++destroyed;
      }
      // The first one that is done closes under the others.
      if (left.fetch_sub(1) == 4 && mu.incref_and_close(queues[0], queues[1]) && mu.decref()) ++destroyed;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(counts[0], taken[0].load());
  EXPECT_EQ(counts[1], taken[1].load());
  EXPECT_EQ(destroyed.load(), 1);
  EXPECT_EQ(mu.peek(), poll::fd_mutex::closed_bit);
  EXPECT_TRUE(queues[0].idle());
  EXPECT_TRUE(queues[1].idle());
}

}  // namespace
