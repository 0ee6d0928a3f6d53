// The explorer itself: it must run every interleaving, and find the two classic faults.
#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace weft;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto seq_cst = std::memory_order_seq_cst;

struct one_word {
  model::atomic<int> word{0};
};

std::string nothing_wrong(one_word&) { return ""; }

model::actor<one_word> stepping(int steps) {
  return {"stepping", [steps](one_word& s) {
            for (int i = 0; i < steps; ++i) s.word.store(i, release);
          }};
}

TEST(Explore, CountsTheInterleavingsOfTwoActorsExactly) {
  std::size_t expected[7][7];
  for (int n = 0; n <= 6; ++n) {
    for (int m = 0; m <= 6; ++m) expected[n][m] = n == 0 || m == 0 ? 1 : expected[n - 1][m] + expected[n][m - 1];
  }
  for (int n = 1; n <= 6; ++n) {
    for (int m = 1; m <= 6; ++m) {
      const auto found = model::explore<one_word>({stepping(n), stepping(m)}, nothing_wrong, {.reduce = false});
      EXPECT_EQ(found.runs, expected[n][m]) << n << " and " << m << " steps";
      EXPECT_EQ(found.redundant, 0u);
      EXPECT_EQ(found.steps, found.runs * static_cast<std::size_t>(n + m));
    }
  }
}

TEST(Explore, CountsTheInterleavingsOfThreeActorsExactly) {
  const auto found =
      model::explore<one_word>({stepping(2), stepping(3), stepping(4)}, nothing_wrong, {.reduce = false});
  EXPECT_EQ(found.runs, 1260u);  // 9! / (2! 3! 4!)
}

TEST(Explore, StoresToOneWordAreAllReordered) {
  // All steps depend on each other: nothing to reduce.
  const auto found = model::explore<one_word>({stepping(3), stepping(3)}, nothing_wrong);
  EXPECT_EQ(found.runs, 20u);
}

TEST(Explore, IndependentStepsAreRunInOneOrder) {
  struct state {
    model::atomic<int> a{0}, b{0};
  };
  const auto found =
      model::explore<state>({{"a",
                              [](state& s) {
                                s.a.store(1, release);
                                s.a.store(2, release);
                              }},
                             {"b",
                              [](state& s) {
                                s.b.store(1, release);
                                s.b.store(2, release);
                              }}},
                            [](state& s) { return s.a.load(acquire) + s.b.load(acquire) == 4 ? "" : "?"; });
  EXPECT_EQ(found.runs, 1u);
  EXPECT_EQ(found.redundant, 0u);
}

TEST(Explore, FindsALostUpdate) {
  const auto increment = [](one_word& s) { s.word.store(s.word.load(acquire) + 1, release); };
  const auto check = [](one_word& s) { return s.word.load(acquire) == 2 ? "" : "an update was lost"; };
  for (bool reduce : {false, true}) {
    const auto found = model::search_all<one_word>({{"one", increment}, {"two", increment}}, check, {.reduce = reduce});
    EXPECT_NE(found.failure.find("an update was lost"), std::string::npos) << found.failure;
    EXPECT_NE(found.failure.find("explore_test.cpp:"), std::string::npos) << found.failure;
    EXPECT_NE(found.failure.find("   4  "), std::string::npos) << "four steps\n" << found.failure;
    EXPECT_EQ(found.failure.find("   5  "), std::string::npos) << "four steps\n" << found.failure;
  }
  const auto atomically = [](one_word& s) { s.word.fetch_add(1, seq_cst); };
  model::explore<one_word>({{"one", atomically}, {"two", atomically}}, check);
}

struct sleeper_and_waker {
  model::atomic<bool> work{false};
  model::atomic<bool> asleep{false};
  model::parking_place bed;
};

void wake(sleeper_and_waker& s) {
  s.work.store(true, seq_cst);
  if (s.asleep.load(seq_cst)) s.bed.unpark();
}

