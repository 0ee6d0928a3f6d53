// The heap of timers, without a scheduler.
#include <timer_heap.hpp>

#include <weft/sched/timer.hpp>

#include <support/engine.hpp>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using sched::nanotime;
using sched::never;

struct shot {
  sched::timer alarm;
  std::uint32_t fired = 0;
  std::uint32_t sequence = 0;
  std::vector<shot*>* order = nullptr;

  static void ring(void* object, std::uint32_t sequence) noexcept {
    auto* s = static_cast<shot*>(object);
    ++s->fired;
    s->sequence = sequence;
    if (s->order != nullptr) s->order->push_back(s);
  }
  bool into(sched::timer_heap& heap, nanotime when, std::uint32_t seq = 0) {
    return heap.insert(alarm, when, ring, this, seq);
  }
};

// T1: a timer that is disarmed, armed, stopped but still in the heap, or fired; by arm, postpone, stop, run_due.

TEST(TimerTable, Disarmed) {
  shot s;
  sched::timer_heap heap;
  EXPECT_FALSE(s.alarm.armed());
  EXPECT_FALSE(s.alarm.stop());
  EXPECT_FALSE(s.alarm.postpone(10));
  EXPECT_FALSE(heap.move(s.alarm, 10, shot::ring, &s, 0));
  EXPECT_EQ(heap.run_due(never), 0u);
  EXPECT_EQ(heap.next(), never);
  EXPECT_FALSE(s.alarm.armed());
}

TEST(TimerTable, Armed) {
  shot s;
  sched::timer_heap heap;
  ASSERT_TRUE(s.into(heap, 100, 7));
  EXPECT_TRUE(s.alarm.armed());
  EXPECT_EQ(heap.next(), 100);
  EXPECT_EQ(heap.run_due(99), 0u);
  EXPECT_FALSE(s.alarm.postpone(99));
  EXPECT_TRUE(s.alarm.postpone(100));
  EXPECT_EQ(heap.run_due(100), 1u);
  EXPECT_EQ(s.fired, 1u);
  EXPECT_EQ(s.sequence, 7u);
  EXPECT_FALSE(s.alarm.armed());
  EXPECT_EQ(heap.next(), never);
}

TEST(TimerTable, Postponed) {
  shot s;
  sched::timer_heap heap;
  ASSERT_TRUE(s.into(heap, 100));
  EXPECT_TRUE(s.alarm.postpone(200));
  EXPECT_EQ(heap.next(), 100);  // the position stays, and is repaired when it comes to the top
  EXPECT_EQ(heap.run_due(100), 0u);
  EXPECT_EQ(heap.next(), 200);
  EXPECT_FALSE(s.alarm.postpone(199));
  EXPECT_EQ(heap.run_due(199), 0u);
  EXPECT_EQ(heap.run_due(200), 1u);
  EXPECT_EQ(s.fired, 1u);
}

TEST(TimerTable, Moved) {
  shot s;
  sched::timer_heap heap;
  ASSERT_TRUE(s.into(heap, 100, 1));
  ASSERT_TRUE(heap.move(s.alarm, 50, shot::ring, &s, 2));
  EXPECT_EQ(heap.next(), 50);
  ASSERT_TRUE(heap.move(s.alarm, 150, shot::ring, &s, 3));
  EXPECT_EQ(heap.next(), 150);
  EXPECT_EQ(heap.run_due(149), 0u);
  EXPECT_EQ(heap.run_due(150), 1u);
  EXPECT_EQ(s.fired, 1u);
  EXPECT_EQ(s.sequence, 3u);
  EXPECT_FALSE(heap.move(s.alarm, 300, shot::ring, &s, 0));
}

// covers I116
TEST(TimerTable, Stopped) {
  shot s;
  sched::timer_heap heap;
  ASSERT_TRUE(s.into(heap, 100));
  EXPECT_TRUE(s.alarm.stop());
  EXPECT_FALSE(s.alarm.stop());
  EXPECT_FALSE(s.alarm.armed());
  EXPECT_FALSE(s.alarm.postpone(200));
  EXPECT_EQ(heap.run_due(never), 0u);
  EXPECT_EQ(s.fired, 0u);
  ASSERT_TRUE(s.into(heap, 100));  // it has left
  EXPECT_TRUE(s.alarm.stop());
  ASSERT_TRUE(heap.move(s.alarm, 120, shot::ring, &s, 0));  // it is still inside
  EXPECT_EQ(heap.run_due(120), 1u);
}

