// The words of stop, join and sleep: their tables, and every interleaving of those who use them.
#include "wait_world.hpp"

#include <wait_words.hpp>

#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace {

using namespace weft;
using weft::testing::one;
using weft::testing::world;
using sched::join_word;
using sched::sleep_word;
using sched::stop_word;

constexpr std::uintptr_t two = 0x2000;

// T1: join_word, {0, waiter, abandoned, done} by {wait by the same, wait by another, end, take_out right and wrong}; and abandon.

join_word<>& in_state(join_word<>& w, std::uintptr_t state) {
  w.begin();
  if (state == one) w.wait(one);
  if (state == join_word<>::done) (void)w.end();
  if (state == join_word<>::abandoned) (void)w.abandon();
  EXPECT_EQ(w.peek(), state);
  return w;
}

TEST(JoinWordTable, EachStateByEachOperation) {
  using joining = join_word<>::joining;
  constexpr auto done = join_word<>::done;
  struct row {
    std::uintptr_t state;
    joining same;
    std::uintptr_t after_same;
    joining other;
    std::uintptr_t end;
    bool out;
    bool ended;
  };
  for (const row& r : {row{0, joining::parked, one, joining::parked, 0, false, false},
                       row{one, joining::parked, one, joining::occupied, one, true, false},
                       row{join_word<>::abandoned, joining::occupied, join_word<>::abandoned, joining::occupied,
                           join_word<>::abandoned, false, false},
                       row{done, joining::ended, done, joining::ended, done, false, true}}) {
    join_word<> w;
    EXPECT_EQ(in_state(w, r.state).wait(one), r.same);
    EXPECT_EQ(w.peek(), r.after_same);
    EXPECT_EQ(in_state(w, r.state).wait(two), r.other);
    EXPECT_EQ(in_state(w, r.state).take_out(one), r.out);
    EXPECT_EQ(w.peek(), r.out ? 0 : r.state);
    EXPECT_FALSE(in_state(w, r.state).take_out(two));
    EXPECT_EQ(w.peek(), r.state);
    EXPECT_EQ(in_state(w, r.state).ended(), r.ended);
    EXPECT_EQ(in_state(w, r.state).end(), r.end);
    EXPECT_TRUE(w.ended());
  }
  join_word<> w;
  EXPECT_FALSE(in_state(w, done).abandon());
  EXPECT_TRUE(w.ended());
  EXPECT_TRUE(in_state(w, one).take_out(one));
  w.end_unseen();
  EXPECT_TRUE(w.ended());
}

// T1: sleep_word, {0, waiter, fired} by {lie_down, ring, take_out, get_up}.

TEST(SleepWordTable, EachStateByEachOperation) {
  constexpr auto fired = sleep_word<>::fired;
  struct row {
    std::uintptr_t state;
    bool down;
    std::uintptr_t after_down;
    std::uintptr_t rung;
    std::uintptr_t after_ring;
    bool out;
  };
  for (const row& r : {row{0, true, one, 0, fired, false}, row{one, false, one, one, 0, true},
                       row{fired, false, fired, 0, fired, false}}) {
    const auto in = [&] {
      auto w = std::make_unique<sleep_word<>>();
      if (r.state == one) (void)w->lie_down(one);
      if (r.state == fired) (void)w->ring();
      EXPECT_EQ(w->peek(), r.state);
      return w;
    };
    auto w = in();
    EXPECT_EQ(w->lie_down(one), r.down);
    EXPECT_EQ(w->peek(), r.after_down);
    w = in();
    EXPECT_EQ(w->ring(), r.rung);
    EXPECT_EQ(w->peek(), r.after_ring);
    w = in();
    EXPECT_FALSE(w->take_out(two));
    EXPECT_EQ(w->take_out(one), r.out);
    EXPECT_EQ(w->peek(), r.out ? 0 : r.state);
    w = in();
    w->get_up();
    EXPECT_EQ(w->peek(), 0u);
  }
}

// T1: stop_word, {no stop, own, everybody's} by {announce, missed} and {no site, a site} by withdraw.