TEST(Explore, FindsTheSleeperThatDoesNotLookAgain) {
  const auto sleep = [](sleeper_and_waker& s) {
    if (s.work.load(seq_cst)) return;
    s.asleep.store(true, seq_cst);
    s.bed.park();
  };
  for (bool reduce : {false, true}) {
    const auto found = model::search_all<sleeper_and_waker>({{"sleeper", sleep}, {"waker", wake}},
                                                            [](sleeper_and_waker&) { return ""; }, {.reduce = reduce});
    EXPECT_EQ(found.failure.find("deadlock"), 0u) << found.failure;
    EXPECT_NE(found.failure.find("   -  sleeper      park"), std::string::npos) << found.failure;
  }
}

TEST(Explore, PassesTheSleeperThatLooksAgain) {
  const auto sleep = [](sleeper_and_waker& s) {
    s.asleep.store(true, seq_cst);
    if (!s.work.load(seq_cst)) s.bed.park();
  };
  for (bool reduce : {false, true}) {
    const auto found = model::explore<sleeper_and_waker>(
        {{"sleeper", sleep}, {"waker", wake}},
        [](sleeper_and_waker& s) { return s.work.load(acquire) ? "" : "no work"; }, {.reduce = reduce});
    EXPECT_GT(found.runs, 1u);
  }
}

TEST(Explore, WaitingActorsGoOnWhenTheirConditionHolds) {
  struct state {
    model::atomic<int> a{0}, b{0};
    bool both = false;
  };
  const auto check = [](state& s) { return s.both ? "" : "went on too early"; };
  model::explore<state>({{"a", [](state& s) { s.a.store(1, release); }},
                         {"b", [](state& s) { s.b.store(1, release); }},
                         {"waiting",
                          [](state& s) {
                            model::wait_until([&] { return s.a.load(acquire) == 1 && s.b.load(acquire) == 1; });
                            s.both = s.a.load(acquire) + s.b.load(acquire) == 2;
                          }}},
                        check);
  model::explore<state>({{"a", [](state& s) { s.a.store(1, release); }},
                         {"waiting",
                          [](state& s) {
                            s.a.wait(0, acquire);
                            s.both = s.a.load(acquire) == 1;
                          }}},
                        check);
}

TEST(Explore, AWaiterGetsItsEarlyChanceToo) {
  struct state {
    model::atomic<int> busy{0}, go{0}, passed{0};
    bool seen = false;
  };
  bool early = false, late = false;
  model::explore<state>({{"busy",
                          [](state& s) {
                            s.busy.store(1, release);
                            s.seen = s.passed.load(acquire) == 1;
                            s.busy.store(0, release);
                          }},
                         {"waiting",
                          [](state& s) {
                            model::wait_until([&] { return s.go.load(acquire) == 1 && s.busy.load(acquire) == 0; });
                            s.passed.store(1, release);
                          }},
                         {"go", [](state& s) { s.go.store(1, release); }}},
                        [&](state& s) {
                          (s.seen ? early : late) = true;
                          return "";
                        });
  EXPECT_TRUE(early);
  EXPECT_TRUE(late);
}

TEST(Explore, AWakeThatComesFirstIsKept) {
  struct state {
    model::parking_place place;
  };
  const auto found = model::explore<state>(
      {{"waker", [](state& s) { s.place.unpark(); }}, {"sleeper", [](state& s) { s.place.park(); }}},
      [](state&) { return ""; });
  EXPECT_EQ(found.runs, 1u) << "the sleeper cannot go first";
}

TEST(Explore, AMutexLetsOneIn) {
  struct state {
    model::mutex lock;
    int inside = 0, most = 0, updates = 0;
  };
  const auto enter = [](state& s) {
    s.lock.lock();
    s.most = std::max(s.most, ++s.inside);
    ++s.updates;
    --s.inside;
    s.lock.unlock();
  };
  const auto found = model::explore<state>({{"one", enter}, {"two", enter}, {"three", enter}},
                                           [](state& s) { return s.most == 1 && s.updates == 3 ? "" : "two inside"; });
  EXPECT_EQ(found.runs, 6u);
}

