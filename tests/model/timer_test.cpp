// Timers in every interleaving: those that are waited for, of time.cpp, and those below, of timer_heap.cpp.
#include "item.hpp"
#include "stage.hpp"

#include <timer_heap.hpp>

#include <weft/select.hpp>
#include <weft/sched/timer.hpp>
#include <weft/time.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using sched::nanotime;

constexpr std::chrono::steady_clock::time_point at(nanotime t) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(t));
}
int to_int(std::chrono::steady_clock::time_point t) { return static_cast<int>(t.time_since_epoch().count()); }

struct world : stage {
  timer t;
  std::vector<int> ticks;
  std::vector<int> ticks_2;
  bool took_back = false;
  channel<item> c{0};
  bool sent = false;

  std::string expect(const std::vector<int>& wanted) const {
    return ticks == wanted ? "" : "ticks " + list(ticks) + ", expected " + list(wanted);
  }
};
struct set_to_5 : world {
  set_to_5() { t.reset(at(5)); }
};
struct set_to_10 : world {
  set_to_10() { t.reset(at(10)); }
};

const auto wait = [](world& w) { w.ticks.push_back(to_int(w.t.wait())); };
const auto wait_2 = [](world& w) { w.ticks_2.push_back(to_int(w.t.wait())); };
const auto wait_in_select = [](world& w) {
  select(on_tick(w.t, [&w](auto tick) { w.ticks.push_back(to_int(tick)); }), on_receive(w.c));
};
const model::options sleepers{.may_sleep = true};

TEST(TimerModel, OneOfTwoWaitersGetsTheTick) {
  const auto check = [](world& w) { return w.ticks.size() + w.ticks_2.size() == 1 ? "" : "not one tick"; };
  cast<set_to_5>()
      .waiter("waiter", wait)
      .waiter("waiter 2", wait_2)
      .clock({5})
      .only({as::threads})
      .play(check, sleepers);
  const auto try_wait = [](world& w) {
    if (const auto tick = w.t.try_wait()) w.ticks_2.push_back(to_int(*tick));
  };
  cast<set_to_5>().waiter("waiter", wait).other("passer-by", try_wait).clock({5}).play(check, sleepers);
}

TEST(TimerModel, StopIsTrueExactlyIfThereIsNoTick) {
  const auto stop = [](world& w) { w.took_back = w.t.stop(); };
  cast<set_to_5>()
      .waiter("waiter", wait)
      .other("stopper", stop)
      .clock({5})
      .play([](world& w) { return w.took_back ? w.expect({}) : w.expect({5}); }, sleepers);
}

TEST(TimerModel, ATickFromBeforeAResetIsReceivedBeforeItOrNever) {
  const auto reset = [](world& w) { w.took_back = w.t.reset(at(10)); };
  cast<set_to_5>()
      .waiter("waiter", [](world& w) { wait(w), wait(w); })
      .other("resetter", reset)
      .clock({5, 10})
      .only({as::threads})
      .play(
          [](world& w) {
            return w.took_back ? w.expect({10}) : w.expect({5, 10});
          },
          sleepers);
  cast<set_to_5>()
      .waiter("waiter", wait)
      .other("resetter", reset)
      .clock({5, 10})
      .only({as::threads, as::threads_with_timers})
      .play([](world& w) {
        if (const auto left = w.t.try_wait()) w.ticks.push_back(to_int(*left));
        return w.took_back ? w.expect({10}) : w.expect({5, 10});
      });
}

TEST(TimerModel, AResetToAnEarlierTimeShortensTheWait) {
  const auto reset = [](world& w) { w.took_back = w.t.reset(at(5)); };
  const auto check = [](world& w) { return w.took_back ? w.expect({5}) : "a tick before its time"; };
  cast<set_to_10>().waiter("waiter", wait).other("resetter", reset).clock({5}).play(check);
  cast<set_to_10>().waiter("selector", wait_in_select).other("resetter", reset).clock({5}).play(check);
}

TEST(TimerModel, AStoppedTimerThatIsSetAgainTicks) {
  const auto reset = [](world& w) {
    if (w.t.stop()) model::fail("it was not set");
    w.took_back = w.t.reset(at(5));
  };
  cast<world>().waiter("waiter", wait).other("resetter", reset).clock({5}).play([](world& w) {
    return w.took_back ? "there was nothing to take back" : w.expect({5});
  });
}

TEST(TimerModel, AMissedTickOfATickerIsNotMadeUpFor) {
  struct ticking : stage {
    ticker t{std::chrono::nanoseconds(5)};
    std::vector<int> ticks, ticks_2;
  };
  cast<ticking>()
      .waiter("waiter", [](ticking& w) { w.ticks.push_back(to_int(w.t.wait())); })
      .waiter("waiter 2", [](ticking& w) { w.ticks_2.push_back(to_int(w.t.wait())); })
      .clock({5, 12})
      .only({as::threads})
      .play(
          [](ticking& w) -> std::string {
            std::vector<int> all = w.ticks;
            all.insert(all.end(), w.ticks_2.begin(), w.ticks_2.end());
            std::sort(all.begin(), all.end());
            if (all == std::vector{5} || all == std::vector{5, 10}) return "";
            return "ticks " + list(all);
          },
          sleepers);
}