TEST(StopWordTable, EachStateByEachOperation) {
  sched::cancel_site site{};
  for (int kind = 0; kind < 3; ++kind) {
    stop_word<> w;
    std::atomic<bool> everybody{kind == 2};
    if (kind == 1) w.request();
    EXPECT_EQ(w.stands(everybody), kind != 0);
    EXPECT_FALSE(w.announced());
    EXPECT_EQ(w.missed(everybody), nullptr);
    EXPECT_EQ(w.announce(&site, 16, everybody), kind == 0);
    EXPECT_EQ(w.announced(), kind == 0);
    EXPECT_EQ(w.site(), kind == 0 ? &site : nullptr);
    w.request();
    EXPECT_EQ(w.missed(everybody), kind == 0 ? &site : nullptr);
    w.withdraw();
    EXPECT_EQ(w.missed(everybody), nullptr);
    EXPECT_TRUE(w.stands(everybody));
    w.begin();
    EXPECT_EQ(w.stands(everybody), kind == 2);
  }
}

// T2, in the world of wait_world.hpp.
using sleep_world = world<sleep_word<model::atomic>>;
using join_world = world<join_word<model::atomic>>;

// sleep_until.
void sleeper(sleep_world& w) {
  w.result = "slept";
  while (!w.happened.load(std::memory_order_seq_cst)) {
    if (!w.announce()) {
      w.result = "stopped";
      break;
    }
    w.park();
    w.withdraw();
    w.word.get_up();
    if (w.stops.stands(w.everybody) && !w.happened.load(std::memory_order_seq_cst)) {
      w.result = "stopped";
      break;
    }
  }
  w.over.store(true, std::memory_order_seq_cst);
}

// join.
void joiner(join_world& w) {
  w.result = "joined";
  while (!w.word.ended()) {
    w.publish();
    w.park();
    w.withdraw();
    if (!w.word.ended() && w.stops.stands(w.everybody)) {
      w.result = "stopped";
      break;
    }
  }
  w.over.store(true, std::memory_order_seq_cst);
}

const model::actor<sleep_world> sleeping{"sleeper", sleeper};
const model::actor<sleep_world> sleep_worker{
    "worker", [](sleep_world& w) { w.run_commits([&] { return w.word.lie_down(one); }); }};
const model::actor<sleep_world> alarm{"alarm", [](sleep_world& w) {
                                        w.happened.store(true, std::memory_order_seq_cst);
                                        if (w.word.ring() != 0) w.wake();
                                      }};
const model::actor<sleep_world> late_alarm{"alarm of an earlier sleep", [](sleep_world& w) {
                                             if (w.word.ring() != 0) w.wake();
                                           }};
const model::actor<sleep_world> stop_sleep{"stopper", [](sleep_world& w) { w.request_stop(); }};
const model::actor<sleep_world> stop_all_sleep{"stopper of all", [](sleep_world& w) { w.stop_all(); }};

const model::actor<join_world> joining{"joiner", joiner};
const model::actor<join_world> join_worker{
    "worker", [](join_world& w) {
      w.run_commits([&] { return w.word.wait(one) == join_word<model::atomic>::joining::parked; });
    }};
const model::actor<join_world> ending{"end", [](join_world& w) {
                                        if (w.word.end() != 0) w.wake();
                                      }};
// As a fiber ends that whoever joins runs after.
const model::actor<join_world> ending_with_joiner{"end that takes the joiner along", [](join_world& w) {
                                                    const std::uintptr_t joins = w.word.peek();
                                                    if (join_word<model::atomic>::is_waiter(joins) &&
                                                        w.word.take_out(joins)) {
                                                      w.word.end_unseen();
                                                      w.wake();
                                                    } else if (w.word.end() != 0) {
                                                      w.wake();
                                                    }
                                                  }};
const model::actor<join_world> stop_join{"stopper", [](join_world& w) { w.request_stop(); }};
const model::actor<join_world> stop_all_join{"stopper of all", [](join_world& w) { w.stop_all(); }};

template <class World>
void expect_always(const std::vector<model::actor<World>>& actors, const std::string& result) {
  const auto found = model::explore<World>(actors, [&](World& w) {
    if (!result.empty() && w.result != result) return "result " + w.result;
    return w.conserved();
  });
  EXPECT_GE(found.runs, 3u);
}