TEST(Explore, SleepersMayBeLeftToTheCheck) {
  struct state {
    model::atomic<int> word{0};
    bool went_on = false;
  };
  // The waiter goes on only if it comes between the two stores: seen only if the last state is looked at too.
  bool slept = false, went_on = false;
  model::explore<state>({{"storing",
                          [](state& s) {
                            s.word.store(1, release);
                            s.word.store(0, release);
                          }},
                         {"waiting",
                          [](state& s) {
                            s.word.wait(0, acquire);
                            s.went_on = true;
                          }}},
                        [&](state& s) {
                          (s.went_on ? went_on : slept) = true;
                          return "";
                        },
                        {.may_sleep = true});
  EXPECT_TRUE(slept);
  EXPECT_TRUE(went_on);
}

TEST(Explore, TheBoundIsAnError) {
  const auto found = model::search_all<one_word>({stepping(3), stepping(3)}, nothing_wrong, {.max_runs = 19});
  EXPECT_NE(found.failure.find("not exhaustive"), std::string::npos);
  EXPECT_EQ(found.runs, 19u);
}

TEST(Explore, ASpinningActorIsAnError) {
  const auto found = model::search_all<one_word>({{"spinning",
                                                   [](one_word& s) {
                                                     for (int i = 0; s.word.load(acquire) == 0 && i < 1000; ++i) {
                                                     }
                                                   }},
                                                  stepping(1)},
                                                 nothing_wrong, {.max_steps = 50});
  EXPECT_EQ(found.failure.find("the run does not end"), 0u) << found.failure;
}

TEST(Explore, StateSharedBehindItsBackIsAnError) {
  int runs = 0;
  const auto found = model::search_all<one_word>({{"changing",
                                                   [&runs](one_word& s) {
                                                     if (++runs % 2 == 1) s.word.store(1, release);
                                                     s.word.store(2, release);
                                                   }},
                                                  stepping(2)},
                                                 nothing_wrong);
  EXPECT_EQ(found.failure.find("an actor did not do the same again"), 0u) << found.failure;
}

// Random small programs: the reduced search must find the same outcomes and the same deadlocks as the full one.
enum class op { load, store, add, swap_if, wait, wait_both, park, unpark, guarded, await, park_unless, try_guarded };
constexpr unsigned blocking_ops = 12, other_ops = 4;  // the first ones
struct instruction {
  op what;
  int word;
  int value;
};
using code = std::vector<instruction>;

struct machine {
  model::atomic<int> words[2];
  model::parking_place place;
  model::mutex lock;
  int guarded = 0;
  std::array<int, 3> seen{}, ended{};
};

void run_code(const code& c, machine& m, std::size_t self) {
  int& seen = m.seen[self];
  for (const instruction& i : c) {
    int result = 0;
    switch (i.what) {
      case op::load:
        result = m.words[i.word].load(acquire);
        break;
      case op::store:
        m.words[i.word].store(i.value, release);
        break;
      case op::add:
        result = m.words[i.word].fetch_add(i.value, seq_cst);
        break;
      case op::swap_if: {
        int expected = i.value;
        result = m.words[i.word].compare_exchange_strong(expected, i.value + 1, seq_cst) ? 7 : expected;
        break;
      }
      case op::wait:
        m.words[i.word].wait(0, acquire);
        break;
      case op::wait_both:
        model::wait_until([&] { return m.words[0].load(acquire) != 0 || m.words[1].load(acquire) == i.value; });
        break;
      case op::await:
        result = model::await(m.words[i.word], acquire, [&](int now) { return now == i.value; });
        break;
      case op::park:
        m.place.park();
        break;
      case op::park_unless:
        result = m.place.park_unless(m.words[i.word], [&](int now) { return now == i.value; }) ? 1 : 0;
        break;
      case op::try_guarded:
        if (!m.lock.try_lock()) break;
        result = m.guarded = m.guarded * 3 + i.value;
        m.lock.unlock();
        break;
      case op::guarded:
        m.lock.lock();
        result = m.guarded = m.guarded * 3 + i.value;
        m.lock.unlock();
        break;
      case op::unpark:
        result = m.place.unpark() ? 1 : 0;
        break;
    }
    seen = seen * 31 + result;
  }
}

