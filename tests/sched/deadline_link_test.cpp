// deadline_link: a time that stops the waits of its caller, and nothing else.
#include <support/engine.hpp>

#include <weft/sched/deadline_link.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using sched::deadline_link;
using sched::nanotime;

nanotime far() { return sched::after(100 * second); }

// ended_by returns whether a long sleep is ended by the deadline, and checks that this is not early.
bool ended_by(nanotime when) {
  const deadline_link link(when);
  const bool slept = sched::sleep_until(far());
  EXPECT_GE(sched::now(), when);
  EXPECT_EQ(sched::stop_requested(), link.passed());
  return !slept && link.passed();
}

TEST(DeadlineLink, EndsAWaitAndIsForgottenWithItsScope) {
  engine e;
  e.run([] {
    for (const nanotime delay : {nanotime{1}, microsecond, 50 * microsecond, millisecond, 20 * millisecond}) {
      EXPECT_TRUE(ended_by(sched::after(delay)));
      EXPECT_FALSE(sched::stop_requested());
      EXPECT_TRUE(sched::sleep_until(sched::after(microsecond)));
    }
  });
}

TEST(DeadlineLink, ATimeThatHasComeStandsAtOnceAndNeverDoesNothing) {
  engine e;
  const auto check = [] {
    for (const nanotime when : {nanotime{0}, nanotime{-1}, sched::now()}) {
      const deadline_link link(when);
      EXPECT_TRUE(link.passed());
      EXPECT_TRUE(sched::stop_requested());
      EXPECT_FALSE(sched::sleep_until(far()));
    }
    const deadline_link link(sched::never);
    EXPECT_FALSE(link.passed());
    EXPECT_FALSE(sched::stop_requested());
    EXPECT_TRUE(sched::sleep_until(sched::after(microsecond)));
  };
  e.run(check);
  check();  // on a thread without a scheduler
}

TEST(DeadlineLink, TheNearerOfTwoEndsTheWaitAndTheOuterStandsBehindTheInner) {
  engine e;
  e.run([] {
    {
      const deadline_link outer(far());
      EXPECT_TRUE(ended_by(sched::after(millisecond)));
      EXPECT_FALSE(outer.passed());
      EXPECT_FALSE(sched::stop_requested());
    }
    const deadline_link outer(sched::after(millisecond));
    {
      const deadline_link inner(far());
      EXPECT_FALSE(sched::sleep_until(far()));
      EXPECT_TRUE(outer.passed());
      EXPECT_FALSE(inner.passed());
    }
    {
      const deadline_link inner(0);  // both stand: the outer one is left
      EXPECT_TRUE(inner.passed());
    }
    EXPECT_TRUE(sched::stop_requested());
    EXPECT_FALSE(sched::sleep_until(far()));
  });
}

TEST(DeadlineLink, AStopIsToldFromTheDeadline) {
  engine e;
  std::atomic<int> asleep{0};
  task stopped = e.spawn([&] {
    bool passed = true;
    {
      const deadline_link link(far());
      ++asleep;
      EXPECT_FALSE(sched::sleep_until(far()));
      passed = link.passed();
    }
    EXPECT_FALSE(passed);
    EXPECT_TRUE(sched::stop_requested());
  });
  EXPECT_TRUE(spin_until([&] { return asleep == 1; }));
  sched::request_stop(*stopped);
  stopped.join();
  e.run([] {
    std::stop_source source;
    const sched::stop_link other(source.get_token());
    EXPECT_TRUE(ended_by(sched::after(millisecond)));
    EXPECT_FALSE(sched::stop_requested());
    source.request_stop();
    EXPECT_TRUE(sched::stop_requested());
  });
}

TEST(DeadlineLink, EndsTheWaitsOfPlainThreadsAndBlockingRegions) {
  engine e;
  e.run([] {
    const sched::blocking_region others_go_on;
    EXPECT_TRUE(ended_by(sched::after(millisecond)));
  });
  std::thread([&] {
    sched::scheduler* const before = sched::enter_scheduler(&*e);
    EXPECT_TRUE(ended_by(sched::after(millisecond)));
    EXPECT_FALSE(sched::stop_requested());
    sched::enter_scheduler(before);
  }).join();
}

TEST(DeadlineLink, AnAlarmIsUsedAgainWhileItsTimerStillStandsInAHeap) {
  engine e(1);
  e.run([&] {
    for (int i = 0; i < 1000; ++i) {
      const deadline_link link(far());  // stopped, and left where it is
    }
    EXPECT_TRUE(ended_by(sched::after(millisecond)));
    sched::alarm* const one = e->alarms.take();
    EXPECT_EQ(one->next, nullptr) << "more than one alarm for deadlines that came one after the other";
    e->alarms.give(one);
  });
}

TEST(DeadlineLink, OneThatIsLeftInTimeNeverStopsALaterWait) {
  engine e;
  const unsigned rounds = 2000 * test_scale();
  std::vector<task> tasks;
  std::atomic<unsigned> passed{0};
  std::atomic<unsigned> left{0};
  for (unsigned t = 0; t < 8; ++t) {
    tasks.push_back(e.spawn([&, t] {
      std::minstd_rand random(t + 1);
      for (unsigned i = 0; i < rounds; ++i) {
        const nanotime when = sched::after(static_cast<nanotime>(random() % 60) * microsecond);
        {
          const deadline_link link(when);
          const bool slept = sched::sleep_until(sched::after(static_cast<nanotime>(random() % 60) * microsecond));
          EXPECT_TRUE(slept || link.passed());
          if (!slept) {
            EXPECT_GE(sched::now(), when);
            ++passed;
          } else {
            ++left;
          }
        }
        EXPECT_FALSE(sched::stop_requested());
        if (i % 4 == 0) sched::yield();
      }
    }));
  }
  for (task& t : tasks) t.join();
  EXPECT_GT(passed, 0u);
  EXPECT_GT(left, 0u);
}

TEST(DeadlineLink, PlainThreadsNeedNoScheduler) {
  for (const nanotime delay : {nanotime{1}, 50 * microsecond, 5 * millisecond}) {
    EXPECT_TRUE(ended_by(sched::after(delay)));
    EXPECT_FALSE(sched::stop_requested());
    EXPECT_TRUE(sched::sleep_until(sched::after(microsecond)));
  }
  // Nested, the earlier one ends the wait, and alone.
  const deadline_link outer(sched::after(3 * millisecond));
  {
    const deadline_link inner(sched::after(millisecond));
    EXPECT_FALSE(sched::sleep_until(far()));
    EXPECT_TRUE(inner.passed());
  }
  EXPECT_FALSE(sched::sleep_until(far()));
  EXPECT_TRUE(outer.passed());
}

}  // namespace