TEST(SleepModel, AnAlarmAtAnyPointEndsTheSleep) {
  expect_always<sleep_world>({sleeping, sleep_worker, alarm}, "slept");
}
TEST(SleepModel, AStopAtAnyPointEndsTheSleep) {
  expect_always<sleep_world>({sleeping, sleep_worker, stop_sleep}, "stopped");
  expect_always<sleep_world>({sleeping, sleep_worker, stop_all_sleep}, "stopped");
}
TEST(SleepModel, TwoStopsWakeOnce) {
  expect_always<sleep_world>({sleeping, sleep_worker, stop_sleep, stop_all_sleep}, "stopped");
}
TEST(SleepModel, AlarmAndStopWakeOnce) { expect_always<sleep_world>({sleeping, sleep_worker, alarm, stop_sleep}, ""); }
TEST(SleepModel, ALateAlarmDoesNotEndTheSleep) {
  expect_always<sleep_world>({sleeping, sleep_worker, alarm, late_alarm}, "slept");
}

TEST(JoinModel, TheEndAtAnyPointEndsTheJoin) {
  expect_always<join_world>({joining, join_worker, ending}, "joined");
  expect_always<join_world>({joining, join_worker, ending_with_joiner}, "joined");
}
TEST(JoinModel, AStopAtAnyPointEndsTheJoin) {
  expect_always<join_world>({joining, join_worker, stop_join}, "stopped");
  expect_always<join_world>({joining, join_worker, stop_all_join}, "stopped");
}
TEST(JoinModel, EndAndStopsWakeOnce) {
  expect_always<join_world>({joining, join_worker, ending, stop_join}, "");
  expect_always<join_world>({joining, join_worker, ending, stop_all_join}, "");
  expect_always<join_world>({joining, join_worker, ending_with_joiner, stop_join}, "");
  expect_always<join_world>({joining, join_worker, ending_with_joiner, stop_all_join}, "");
}

// T1 of the links' flag: like a stop's, but it can be taken back.
TEST(StopWordTable, ALinkStandsUntilItIsTakenBack) {
  sched::cancel_site site{};
  stop_word<> w;
  const std::atomic<bool> everybody{false};
  EXPECT_TRUE(w.announce(&site, one, everybody));
  w.set_linked(true);
  EXPECT_TRUE(w.stands(everybody));
  EXPECT_EQ(w.missed(everybody), &site);
  w.withdraw();
  EXPECT_FALSE(w.announce(&site, one, everybody));
  EXPECT_EQ(w.site(), nullptr);
  w.set_linked(false);
  EXPECT_FALSE(w.stands(everybody));
  EXPECT_TRUE(w.announce(&site, one, everybody));
  EXPECT_EQ(w.who(), one);
  w.withdraw();
  w.set_linked(true);
  w.begin();
  EXPECT_FALSE(w.stands(everybody));
}

// T2: links. As stop_link of park.cpp and the callback that it has registered: the source asks for the stop at any
// time, and unregistering waits for a callback that has begun.
struct model_link {
  enum : int { registered, running, returned, removed };
  model::atomic<bool> fired{false};
  model::atomic<int> callback{registered};
  model::atomic<bool> nobody{false};
  model_link* outer = nullptr;

  void fire(stop_word<model::atomic>& word) {
    int before = registered;
    if (!callback.compare_exchange_strong(before, running, std::memory_order_seq_cst)) return;
    fired.store(true, std::memory_order_seq_cst);
    word.set_linked(true);
    sched::cancel_announced(word, nobody);
    callback.store(returned, std::memory_order_seq_cst);
  }
  void destroy(stop_word<model::atomic>& word) {
    int before = registered;
    if (!callback.compare_exchange_strong(before, removed, std::memory_order_seq_cst)) {
      model::wait_until([this] { return callback.load(std::memory_order_seq_cst) == returned; });
    }
    if (!fired.load(std::memory_order_relaxed)) return;
    word.set_linked(false);
    for (model_link* l = outer; l != nullptr; l = l->outer) {
      if (l->fired.load(std::memory_order_seq_cst)) word.set_linked(true);
    }
  }
};

struct linked_world : sleep_world {
  model_link outer;
  model_link inner;
  bool stands_inside = false;
  linked_world() { inner.outer = &outer; }
};

const auto fire_inner = [](linked_world& w) { w.inner.fire(w.stops); };
const auto fire_outer = [](linked_world& w) { w.outer.fire(w.stops); };
const model::actor<linked_world> linked_worker{
    "worker", [](linked_world& w) { w.run_commits([&] { return w.word.lie_down(one); }); }};
const model::actor<linked_world> linked_alarm{"alarm", [](linked_world& w) {
                                                w.happened.store(true, std::memory_order_seq_cst);
                                                if (w.word.ring() != 0) w.wake();
                                              }};