TEST(TimerTable, AbandonedOnesDoNotFireAndCanBeArmedElsewhere) {
  shot s;
  {
    sched::timer_heap heap;
    ASSERT_TRUE(s.into(heap, 100));
  }
  sched::timer_heap other;
  ASSERT_TRUE(s.into(other, 200));
  EXPECT_EQ(other.run_due(200), 1u);
}

TEST(TimerTable, ACallbackMayArmItsOwnTimerAndOthers) {
  struct ticker {
    sched::timer alarm;
    sched::timer_heap* heap = nullptr;
    int ticks = 0;
    static void ring(void* object, std::uint32_t) noexcept {
      auto* t = static_cast<ticker*>(object);
      ++t->ticks;
      EXPECT_TRUE(t->heap->insert(t->alarm, t->ticks * 10, ring, t, 0));
    }
  } t;
  sched::timer_heap heap;
  t.heap = &heap;
  ASSERT_TRUE(heap.insert(t.alarm, 1, ticker::ring, &t, 0));
  EXPECT_EQ(heap.run_due(55), 6u);
  EXPECT_EQ(t.ticks, 6);
  EXPECT_EQ(heap.next(), 60);
}

// covers I115 I126
// T3, one thread: random operations against a model that keeps what is due.
TEST(TimerHeap, AgreesWithAModel) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  constexpr std::size_t n = 300;
  std::vector<shot> shots(n);
  std::vector<shot*> order;
  for (auto& s : shots) s.order = &order;
  sched::timer_heap heap;
  std::multimap<nanotime, shot*> model;
  std::map<shot*, std::multimap<nanotime, shot*>::iterator> armed;
  nanotime at = 1;
  const auto arm = [&](shot& s, nanotime when) {
    if (!heap.move(s.alarm, when, shot::ring, &s, 0)) {
      ASSERT_TRUE(s.into(heap, when));
    }
    if (auto it = armed.find(&s); it != armed.end()) model.erase(it->second);
    armed[&s] = model.emplace(when, &s);
  };
  for (unsigned step = 0; step < 20'000 * test_scale(); ++step) {
    shot& s = shots[random() % n];
    const nanotime when = at + static_cast<nanotime>(random() % 1000);
    switch (random() % 5) {
      case 0:
      case 1:
        arm(s, when);
        break;
      case 2: {
        const auto it = armed.find(&s);
        const bool can = it != armed.end() && when >= it->second->first;
        ASSERT_EQ(s.alarm.postpone(when), can);
        if (can) {
          model.erase(it->second);
          it->second = model.emplace(when, &s);
        }
        break;
      }
      case 3: {
        const auto it = armed.find(&s);
        ASSERT_EQ(s.alarm.stop(), it != armed.end());
        if (it != armed.end()) {
          model.erase(it->second);
          armed.erase(it);
        }
        break;
      }
      default: {
        at += static_cast<nanotime>(random() % 60);
        order.clear();
        std::size_t due = 0;
        std::vector<std::pair<nanotime, shot*>> expected;
        while (!model.empty() && model.begin()->first <= at) {
          expected.emplace_back(*model.begin());
          armed.erase(model.begin()->second);
          model.erase(model.begin());
          ++due;
        }
        ASSERT_EQ(heap.run_due(at), due);
        ASSERT_EQ(order.size(), due);
        // Ties in any order: the same timers, each group of one time together.
        for (std::size_t i = 0; i < due;) {
          std::size_t end = i;
          while (end < due && expected[end].first == expected[i].first) ++end;
          std::vector<shot*> want;
          for (std::size_t k = i; k < end; ++k) want.push_back(expected[k].second);
          std::vector<shot*> got(order.begin() + static_cast<long>(i), order.begin() + static_cast<long>(end));
          std::sort(want.begin(), want.end());
          std::sort(got.begin(), got.end());
          ASSERT_EQ(got, want);
          i = end;
        }
        break;
      }
    }
    // The published time is never later than what is due.
    ASSERT_LE(heap.next(), model.empty() ? never : model.begin()->first);
    ASSERT_EQ(s.alarm.armed(), armed.contains(&s));
  }
}

