#include <gate.hpp>
#include <summary.hpp>
#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using namespace weft;
using poll::pdNil;
using poll::pdReady;
using poll::pdWait;
using poll::unblock;

const sched::waiter fiber_a = sched::waiter::from_bits(0x1000);
const sched::waiter fiber_b = sched::waiter::from_bits(0x2000);

constexpr auto clean = [] { return true; };
constexpr auto dirty = [] { return false; };

// T1: every state of the word times every operation.

enum class from { nil, ready, wait, waiter };

void put(poll::gate& g, from state) {
  switch (state) {
    case from::nil:
      return;
    case from::ready:
      EXPECT_FALSE(g.netpollunblock(unblock::edge));
      return;
    case from::wait:
    case from::waiter:
      FAIL() << "only inside netpollblock";
  }
}

// in_state runs f while the word is in that state: the last two exist only while somebody blocks.
template <class F>
bool in_state(poll::gate& g, from state, F f) {
  if (state == from::nil || state == from::ready) {
    put(g, state);
    f();
    return false;
  }
  return g.netpollblock(clean, [&] {
    if (state == from::waiter) {
      EXPECT_TRUE(g.netpollblockcommit(fiber_a));
    }
    f();
  });
}

struct row {
  from before;
  unblock why;
  std::uintptr_t after;
  sched::waiter woken;
  bool block_result;
};

// covers A1
TEST(Gate, UnblockTable) {
  const std::vector<row> rows = {
      {from::nil, unblock::edge, pdReady, {}, false},        {from::nil, unblock::cancel, pdNil, {}, false},
      {from::ready, unblock::edge, pdReady, {}, false},      {from::ready, unblock::cancel, pdReady, {}, false},
      {from::wait, unblock::edge, pdReady, {}, true},        {from::wait, unblock::cancel, pdNil, {}, false},
      {from::waiter, unblock::edge, pdReady, fiber_a, true}, {from::waiter, unblock::cancel, pdNil, fiber_a, false},
  };
  for (const row& r : rows) {
    SCOPED_TRACE(&r - rows.data());
    poll::gate g;
    const bool result = in_state(g, r.before, [&] {
      EXPECT_EQ(g.netpollunblock(r.why), r.woken);
      EXPECT_EQ(g.peek(), r.after);
    });
    EXPECT_EQ(result, r.block_result);
  }
}

TEST(Gate, CommitSucceedsOnlyOnAnUnansweredAnnouncement) {
  for (const from state : {from::nil, from::ready}) {
    poll::gate g;
    in_state(g, state, [&] { EXPECT_FALSE(g.netpollblockcommit(fiber_b)); });
  }
  poll::gate g;
  EXPECT_FALSE(in_state(g, from::wait, [&] {
    EXPECT_TRUE(g.netpollblockcommit(fiber_b));
    EXPECT_EQ(g.peek(), fiber_b.bits());
    EXPECT_FALSE(g.netpollblockcommit(fiber_b));
    EXPECT_EQ(g.netpollunblock(unblock::cancel), fiber_b);
  }));
}

// covers A1
TEST(Gate, BlockConsumesAnEdgeWithoutParking) {
  poll::gate g;
  EXPECT_FALSE(g.netpollunblock(unblock::edge));
  EXPECT_TRUE(g.netpollblock(dirty, [] { FAIL() << "parked"; }));
  EXPECT_EQ(g.peek(), pdNil);
}

// covers A2
TEST(Gate, EdgeBetweenAnnouncementAndCommitRefusesTheCommit) {
  poll::gate g;
  EXPECT_TRUE(g.netpollblock(clean, [&] {
    EXPECT_FALSE(g.netpollunblock(unblock::edge));
    EXPECT_FALSE(g.netpollblockcommit(fiber_a));
  }));
  EXPECT_EQ(g.peek(), pdNil);
}

// covers A3 A4
TEST(Gate, WhatIsNotCleanDoesNotPark) {
  poll::gate g;
  EXPECT_FALSE(g.netpollblock(dirty, [] { FAIL() << "parked"; }));
  EXPECT_EQ(g.peek(), pdNil);
}

