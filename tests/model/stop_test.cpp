// Stops and deadlines against wake-ups in every interleaving: a wait ends once, and what it was woken for is not lost.
#include "stage.hpp"

#include <weft/error.hpp>
#include <weft/event.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/fiber.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <string>

namespace {

using namespace weft;
using namespace weft::testing;

constexpr sched::nanotime due = 5;
constexpr std::chrono::steady_clock::time_point when{std::chrono::nanoseconds(due)};

struct world : stage {
  auto_reset_event e;
  hand_link::source stop;
  hand_link::source stop_2;
  int done = 0;
  int ended = 0;  // waits, by a stop or the time
  model::atomic<bool> first_over{false};
  bool last = false;  // how the last wait ended

  // wait is true if the event has ended it.
  bool wait() {
    try {
      e.wait();
      ++done;
      return true;
    } catch (const canceled_error&) {
      ++ended;
      return false;
    }
  }
  // A set that nobody reported is still there, and one that somebody did is not.
  std::string conserved(int waits, int sets) {
    if (done + ended != waits) return "a wait has not ended once";
    return e.try_wait() == (done < sets) ? "" : std::to_string(done) + " waits were told of the set";
  }
};

const auto wait_unless_stopped = [](world& w) {
  const hand_link link(w.stop);
  w.wait();
};
const auto wait_in_time = [](world& w) { ++(w.e.wait_until(when) ? w.done : w.ended); };
const auto set = [](world& w) { w.e.set(); };
const auto fire = [](world& w) { w.stop.fire(); };
const auto fire_2 = [](world& w) { w.stop_2.fire(); };

TEST(StopModel, AWaitEndsByTheEventOrTheStop) {
  cast<world>().waiter("waiter", wait_unless_stopped).other("setter", set).other("stopper", fire).play([](world& w) {
    return w.conserved(1, 1);
  });
}

TEST(StopModel, AWaitEndsByTheEventOrTheTime) {
  cast<world>().waiter("waiter", wait_in_time).other("setter", set).clock({due}).play([](world& w) {
    return w.conserved(1, 1);
  });
}

// The event goes to the one behind if the first in line is stopped.
TEST(StopModel, WhoWaitsBehindOneThatIsStoppedIsNotForgotten) {
  cast<world>()
      .waiter("first", wait_unless_stopped)
      .waiter("second", [](world& w) { w.wait(); })
      .other("setter", set)
      .other("stopper", fire)
      .play([](world& w) { return w.done == 1 && w.ended <= 1 ? "" : "the event did not end one wait"; },
            {.may_sleep = true});
}

// A link that has ended, though it was just firing, stops no later wait.
TEST(StopModel, ALinkStopsNoWaitAfterItsEnd) {
  const auto check = [](world& w) { return w.last ? "" : "a wait was ended by a link that had gone"; };
  const auto then_wait = [](const auto& first) {
    return [first](world& w) {
      first(w);
      w.first_over.store(true, std::memory_order_seq_cst);
      w.last = w.wait();
    };
  };
  const auto set_twice = [](world& w) {
    w.e.set();
    model::await(w.first_over, std::memory_order_seq_cst, [](bool over) { return over; });
    w.e.set();
  };
  cast<world>()
      .waiter("waiter", then_wait(wait_unless_stopped))
      .other("setter", set_twice)
      .other("stopper", fire)
      .play(check);
  cast<world>().waiter("waiter", then_wait(wait_in_time)).other("setter", set_twice).clock({due}).play(check);
}

// Of nested links each ends the wait inside; the outer one stands when the inner has gone.
TEST(StopModel, TheOuterLinkStandsBehindTheInner) {
  cast<world>()
      .waiter("waiter",
              [](world& w) {
                const hand_link outer(w.stop);
                {
                  const hand_link inner(w.stop_2);
                  w.wait();
                  if (!outer.fired() && !inner.fired()) model::fail("ended by nobody");
                }
                w.wait();
                if (!outer.fired()) model::fail("ended by a link that has gone");
              })
      .other("stopper", fire)
      .other("stopper 2", fire_2)
      .play([](world& w) { return w.ended == 2 ? "" : "not ended twice"; });
}

// A shield keeps the outer stop away, whenever it comes, and lets those made inside through. One stopper fires both links, in
// either order: with two of them there is too much to be exhausted.
TEST(StopModel, AShieldKeepsTheOuterLinkAway) {
  const auto under_a_shield = [](world& w) {
    const hand_link outer(w.stop);
    const sched::shielded from_outside;
    {
      const hand_link inner(w.stop_2);
      w.wait();
      if (!inner.fired()) model::fail("the shield let a stop through");
    }
    if (sched::stop_requested()) model::fail("a stop stands behind the shield");
  };
  const auto both = [](const auto& first, const auto& second) {
    return [=](world& w) {
      first(w);
      second(w);
    };
  };
  const auto check = [](world& w) { return w.ended == 1 ? "" : "not ended"; };
  cast<world>().waiter("waiter", under_a_shield).other("stopper", both(fire, fire_2)).only({as::threads}).play(check);
  cast<world>().waiter("waiter", under_a_shield).other("stopper", both(fire_2, fire)).play(check);
}

TEST(StopModel, BehindAShieldTheOuterLinkStandsAgain) {
  cast<world>()
      .waiter("waiter",
              [](world& w) {
                const hand_link outer(w.stop);
                {
                  const sched::shielded from_outside;
                  {
                    const hand_link inner(w.stop_2);
                  }
                  if (sched::stop_requested()) model::fail("the shield let a stop through");
                }
                w.wait();
                if (!outer.fired()) model::fail("ended by nobody");
              })
      .other("stopper", fire)
      .play([](world& w) { return w.ended == 1 ? "" : "not ended"; });
}

// So does an exception that unwinds: a destructor's wait ends by what it waits for alone.
TEST(StopModel, AWaitWhileUnwindingIsNotEndedByALinkFromBefore) {
  struct last_wait {
    world& w;
    ~last_wait() {
      if (!w.wait()) model::fail("the destructor's wait was ended");
    }
  };
  cast<world>()
      .waiter("waiter",
              [](world& w) {
                const hand_link link(w.stop);
                try {
                  const last_wait at_the_end{w};
                  throw 1;
                } catch (int) {
                }
              })
      .other("setter", set)
      .other("stopper", fire)
      .play([](world& w) { return w.conserved(1, 1); });
}

// The nearer of two deadlines ends the wait; both may be ringing at the time.
TEST(StopModel, TheNearerOfTwoDeadlinesEndsTheWait) {
  const auto wait_twice = [](world& w) {
    const sched::deadline_link outer(2 * due);
    {
      const sched::deadline_link inner(due);
      if (!w.wait() && !inner.passed() && !outer.passed()) model::fail("ended before its time");
    }
    if (!w.wait() && !outer.passed()) model::fail("ended before the outer time");
  };
  const auto check = [](int sets) { return [sets](world& w) { return w.conserved(2, sets); }; };
  cast<world>().waiter("waiter", wait_twice).clock({due, 2 * due}).play(check(0));
  cast<world>()
      .waiter("waiter", wait_twice)
      .other("setter", set)
      .clock({due, 2 * due})
      .only({as::threads})
      .play(check(1));
}

TEST(StopModel, ASleepEndsByTheTimeOrTheStop) {
  cast<world>()
      .waiter("sleeper",
              [](world& w) {
                const hand_link link(w.stop);
                w.last = sched::sleep_until(due);
                if (w.last ? sched::now() < due : !link.fired()) model::fail("woken for nothing");
              })
      .other("stopper", fire)
      .clock({due})
      .only({as::fibers})
      .play([](world&) { return ""; });
}

}  // namespace
