// selection_word: its table, and every interleaving of a waiter, two who claim and one who stops.
#include "wait_world.hpp"

#include <weft/sched/selection.hpp>

#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

using namespace weft;
using sched::selection_word;
using sched::verdict;
using weft::testing::one;

constexpr std::uintptr_t nobody = 0xdead;

// T1: {fresh, parked, taken} by {publish, claim, take_out right and wrong}.
TEST(SelectionTable, EachTransition) {
  std::uintptr_t who = nobody;
  {
    selection_word<> w;
    EXPECT_FALSE(w.take_out(one));
    EXPECT_TRUE(w.claim(who));  // before anybody sleeps
    EXPECT_EQ(who, 0u);
    EXPECT_TRUE(w.is_taken());
    EXPECT_FALSE(w.publish(one));
    EXPECT_FALSE(w.claim(who));
    EXPECT_EQ(w.decided(), verdict::pending);
    w.decide(verdict::again);
    EXPECT_EQ(w.decided(), verdict::again);
  }
  {
    selection_word<> w;
    EXPECT_TRUE(w.publish(one));
    EXPECT_FALSE(w.is_taken());
    EXPECT_FALSE(w.take_out(one + 8));
    EXPECT_TRUE(w.claim(who));
    EXPECT_EQ(who, one);
    EXPECT_FALSE(w.take_out(one));
  }
  selection_word<> w;
  EXPECT_TRUE(w.publish(one));
  EXPECT_TRUE(w.take_out(one));
  EXPECT_FALSE(w.claim(who));
}

struct selection_world : weft::testing::world<selection_word<model::atomic>> {
  model::atomic<bool> lives{true};  // the word
  model::atomic<int> decisions{0};
  int late = 0;

  // As a claimer under its queue's lock, which the waiter need not hold.
  void claim(verdict v) {
    std::uintptr_t who = 0;
    if (!word.claim(who)) return;
    decisions.fetch_add(1, std::memory_order_seq_cst);
    if (!lives.load(std::memory_order_seq_cst)) ++late;
    word.decide(v);
    if (who != 0) wake();
  }
};

// selection::wait.
void waiter(selection_world& w) {
  if (w.announce()) {
    w.park();
    model::wait_until([&] { return w.word.decided() != verdict::pending; });
    w.withdraw();
  } else {
    std::uintptr_t who = 0;
    if (w.word.claim(who)) {
      w.result = "refused";
      w.lives.store(false, std::memory_order_seq_cst);
      w.over.store(true, std::memory_order_seq_cst);
      return;
    }
    model::wait_until([&] { return w.word.decided() != verdict::pending; });
  }
  switch (w.word.decided()) {
    case verdict::done:
      w.result = "done";
      break;
    case verdict::closed:
      w.result = "closed";
      break;
    default:
      w.result = "canceled";
  }
  w.lives.store(false, std::memory_order_seq_cst);
  w.over.store(true, std::memory_order_seq_cst);
}

const model::actor<selection_world> waiting{"waiter", waiter};
const model::actor<selection_world> worker{
    "worker", [](selection_world& w) { w.run_commits([&] { return w.word.publish(one); }); }};
const model::actor<selection_world> doing{"claimer", [](selection_world& w) { w.claim(verdict::done); }};
const model::actor<selection_world> closing{"other claimer", [](selection_world& w) { w.claim(verdict::closed); }};
const model::actor<selection_world> stopping{"stopper", [](selection_world& w) { w.request_stop(); }};

void expect(const std::vector<model::actor<selection_world>>& actors, const std::string& results) {
  const auto found = model::explore<selection_world>(actors, [&](selection_world& w) -> std::string {
    if (results.find(w.result) == std::string::npos) return "result " + w.result;
    const bool claimed = w.result == "done" || w.result == "closed";
    if (w.decisions.load(std::memory_order_seq_cst) != (claimed ? 1 : 0)) return "not one decision, " + w.result;
    if (w.late != 0) return "decided after the end";
    return w.conserved();
  });
  EXPECT_GE(found.runs, 3u);
}

TEST(SelectionModel, AClaimAtAnyPointEndsTheWait) { expect({waiting, worker, doing}, "done"); }
TEST(SelectionModel, OneOfTwoClaimsDoes) { expect({waiting, worker, doing, closing}, "done closed"); }
TEST(SelectionModel, AStopAtAnyPointEndsTheWait) { expect({waiting, worker, stopping}, "canceled refused"); }
TEST(SelectionModel, AClaimAndAStopDoNotBoth) { expect({waiting, worker, doing, stopping}, "done canceled refused"); }

}  // namespace
