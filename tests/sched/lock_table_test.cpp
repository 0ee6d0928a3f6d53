// The table of the locks that a thread holds for its fiber.
#include <lock_table.hpp>

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <random>

namespace {

using weft::sched::held_lock;
using weft::sched::lock_kind;
using weft::sched::lock_table;

std::array<char, 3 * lock_table::capacity> locks;

held_lock entry(std::size_t i) {
  held_lock l;
  l.address = &locks[i];
  l.kind = i % 2 == 0 ? lock_kind::mutex : lock_kind::spin_lock;
  l.frame_count = 1;
  l.frames[0] = &locks[i] + 1;
  return l;
}

// covers O32
TEST(LockTable, ALockIsHeldAsLongAsItWasTakenMoreOftenThanGivenBack) {
  lock_table t;
  EXPECT_TRUE(t.empty());
  t.remove(&locks[0]);
  EXPECT_TRUE(t.empty());
  t.add(entry(0));
  t.add(entry(0));
  EXPECT_TRUE(t.has(&locks[0]));
  EXPECT_FALSE(t.has(&locks[1]));
  ASSERT_EQ(t.held().size(), 1u);
  EXPECT_EQ(t.held()[0].times, 2u);
  t.remove(&locks[1]);
  t.remove(&locks[0]);
  EXPECT_EQ(t.held()[0].times, 1u);
  t.remove(&locks[0]);
  EXPECT_TRUE(t.empty());
  t.add(entry(0));
  EXPECT_EQ(t.held()[0].times, 1u);
}

// covers O32
TEST(LockTable, TheFirstWhoTookItIsKept) {
  lock_table t;
  t.add(entry(0));
  held_lock again = entry(0);
  again.frames[0] = nullptr;
  again.kind = lock_kind::read_lock;
  t.add(again);
  EXPECT_EQ(t.held()[0].frames[0], entry(0).frames[0]);
  EXPECT_EQ(t.held()[0].kind, lock_kind::mutex);
}

// covers O32
TEST(LockTable, WhatDoesNotFitIsNotKnown) {
  lock_table t;
  for (std::size_t i = 0; i < locks.size(); ++i) t.add(entry(i));
  EXPECT_EQ(t.held().size(), lock_table::capacity);
  EXPECT_FALSE(t.has(&locks[lock_table::capacity]));
  for (std::size_t i = locks.size(); i-- != 0;) t.remove(&locks[i]);
  EXPECT_TRUE(t.empty());
}

// covers O32
TEST(LockTable, IsAListInTheOrderOfTaking) {
  const unsigned seed = std::random_device()();
  std::minstd_rand dice(seed);
  lock_table t;
  std::deque<held_lock> model;
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t i = dice() % (lock_table::capacity + 4);
    const auto at = std::find_if(model.begin(), model.end(), [&](const held_lock& l) { return l.address == &locks[i]; });
    if (dice() % 2 == 0) {
      t.add(entry(i));
      if (at != model.end()) {
        ++at->times;
      } else if (model.size() != lock_table::capacity) {
        model.push_back(entry(i));
      }
    } else {
      t.remove(&locks[i]);
      if (at != model.end() && --at->times == 0) model.erase(at);
    }
    ASSERT_EQ(t.held().size(), model.size()) << "seed " << seed;
    for (std::size_t k = 0; k < model.size(); ++k) {
      ASSERT_EQ(t.held()[k].address, model[k].address) << "seed " << seed;
      ASSERT_EQ(t.held()[k].times, model[k].times) << "seed " << seed;
      ASSERT_EQ(t.held()[k].kind, model[k].kind) << "seed " << seed;
      ASSERT_EQ(t.held()[k].frames[0], model[k].frames[0]) << "seed " << seed;
    }
  }
}

}  // namespace