// covers I126
TEST(TimerHeap, StoppedTimersArePurged) {
  constexpr std::size_t kept = 8;
  constexpr std::size_t churn = 20'000;
  std::vector<shot> live(kept);
  const auto many = std::make_unique<shot[]>(churn);
  sched::timer_heap heap;
  for (std::size_t i = 0; i < kept; ++i) ASSERT_TRUE(live[i].into(heap, static_cast<nanotime>(1000 + i)));
  for (std::size_t i = 0; i < churn; ++i) {
    ASSERT_TRUE(many[i].into(heap, 5'000'000));
    ASSERT_TRUE(many[i].alarm.stop());
  }
  // Most have left the heap: they can't be moved in it.
  std::size_t inside = 0;
  for (std::size_t i = 0; i < churn; ++i)
    inside += heap.move(many[i].alarm, 6'000'000, shot::ring, &many[i], 0) ? 1 : 0;
  EXPECT_LE(inside, 2 * kept);
  EXPECT_EQ(heap.run_due(2000), kept);
}

// T3, threads: whoever stops or postpones races with the one who fires. Exactly one outcome each time.
// covers I116
TEST(TimerHeap, AShotHappensOrIsPreventedNeverBoth) {
  struct racer {
    sched::timer alarm;
    std::atomic<int> fired{0};
    std::atomic<nanotime> due{0};
    std::atomic<nanotime>* clock = nullptr;
    static void ring(void* object, std::uint32_t) noexcept {
      auto* r = static_cast<racer*>(object);
      if (r->clock->load() < r->due.load()) ADD_FAILURE() << "early";
      r->fired.fetch_add(1);  // from here on the owner goes on
    }
  };
  std::vector<racer> racers(2);
  sched::timer_heap heap;  // after them, since it may know a stopped timer to the end
  std::atomic<nanotime> clock{1};
  std::atomic<bool> stop{false};
  std::vector<std::thread> firing;
  for (int i = 0; i < 2; ++i) {
    firing.emplace_back([&] {
      while (!stop.load()) heap.run_due(clock.fetch_add(1) + 1);
    });
  }
  std::vector<std::thread> owners;
  for (unsigned o = 0; o < 2; ++o) {
    owners.emplace_back([&, o] {
      std::mt19937 random(o + 1);
      racer* r = &racers[o];
      r->clock = &clock;
      int armed = 0;
      int prevented = 0;
      for (unsigned i = 0; i < 1'000 * test_scale(); ++i) {
        const nanotime when = clock.load() + static_cast<nanotime>(random() % 8);
        r->due.store(when);
        // As timer::arm does: it may just be leaving the heap.
        while (!heap.move(r->alarm, when, racer::ring, r, 0)) {
          if (heap.insert(r->alarm, when, racer::ring, r, 0)) break;
        }
        ++armed;
        if (random() % 2 == 0) {
          const nanotime later = when + static_cast<nanotime>(random() % 20);
          (void)r->alarm.postpone(later);
        }
        if (random() % 4 != 0) {
          for (unsigned k = random() % 16; k != 0; --k) (void)clock.load();
          if (r->alarm.stop()) ++prevented;
        }
        // Wait for a shot that nobody prevented: every one that was armed has its one outcome before the next.
        EXPECT_TRUE(spin_until([&] { return r->fired.load() + prevented == armed; }));
        if (r->fired.load() + prevented != armed) break;
      }
      EXPECT_FALSE(r->alarm.armed());
      EXPECT_EQ(r->fired.load() + prevented, armed);
    });
  }
  for (auto& t : owners) t.join();
  stop.store(true);
  for (auto& t : firing) t.join();
}

}  // namespace