// covers H108
TEST(TimerModel, ATickOrAValue) {
  cast<set_to_5>()
      .waiter(
          "selector",
          [](world& w) { select(on_tick(w.t, [&w](auto tick) { w.ticks.push_back(to_int(tick)); }), on_receive(w.c)); })
      .other("sender", [](world& w) { w.sent = w.c.try_send(item(1)); })
      .clock({5})
      .play([](world& w) -> std::string {
        if (w.sent == (w.ticks.size() == 1)) return "both, or neither";
        return w.t.try_wait().has_value() == w.sent ? "" : "the tick was lost, or doubled";
      });
}

// A scheduler's timer: who arms and stops it, and who fires what is due. A shot is told by the number of its arming.
struct heap_world : stage {
  struct shooter {
    heap_world* w;
    std::vector<int> shots;
  };
  sched::timer t, t_2;
  shooter s{this, {}}, s_2{this, {}};
  nanotime passed = 0;  // of whoever fires
  bool stopped = false;
  bool postponed = false;

  static void ring(void* object, std::uint32_t sequence) noexcept {
    static_cast<shooter*>(object)->shots.push_back(static_cast<int>(sequence));
  }
  void arm(sched::timer& which, shooter& of, nanotime when, std::uint32_t sequence) {
    if (!which.arm(scheduler(), when, ring, &of, sequence)) model::fail("no memory");
  }
  // What is armed yet fires in the end: a timer with a due time is in the heap.
  std::string expect(const std::vector<int>& shots, const std::vector<int>& shots_2 = {}) {
    pass(100);
    if (s.shots == shots && s_2.shots == shots_2) return "";
    return "shots " + list(s.shots) + list(s_2.shots) + ", expected " + list(shots) + list(shots_2);
  }
};
struct armed_at_5 : heap_world {
  armed_at_5() {
    t_2.stop();
    arm(t, s, 5, 1);
  }
};

// covers I116
TEST(TimerHeapModel, StopIsTrueExactlyIfItPreventedTheShot) {
  cast<armed_at_5>()
      .waiter("owner", [](armed_at_5& w) { w.stopped = w.t.stop(); })
      .clock({5})
      .only({as::threads_with_timers})
      .play([](armed_at_5& w) { return w.stopped ? w.expect({}) : w.expect({1}); });
}

TEST(TimerHeapModel, APostponedTimerFiresOnce) {
  cast<armed_at_5>()
      .waiter("owner", [](armed_at_5& w) { w.postponed = w.t.postpone(10); })
      .clock({5, 7})
      .only({as::threads_with_timers})
      .play([](armed_at_5& w) -> std::string {
        if (w.postponed != w.s.shots.empty()) return "fired before its time";
        return w.expect({1});
      });
}

TEST(TimerHeapModel, ATimerThatIsMovedFiresOnceForTheLastArming) {
  cast<armed_at_5>()
      .waiter("owner", [](armed_at_5& w) { w.arm(w.t, w.s, 10, 2); })
      .clock({5, 10})
      .only({as::threads_with_timers})
      .play([](armed_at_5& w) {
        return w.s.shots.size() == 2 ? w.expect({1, 2}) : w.expect({2});
      });
}

TEST(TimerHeapModel, ATimerThatIsStoppedAndArmedAgainFiresForEachArmingThatWasNotStopped) {
  cast<armed_at_5>()
      .waiter("owner",
              [](armed_at_5& w) {
                w.stopped = w.t.stop();
                w.arm(w.t, w.s, 10, 2);
              })
      .clock({5, 10})
      .only({as::threads_with_timers})
      .play([](armed_at_5& w) {
        return w.stopped ? w.expect({2}) : w.expect({1, 2});
      });
}

// Arming one purges the other, stopped one, which is just being armed again.
// covers I126
TEST(TimerHeapModel, APurgeMeetsAnArming) {
  cast<armed_at_5>()
      .waiter("owner",
              [](armed_at_5& w) {
                w.stopped = w.t.stop();
                w.arm(w.t, w.s, 10, 2);
              })
      .waiter("owner of another", [](armed_at_5& w) { w.arm(w.t_2, w.s_2, 7, 3); })
      .other("clock", [](armed_at_5& w) { w.pass(7); })
      .only({as::threads_with_timers})
      .play([](armed_at_5& w) {
        return w.stopped ? w.expect({2}, {3}) : w.expect({1, 2}, {3});
      });
}

}  // namespace