// covers A5
TEST(Gate, CancelThenEdgeBeforeTheWaiterRunsIsReady) {
  poll::gate g;
  EXPECT_TRUE(g.netpollblock(clean, [&] {
    EXPECT_TRUE(g.netpollblockcommit(fiber_a));
    EXPECT_EQ(g.netpollunblock(unblock::cancel), fiber_a);
    EXPECT_FALSE(g.netpollunblock(unblock::edge));
  }));
}

// covers A6
TEST(Gate, EdgeThenCancelBeforeTheWaiterRunsIsReady) {
  poll::gate g;
  EXPECT_TRUE(g.netpollblock(clean, [&] {
    EXPECT_TRUE(g.netpollblockcommit(fiber_a));
    EXPECT_EQ(g.netpollunblock(unblock::edge), fiber_a);
    EXPECT_FALSE(g.netpollunblock(unblock::cancel));
  }));
}

TEST(Gate, WithdrawTakesOnlyTheWaiterItNames) {
  poll::gate g;
  EXPECT_FALSE(g.withdraw(fiber_a));
  EXPECT_FALSE(g.netpollunblock(unblock::edge));
  EXPECT_FALSE(g.withdraw(fiber_a));
  EXPECT_EQ(g.peek(), pdReady);
  g.reset();
  EXPECT_FALSE(g.netpollblock(clean, [&] {
    EXPECT_TRUE(g.netpollblockcommit(fiber_a));
    EXPECT_FALSE(g.withdraw(fiber_b));
    EXPECT_EQ(g.peek(), fiber_a.bits());
    EXPECT_TRUE(g.withdraw(fiber_a));
    EXPECT_FALSE(g.withdraw(fiber_a));
  }));
  // An announcement has no name: answered, and its owner looks again.
  EXPECT_FALSE(g.netpollblock(clean, [&] {
    EXPECT_FALSE(g.withdraw(fiber_a));
    EXPECT_EQ(g.peek(), pdNil);
  }));
}

// covers A11
TEST(Gate, ResetForgetsAnEdge) {
  poll::gate g;
  g.reset();
  EXPECT_EQ(g.peek(), pdNil);
  EXPECT_FALSE(g.netpollunblock(unblock::edge));
  g.reset();
  EXPECT_EQ(g.peek(), pdNil);
}

// covers A10
TEST(GateDeathTest, SecondWaiterIsFatal) {
  poll::gate g;
  EXPECT_DEATH((void)g.netpollblock(clean, [&] { (void)g.netpollblock(clean, [] {}); }), "double wait.*0x2");
  EXPECT_DEATH((void)g.netpollblock(clean,
                                    [&] {
                                      (void)g.netpollblockcommit(fiber_a);
                                      (void)g.netpollblock(clean, [] {});
                                    }),
               "double wait.*0x1000");
}

TEST(GateDeathTest, ResetUnderAWaiterAndWakingWithoutRemovalAreFatal) {
  poll::gate g;
  EXPECT_DEATH((void)g.netpollblock(clean, [&] { g.reset(); }), "somebody waits");
  EXPECT_DEATH((void)g.netpollblock(clean, [&] { (void)g.netpollblockcommit(fiber_a); }), "still holds a waiter");
}

// T2: every interleaving of the production code, with the waiter's park and its wake modelled.

struct world {
  poll::basic_gate<model::atomic> g;
  poll::basic_summary<model::atomic> info;
  model::atomic<bool> stop{false};
  model::atomic<int> data{0};
  model::parking_place bed;
  // Written by one actor each, read after the run.
  int parked = 0;
  int woken[3] = {};
  std::string result;
  int got = 0;

  bool closed() { return (info.load() & poll::summary::closing) != 0; }

  bool block() {
    return g.netpollblock([&] { return !closed() && !stop.load(std::memory_order_seq_cst); },
                          [&] {
                            if (!g.netpollblockcommit(fiber_a)) return;
                            ++parked;
                            bed.park();
                          });
  }
  // The loop of poll_desc::wait.
  std::string wait() {
    for (;;) {
      if (closed()) return "closed";
      if (stop.load(std::memory_order_seq_cst)) return "stopped";
      if (block()) return "ready";
    }
  }
  void wake(int who, sched::waiter w) {
    if (!w) return;
    ++woken[who];
    bed.unpark();
  }
  void edge(int who) { wake(who, g.netpollunblock(unblock::edge)); }
  void close(int who) {
    info.publish(poll::summary::closing, 1);
    wake(who, g.netpollunblock(unblock::cancel));
  }
  void request_stop(int who) {
    stop.store(true, std::memory_order_seq_cst);
    if (g.withdraw(fiber_a)) wake(who, fiber_a);
  }
  std::string conserved() {
    if (woken[0] + woken[1] + woken[2] != parked) return "a park and its wake don't match";
    if (g.peek() > pdReady) return "the gate still holds somebody";
    return "";
  }
};