// One call with a token: a wait, and the end of its link.
const model::actor<linked_world> linked_sleeper{"sleeper", [](linked_world& w) {
                                                  sleeper(w);
                                                  w.inner.destroy(w.stops);
                                                  w.stands_inside = w.stops.stands(w.everybody);
                                                }};

TEST(LinkModel, AFireAtAnyPointEndsTheWait) {
  const auto found = model::explore<linked_world>({linked_sleeper, linked_worker, {"source", fire_inner}},
                                                  [](linked_world& w) -> std::string {
                                                    if (w.result != "stopped") return "result " + w.result;
                                                    if (w.stands_inside) return "a link that is gone still stands";
                                                    return w.conserved();
                                                  });
  EXPECT_GE(found.runs, 3u);
}

TEST(LinkModel, FireAndEventWakeOnceAndTheEndOfTheLinkEndsTheStop) {
  model::explore<linked_world>({linked_sleeper, linked_worker, linked_alarm, {"source", fire_inner}},
                               [](linked_world& w) -> std::string {
                                 if (w.stands_inside) return "a link that is gone still stands";
                                 return w.conserved();
                               });
}

// The inner link ends while both may fire: the outer one's fire is not forgotten, the inner one's is.
TEST(LinkModel, NestedLinksStandEachForItself) {
  const model::actor<linked_world> fiber{"fiber", [](linked_world& w) {
                                           w.inner.destroy(w.stops);
                                           sleeper(w);
                                         }};
  model::explore<linked_world>({fiber, linked_worker, {"outer source", fire_outer}, {"inner source", fire_inner}},
                               [](linked_world& w) -> std::string {
                                 if (w.result != "stopped") return "result " + w.result;
                                 return w.conserved();
                               });
  const model::actor<linked_world> alone{"fiber", [](linked_world& w) {
                                           w.inner.destroy(w.stops);
                                           w.stands_inside = w.stops.stands(w.everybody);
                                         }};
  model::explore<linked_world>({alone, {"inner source", fire_inner}}, [](linked_world& w) -> std::string {
    return w.stands_inside ? "a link that is gone still stands" : "";
  });
}

// Two waits with nothing in common but the word. Whoever comes late for the first must not touch the second.
struct two_waits {
  struct counted_site : sched::cancel_site {
    bool hit = false;
  };
  stop_word<model::atomic> stops;
  model::atomic<bool> everybody{false};
  counted_site first, second;
  model_link link;
  two_waits() {
    first.cancel =
        second.cancel = [](sched::cancel_site& s, sched::waiter) noexcept { static_cast<counted_site&>(s).hit = true; };
  }
  void leave() {
    stops.withdraw();
    stops.await_cancels();
  }
  std::string untouched() const { return second.hit ? "a wait that nobody stopped was ended" : ""; }
};

const model::actor<two_waits> late_worker{"worker that ran the first one's commit", [](two_waits& s) {
                                            if (s.stops.missed(s.everybody) == nullptr) return;
                                            sched::cancel_announced(s.stops, s.everybody);
                                          }};

TEST(LinkModel, ALateCancelDoesNotReachTheWaitAfterTheLink) {
  const model::actor<two_waits> fiber{"fiber", [](two_waits& s) {
                                        (void)s.stops.announce(&s.first, one, s.everybody);
                                        s.leave();
                                        s.link.destroy(s.stops);
                                        if (!s.stops.announce(&s.second, one, s.everybody)) s.second.hit = true;
                                        s.leave();
                                      }};
  model::explore<two_waits>({fiber, {"source", [](two_waits& s) { s.link.fire(s.stops); }}, late_worker},
                            [](two_waits& s) { return s.untouched(); });
}

// The first fiber was stopped; the second one has its memory, and nobody stops it.
TEST(LinkModel, ALateCancelDoesNotReachTheNextFiber) {
  struct state : two_waits {
    state() {
      (void)stops.announce(&first, one, everybody);
      stops.request();
    }
  };
  model::explore<state>({{late_worker.name, [](state& s) { late_worker.body(s); }},
                         {"first fiber, then the second on its memory",
                          [](state& s) {
                            s.leave();
                            s.stops.begin();
                            if (s.stops.announce(&s.second, one, s.everybody)) s.leave();
                          }}},
                        [](state& s) { return s.untouched(); });
}

}  // namespace