// The outcomes of all runs, with what those have seen that sleep at the end, and who that is.
std::set<std::vector<int>> outcomes_of(const std::vector<code>& program, bool reduce, std::size_t& runs) {
  std::set<std::vector<int>> outcomes;
  std::vector<model::actor<machine>> actors;
  for (std::size_t i = 0; i < program.size(); ++i) {
    actors.push_back({"actor", [&program, i](machine& m) {
                        run_code(program[i], m, i);
                        m.ended[i] = 1;
                      }});
  }
  const auto found =
      model::explore<machine>(actors,
                              [&](machine& m) {
                                outcomes.insert({m.words[0].load(acquire), m.words[1].load(acquire), m.seen[0],
                                                 m.seen[1], m.seen[2], m.ended[0], m.ended[1], m.ended[2]});
                                return "";
                              },
                              {.reduce = reduce, .may_sleep = true});
  runs += found.runs;
  return outcomes;
}

// Programs of which earlier searches lost outcomes.
TEST(Explore, ReductionLosesNoOutcomeThatItOnceLost) {
  using enum op;
  std::size_t runs = 0;
  for (const std::vector<code>& program : {
           // A sleeping actor must not stand for those that lead to its second step.
           std::vector<code>{{{load, 1, 0}, {load, 0, 0}, {load, 0, 0}}, {{load, 1, 0}, {add, 0, 2}}, {{store, 1, 1}}},
           // A step that ends for ever what another could do, in a run that is cut off.
           {{{add, 1, 0}, {try_guarded, 1, 1}, {swap_if, 0, 0}},
            {{unpark, 1, 2}, {park, 0, 1}},
            {{park_unless, 0, 2}, {unpark, 0, 1}, {guarded, 0, 0}}},
           // A wait that comes too late, as the last step of all.
           {{{load, 0, 0}, {add, 0, 0}, {swap_if, 0, 0}},
            {{swap_if, 1, 0}, {unpark, 1, 0}, {add, 0, 2}},
            {{await, 1, 1}, {unpark, 1, 0}, {await, 0, 1}}},
       }) {
    EXPECT_EQ(outcomes_of(program, false, runs), outcomes_of(program, true, runs));
  }
}

TEST(Explore, ReductionLosesNoOutcome) {
  const std::uint32_t seed = 20240517;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::size_t full_runs = 0, reduced_runs = 0, asleep = 0;
  for (int round = 0; round < 4000; ++round) {
    const bool blocking = round % 2 == 1;
    std::vector<code> program(2 + random() % 2);
    std::string text;
    for (code& c : program) {
      c.resize(1 + random() % 3);
      for (instruction& i : c) {
        i = {static_cast<op>(random() % (blocking ? blocking_ops : other_ops)), static_cast<int>(random() % 2),
             static_cast<int>(random() % 3)};
        text += std::to_string(static_cast<int>(i.what)) + "," + std::to_string(i.word) + "," +
                std::to_string(i.value) + " ";
      }
      text += "| ";
    }
    const auto full = outcomes_of(program, false, full_runs);
    const auto reduced = outcomes_of(program, true, reduced_runs);
    ASSERT_EQ(full, reduced) << text;
    for (const auto& outcome : full) {
      std::size_t ended = 0;
      for (std::size_t i = 5; i < 8; ++i) ended += outcome[i] != 0 ? 1 : 0;
      if (ended != program.size()) ++asleep;
    }
  }
  EXPECT_LT(reduced_runs, full_runs / 2);
  EXPECT_GT(asleep, 100u);
}

}  // namespace