void expect_exhaustive(const model::outcome& found, std::size_t at_least) { EXPECT_GE(found.runs, at_least); }

// covers A1 A2
TEST(GateModel, NoEdgeIsLost) {
  expect_exhaustive(model::explore<world>({{"reader", [](world& w) { w.result = w.wait(); }},
                                           {"poller", [](world& w) { w.edge(0); }},
                                           {"other poller", [](world& w) { w.edge(1); }}},
                                          [](world& w) {
                                            if (w.result != "ready") return "result " + w.result;
                                            return w.conserved();
                                          }),
                    5);
}

// covers A3
TEST(GateModel, CloseAtAnyPointEndsTheWait) {
  expect_exhaustive(model::explore<world>(
                        {{"reader", [](world& w) { w.result = w.wait(); }}, {"closer", [](world& w) { w.close(0); }}},
                        [](world& w) {
                          if (w.result != "closed") return "result " + w.result;
                          return w.conserved();
                        }),
                    4);
}

TEST(GateModel, StopAtAnyPointEndsTheWait) {
  expect_exhaustive(model::explore<world>({{"reader", [](world& w) { w.result = w.wait(); }},
                                           {"stopper", [](world& w) { w.request_stop(0); }}},
                                          [](world& w) {
                                            if (w.result != "stopped") return "result " + w.result;
                                            return w.conserved();
                                          }),
                    4);
}

// covers A3 A5 A6
TEST(GateModel, EdgeCloseAndStopWakeOnce) {
  expect_exhaustive(model::explore<world>({{"reader", [](world& w) { w.result = w.wait(); }},
                                           {"poller", [](world& w) { w.edge(0); }},
                                           {"closer", [](world& w) { w.close(1); }},
                                           {"stopper", [](world& w) { w.request_stop(2); }}},
                                          [](world& w) { return w.conserved(); }),
                    50);
}

// A late stop request, meant for a wait that is over, meets the next waiter of the same gate.
TEST(GateModel, LateStopDoesNotDisturbAnotherWaiter) {
  expect_exhaustive(model::explore<world>({{"reader", [](world& w) { w.result = w.wait(); }},
                                           {"late stopper", [](world& w) { EXPECT_FALSE(w.g.withdraw(fiber_b)); }},
                                           {"poller", [](world& w) { w.edge(0); }}},
                                          [](world& w) {
                                            if (w.result != "ready") return "result " + w.result;
                                            return w.conserved();
                                          }),
                    5);
}

// A deadline that passes and is cleared again before the woken reader runs: no error, the reader waits on for its data.
// covers A7
TEST(GateModel, CancelWhoseReasonIsGoneKeepsWaiting) {
  expect_exhaustive(
      model::explore<world>({{"reader", [](world& w) { w.result = w.block() ? "ready" : w.wait(); }},
                             {"canceller", [](world& w) { w.wake(0, w.g.netpollunblock(unblock::cancel)); }},
                             {"poller", [](world& w) { w.edge(1); }}},
                            [](world& w) {
                              if (w.result != "ready") return "result " + w.result;
                              return w.conserved();
                            }),
      5);
}

// The loop of a read: reset, try, wait, try. What an edge announces is in `data` before the edge.
void read_once(world& w) {
  w.g.reset();
  for (;;) {
    const int n = w.data.exchange(0, std::memory_order_seq_cst);
    w.got += n;
    if (n != 0 || w.wait() != "ready") return;
  }
}

// The read after one that emptied the socket: waits before it tries, and doesn't reset.
void read_elided(world& w) {
  for (;;) {
    if (w.wait() != "ready") return;
    const int n = w.data.exchange(0, std::memory_order_seq_cst);
    w.got += n;
    if (n != 0) return;
  }
}

