// mutex and timed_mutex in every interleaving: one holder, nobody forgotten, whenever a waiter gives up.
#include "stage.hpp"

#include <weft/error.hpp>
#include <weft/mutex.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

namespace {

using namespace weft;
using namespace weft::testing;

constexpr std::chrono::steady_clock::time_point when{std::chrono::nanoseconds(5)};

template <class Mutex>
struct world : stage {
  std::optional<Mutex> m{std::in_place};
  model::atomic<int> inside{0};
  model::atomic<int> left{0};
  int turns = 0;  // guarded by m
  int gave_up = 0;
  hand_link::source stop;

  world() { m->lock(); }  // some are played with a mutex that is held already

  // What the holder does.
  void turn() {
    if (inside.fetch_add(1, std::memory_order_seq_cst) != 0) model::fail("two hold the mutex");
    ++turns;
    inside.fetch_sub(1, std::memory_order_seq_cst);
  }
  void lock_once() {
    m->lock();
    turn();
    m->unlock();
  }
  // Free, nobody left over: whoever comes now does not wait, nor does the next one.
  std::string expect(int n) {
    if (turns != n) return std::to_string(turns) + " turns";
    if (!m) return "";
    if (!m->try_lock()) return "the mutex is not free";
    m->unlock();
    return m->try_lock() ? "" : "the mutex is not free for a second time";
  }
};
using plain = world<mutex>;
using timed = world<timed_mutex>;

struct free_at_first : plain {
  free_at_first() { m->unlock(); }
};

const auto unlock = [](auto& w) { w.m->unlock(); };
const auto lock_once = [](auto& w) { w.lock_once(); };
const auto lock_in_time = [](timed& w) {
  if (w.m->try_lock_until(when)) {
    w.turn();
    w.m->unlock();
  } else {
    ++w.gave_up;
  }
};
const auto lock_unless_stopped = [](plain& w) {
  const hand_link link(w.stop);
  try {
    w.lock_once();
  } catch (const canceled_error&) {
    ++w.gave_up;
  }
};

TEST(MutexModel, OneHolderAtATime) {
  cast<free_at_first>()
      .waiter("one", [](free_at_first& w) { w.lock_once(), w.lock_once(); })
      .waiter("two", [](free_at_first& w) { w.lock_once(), w.lock_once(); })
      .play([](free_at_first& w) { return w.expect(4); });
}

TEST(MutexModel, ThreeTakeTurns) {
  cast<free_at_first>()
      .waiter("one", lock_once)
      .waiter("two", lock_once)
      .waiter("three", lock_once)
      .play([](free_at_first& w) { return w.expect(3); });
}

// Who was woken and found the mutex taken by a newcomer gets it from that one.
TEST(MutexModel, WhoWasPassedOverIsNext) {
  cast<plain>().waiter("waiter", lock_once).waiter("newcomer", lock_once).other("holder", unlock).play([](plain& w) {
    return w.expect(2);
  });
}

TEST(MutexModel, ATimedLockHoldsItOrDoesNot) {
  cast<timed>().waiter("waiter", lock_in_time).other("holder", unlock).clock({5}).play([](timed& w) {
    return w.expect(1 - w.gave_up);
  });
}

// The time passes for the first in line: the one behind gets the mutex in any case.
TEST(MutexModel, WhoWaitsBehindATimedLockGetsIt) {
  const auto check = [](timed& w) { return w.expect(2 - w.gave_up); };
  cast<timed>()
      .waiter("first", lock_in_time)
      .waiter("second", lock_once)
      .other("holder", unlock)
      .clock({5})
      .only({as::threads})
      .play(check);
}

TEST(MutexModel, AStoppedLockHoldsItOrDoesNot) {
  const auto fire = [](plain& w) { w.stop.fire(); };
  const auto check = [](plain& w) { return w.expect(1 - w.gave_up); };
  cast<plain>().waiter("waiter", lock_unless_stopped).other("holder", unlock).other("stopper", fire).play(check);
}

// The woken one that is stopped as it waits again, behind a newcomer, leaves no trace.
TEST(MutexModel, AStopOfWhoWasPassedOverForgetsNobody) {
  const auto fire = [](plain& w) { w.stop.fire(); };
  cast<plain>()
      .waiter("waiter", lock_unless_stopped)
      .waiter("newcomer", lock_once)
      .other("holder", unlock)
      .other("stopper", fire)
      .only({as::threads})
      .play([](plain& w) { return w.expect(2 - w.gave_up); });
}

// The last to hold it may end it, though the unlock before is still returning.
TEST(MutexModel, NobodyTouchesItAfterTheLastHolder) {
  cast<plain>()
      .waiter("last",
              [](plain& w) {
                w.lock_once();
                w.m.reset();
              })
      .other("holder", unlock)
      .play([](plain& w) { return w.expect(1); });
}

// Likewise if a waiter has given up in between, and has returned.
TEST(MutexModel, NobodyTouchesItAfterTheLastHolderThoughSomebodyGaveUp) {
  cast<plain>()
      .waiter("waiter",
              [](plain& w) {
                lock_unless_stopped(w);
                w.left.store(1, std::memory_order_seq_cst);
              })
      .waiter("last",
              [](plain& w) {
                model::await(w.left, std::memory_order_seq_cst, [](int n) { return n == 1; });
                w.lock_once();
                w.m.reset();
              })
      .other("holder", unlock)
      .other("stopper", [](plain& w) { w.stop.fire(); })
      .play([](plain& w) { return w.expect(2 - w.gave_up); });
}

}  // namespace