void produce(world& w, int who) {
  w.data.fetch_add(1, std::memory_order_seq_cst);
  w.edge(who);
}

TEST(GateModel, ReadingNeverSleepsOverData) {
  expect_exhaustive(model::explore<world>({{"reader",
                                            [](world& w) {
                                              while (w.got < 2) read_once(w);
                                            }},
                                           {"producer",
                                            [](world& w) {
                                              produce(w, 0);
                                              produce(w, 0);
                                            }}},
                                          [](world& w) { return w.got == 2 ? w.conserved() : "data was lost"; }),
                    10);
}

TEST(GateModel, ReadThatParksFirstNeverSleepsOverData) {
  expect_exhaustive(model::explore<world>({{"reader",
                                            [](world& w) {
                                              read_once(w);
                                              while (w.got < 2) read_elided(w);
                                            }},
                                           {"producer",
                                            [](world& w) {
                                              produce(w, 0);
                                              produce(w, 0);
                                            }}},
                                          [](world& w) { return w.got == 2 ? w.conserved() : "data was lost"; }),
                    10);
}

// An event's notes come before its edge: who has used up or forgotten the edge sees them.
TEST(GateModel, NotesAreVisibleBeforeTheEdge) {
  expect_exhaustive(model::explore<world>({{"reader",
                                            [](world& w) {
                                              w.g.reset();
                                              const bool noted = (w.info.load() & poll::summary::unusual) != 0;
                                              // Either the note is seen, or the edge is still to come.
                                              if (!noted) w.result = w.wait();
                                            }},
                                           {"poller",
                                            [](world& w) {
                                              w.info.note(poll::summary::unusual, 0, 0);
                                              w.edge(0);
                                            }}},
                                          [](world& w) { return w.conserved(); }),
                    3);
}

// covers A18
TEST(SummaryModel, LateNoteOfTheFormerOwnerNeverMarksTheNext) {
  struct slot {
    poll::basic_summary<model::atomic> info;
  };
  expect_exhaustive(model::explore<slot>({{"owners",
                                           [](slot& s) {
                                             s.info.publish(0, 1);                       // the first one opens
                                             s.info.publish(poll::summary::closing, 1);  // and closes
                                             s.info.publish(poll::summary::closing, 2);  // the slot is freed
                                             s.info.note(0, poll::summary::noted, 0);    // the second one opens
                                             s.info.publish(0, 2);
                                           }},
                                          {"late poller",
                                           [](slot& s) {
                                             s.info.note_event(true, true, 1);
                                           }}},
                                         [](slot& s) {
                                           const std::uint64_t end = s.info.load();
                                           if ((end & poll::summary::noted) != 0) return "marked";
                                           return poll::summary::generation(end) == 2 ? "" : "wrong generation";
                                         }),
                    3);
}

TEST(Summary, PublishKeepsNotesAndNoteKeepsMirrors) {
  poll::summary info;
  info.publish(poll::summary::read_expired, 7);
  info.note_event(true, false, 7);
  EXPECT_EQ(info.load(), (std::uint64_t{7} << 32) | poll::summary::read_expired | poll::summary::event_error);
  info.note_event(false, false, 8);  // another generation's
  info.publish(poll::summary::closing, 7);
  EXPECT_EQ(info.load(), (std::uint64_t{7} << 32) | poll::summary::closing | poll::summary::event_error);
  info.note_event(false, false, 0);  // any generation's
  EXPECT_EQ(info.load(), (std::uint64_t{7} << 32) | poll::summary::closing);
}

// covers A17
TEST(Summary, GenerationHasAll32Bits) {
  poll::summary info;
  for (const std::uint32_t seq : {0xffffu, 0x10000u, 0xfffffu, 0x100000u, 0xffffffffu}) {
    info.publish(0, seq);
    EXPECT_EQ(poll::summary::generation(info.load()), seq);
    info.note_event(true, false, seq ^ 0x80000000u);
    EXPECT_EQ(info.load() & poll::summary::event_error, 0u);
    info.note_event(true, false, seq);
    EXPECT_EQ(info.load() & poll::summary::event_error, poll::summary::event_error);
    info.note_event(false, false, seq);
  }
}

}  // namespace
