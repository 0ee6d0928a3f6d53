#include <run_queue.hpp>
#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using sched::run_queue;
using sched::victims_next;

// Items are numbered by their place in an array.
using item = int;
constexpr auto no_overflow = [](item**, std::size_t) { FAIL() << "the ring is not full"; };

// T1: one thread, every operation in the states that matter.

template <std::size_t Capacity>
struct fixture {
  run_queue<item, Capacity> queue;
  std::array<item, 4 * Capacity> items{};

  // begin shifts the ring, so that what follows wraps around its end.
  explicit fixture(std::size_t begin = 0) {
    for (std::size_t i = 0; i < begin; ++i) {
      queue.push(&items[0], no_overflow);
      EXPECT_EQ(queue.pop(), &items[0]);
    }
  }
  void push(std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) queue.push(&items[i], no_overflow);
  }
  void expect_popped(std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) EXPECT_EQ(queue.pop() - items.data(), static_cast<long>(i));
  }
  void expect_empty() {
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(queue.size(), 0u);
    EXPECT_EQ(queue.pop(), nullptr);
    EXPECT_EQ(queue.pop_unshared(), nullptr);
    EXPECT_EQ(queue.take_next(), nullptr);
    EXPECT_EQ(queue.take_next_unshared(), nullptr);
  }
};

// covers J130
TEST(RunQueue, PopsInTheOrderOfPushing) {
  for (std::size_t begin : {0, 1, 3, 7}) {
    for (std::size_t n = 0; n <= 8; ++n) {
      fixture<8> f(begin);
      f.push(0, n);
      EXPECT_EQ(f.queue.size(), n);
      EXPECT_EQ(f.queue.empty(), n == 0);
      f.expect_popped(0, n);
      f.expect_empty();
    }
  }
}

TEST(RunQueue, TheUnsharedFormsDoTheSame) {
  fixture<8> f(5);
  f.push(0, 8);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(f.queue.pop_unshared(), &f.items[i]);
  f.expect_empty();
  EXPECT_EQ(f.queue.put_next_unshared(&f.items[0]), nullptr);
  EXPECT_EQ(f.queue.put_next_unshared(&f.items[1]), &f.items[0]);
  EXPECT_EQ(f.queue.size(), 1u);
  EXPECT_FALSE(f.queue.empty());
  EXPECT_EQ(f.queue.take_next_unshared(), &f.items[1]);
  f.expect_empty();
}

// covers J130
TEST(RunQueue, AFullRingSpillsItsOldestHalfAndTheNewItem) {
  for (std::size_t begin : {0, 1, 100, 255}) {
    fixture<256> f(begin);
    f.push(0, 256);
    EXPECT_EQ(f.queue.size(), 256u);
    std::vector<item*> spilled;
    int calls = 0;
    f.queue.push(&f.items[256], [&](item** items, std::size_t n) {
      ++calls;
      spilled.assign(items, items + n);
    });
    EXPECT_EQ(calls, 1);
    ASSERT_EQ(spilled.size(), 129u);
    for (std::size_t i = 0; i < 128; ++i) EXPECT_EQ(spilled[i], &f.items[i]);
    EXPECT_EQ(spilled[128], &f.items[256]);
    EXPECT_EQ(f.queue.size(), 128u);
    f.push(300, 128);  // the room is back
    f.expect_popped(128, 128);
    f.expect_popped(300, 128);
    f.expect_empty();
  }
}

TEST(RunQueue, ABatchIsPushedAsFarAsItFits) {
  for (std::size_t inside = 0; inside <= 8; ++inside) {
    for (std::size_t n = 0; n <= 10; ++n) {
      fixture<8> f(6);
      f.push(0, inside);
      std::vector<item*> batch;
      for (std::size_t i = 0; i < n; ++i) batch.push_back(&f.items[inside + i]);
      EXPECT_EQ(f.queue.push_batch(batch.data(), n), std::min(n, 8 - inside));
      f.expect_popped(0, std::min(inside + n, std::size_t{8}));
      f.expect_empty();
    }
  }
}

TEST(RunQueue, TheNextSlotHoldsOneAndGivesBackWhatItDisplaces) {
  fixture<8> f;
  EXPECT_EQ(f.queue.put_next(&f.items[0]), nullptr);
  EXPECT_FALSE(f.queue.empty());
  EXPECT_EQ(f.queue.size(), 1u);
  EXPECT_EQ(f.queue.pop(), nullptr) << "pop looks at the ring only";
  EXPECT_EQ(f.queue.pop_unshared(), nullptr);
  EXPECT_EQ(f.queue.put_next(&f.items[1]), &f.items[0]);
  EXPECT_EQ(f.queue.take_next(), &f.items[1]);
  EXPECT_EQ(f.queue.take_next(), nullptr);
  f.expect_empty();
}

// covers J131
TEST(RunQueue, AThiefTakesTheOlderHalfRoundedUp) {
  for (std::size_t begin : {0, 5}) {
    for (std::size_t n = 0; n <= 256; ++n) {
      fixture<256> victim(begin);
      run_queue<item, 256> thief;
      victim.push(0, n);
      const std::size_t stolen = (n + 1) / 2;
      item* first = victim.queue.steal_into(thief, victims_next::leave);
      EXPECT_EQ(first, n == 0 ? nullptr : &victim.items[0]) << n;
      EXPECT_EQ(thief.size(), n == 0 ? 0 : stolen - 1) << n;
      EXPECT_EQ(victim.queue.size(), n - stolen) << n;
      for (std::size_t i = 1; i < stolen; ++i) EXPECT_EQ(thief.pop(), &victim.items[i]);
      EXPECT_EQ(thief.pop(), nullptr);
      victim.expect_popped(stolen, n - stolen);
      victim.expect_empty();
    }
  }
}

TEST(RunQueue, AThiefTakesNoMoreThanItHasRoomFor) {
  for (std::size_t inside = 0; inside <= 8; ++inside) {
    fixture<8> victim(3);
    fixture<8> thief(6);
    victim.push(0, 8);
    thief.push(0, inside);
    EXPECT_EQ(victim.queue.steal_into(thief.queue, victims_next::leave), &victim.items[0]);
    const std::size_t moved = std::min(std::size_t{3}, 8 - inside);
    EXPECT_EQ(victim.queue.size(), 8 - 1 - moved);
    thief.expect_popped(0, inside);
    for (std::size_t i = 1; i <= moved; ++i) EXPECT_EQ(thief.queue.pop(), &victim.items[i]);
    thief.expect_empty();
    victim.expect_popped(1 + moved, 7 - moved);
  }
}

TEST(RunQueue, TheNextSlotIsStolenLastAndOnlyIfAllowed) {
  fixture<8> victim;
  run_queue<item, 8> thief;
  victim.push(0, 1);
  EXPECT_EQ(victim.queue.put_next(&victim.items[1]), nullptr);
  EXPECT_EQ(victim.queue.steal_into(thief, victims_next::take), &victim.items[0]) << "the ring comes first";
  EXPECT_EQ(victim.queue.steal_into(thief, victims_next::leave), nullptr);
  EXPECT_EQ(victim.queue.size(), 1u);
  EXPECT_EQ(victim.queue.steal_into(thief, victims_next::take), &victim.items[1]);
  EXPECT_EQ(victim.queue.steal_into(thief, victims_next::take), nullptr);
  victim.expect_empty();
  EXPECT_TRUE(thief.empty());
}

// T2: every interleaving, with a ring of four.

using small_queue = run_queue<item, 4, model::atomic>;

// Where every item went; each actor writes its own part only.
struct model_state {
  small_queue queue, thieves[2];
  std::array<item, 12> items{};
  std::vector<item*> popped, spilled, stolen[2];

  void push(int i) {
    queue.push(&items[static_cast<std::size_t>(i)],
               [this](item** from, std::size_t n) { spilled.insert(spilled.end(), from, from + n); });
  }
  // make_next is what a scheduler does: the displaced item goes to the ring.
  void make_next(int i) {
    if (item* displaced = queue.put_next(&items[static_cast<std::size_t>(i)])) push(number(displaced));
  }
  void pop() {
    if (item* i = queue.pop()) popped.push_back(i);
  }
  void take_next() {
    if (item* i = queue.take_next()) popped.push_back(i);
  }
  void steal(std::size_t thief, victims_next mode = victims_next::leave) {
    if (item* i = queue.steal_into(thieves[thief], mode)) stolen[thief].push_back(i);
    while (item* i = thieves[thief].pop()) stolen[thief].push_back(i);
  }
  int number(item* i) const { return static_cast<int>(i - items.data()); }

  // conserved checks that items 0..n-1 are each in exactly one place, and that everybody got his in order.
  std::string conserved(int n, bool in_order = true) {
    std::vector<item*> left;
    while (item* i = queue.pop()) left.push_back(i);
    if (item* i = queue.take_next()) left.push_back(i);
    std::string text;
    std::vector<int> all;
    bool ordered = true;
    auto add = [&](const char* name, const std::vector<item*>& from) {
      text += std::string(" ") + name;
      for (item* i : from) text += " " + std::to_string(number(i));
      for (item* i : from) all.push_back(number(i));
      ordered = ordered && std::is_sorted(from.begin(), from.end());
    };
    add("popped", popped);
    add("spilled", spilled);
    add("stolen", stolen[0]);
    add("stolen", stolen[1]);
    add("left", left);
    std::sort(all.begin(), all.end());
    bool whole = all.size() == static_cast<std::size_t>(n);
    for (std::size_t i = 0; whole && i < all.size(); ++i) whole = all[i] == static_cast<int>(i);
    if (!whole) return "lost or doubled:" + text;
    if (in_order && !ordered) return "out of order:" + text;
    return "";
  }
};

struct begun : model_state {  // with a begun ring, so that indices wrap around
  explicit begun(int n, int shift = 3) {
    for (int i = 0; i < shift; ++i) {
      push(0);
      (void)queue.pop();
    }
    for (int i = 0; i < n; ++i) push(i);
  }
};

template <int N>
struct begun_with : begun {
  begun_with() : begun(N) {}
};

void print(const model::outcome& found) {
  std::printf("%zu different runs, %zu redundant\n", found.runs, found.redundant);
  testing::Test::RecordProperty("runs", static_cast<int>(found.runs));
  testing::Test::RecordProperty("redundant", static_cast<int>(found.redundant));
}

// covers J131
TEST(RunQueueModel, OwnerAndOneThiefShareWithoutLossOrDoubling) {
  using state = begun_with<2>;
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.push(2);
                                  s.pop();
                                  s.pop();
                                }},
                               {"thief",
                                [](state& s) {
                                  s.steal(0);
                                  s.steal(0);
                                }}},
                              [](state& s) { return s.conserved(3); }));
}

TEST(RunQueueModel, OwnerAndTwoThievesShareWithoutLossOrDoubling) {
  using state = begun_with<2>;
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.pop();
                                  s.push(2);
                                  s.pop();
                                }},
                               {"thief 1", [](state& s) { s.steal(0); }},
                               {"thief 2", [](state& s) { s.steal(1); }}},
                              [](state& s) { return s.conserved(3); }));
}

// covers J130
TEST(RunQueueModel, SpillingRacesWithAThief) {
  using state = begun_with<4>;
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.push(4);
                                  s.push(5);
                                }},
                               {"thief", [](state& s) { s.steal(0); }}},
                              [](state& s) { return s.conserved(6); }));
}

TEST(RunQueueModel, SpillingRacesWithTwoThieves) {
  using state = begun_with<4>;
  print(model::explore<state>({{"owner", [](state& s) { s.push(4); }},
                               {"thief 1", [](state& s) { s.steal(0); }},
                               {"thief 2", [](state& s) { s.steal(1); }}},
                              [](state& s) { return s.conserved(5); }));
}

// A thief that read the slots long ago must not succeed after the ring went round.
TEST(RunQueueModel, AThiefThatFallsBehindTakesNothing) {
  using state = begun_with<1>;
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  for (int i = 1; i < 6; ++i) {
                                    s.pop();
                                    s.push(i);
                                  }
                                }},
                               {"thief", [](state& s) { s.steal(0); }}},
                              [](state& s) { return s.conserved(6); }));
}

TEST(RunQueueModel, ABatchRacesWithAThief) {
  using state = begun_with<2>;
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  item* batch[] = {&s.items[2], &s.items[3], &s.items[4]};
                                  const std::size_t n = s.queue.push_batch(batch, 3);
                                  s.spilled.assign(batch + n, batch + 3);  // what had no room
                                  s.pop();
                                }},
                               {"thief",
                                [](state& s) {
                                  s.steal(0);
                                  s.steal(0);
                                }}},
                              [](state& s) { return s.conserved(5); }));
}

TEST(RunQueueModel, TheNextSlotIsTakenOnce) {
  using state = begun_with<0>;
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.make_next(0);
                                  s.make_next(1);
                                  s.take_next();
                                  s.pop();
                                }},
                               {"thief 1", [](state& s) { s.steal(0, victims_next::take); }},
                               {"thief 2", [](state& s) { s.steal(1, victims_next::take); }}},
                              [](state& s) { return s.conserved(2, false); }));
}

// The thief's own ring is robbed while the thief fills it.
TEST(RunQueueModel, AThiefIsRobbed) {
  using state = begun_with<4>;
  print(model::explore<state>({{"thief 1",
                                [](state& s) {
                                  if (item* i = s.queue.steal_into(s.thieves[0], victims_next::leave)) s.popped = {i};
                                  while (item* i = s.thieves[0].pop()) s.popped.push_back(i);
                                }},
                               {"thief 2",
                                [](state& s) {
                                  item* i = s.thieves[0].steal_into(s.thieves[1], victims_next::leave);
                                  if (i != nullptr) s.stolen[1].push_back(i);
                                  i = s.thieves[0].steal_into(s.thieves[1], victims_next::leave);
                                  if (i != nullptr) s.stolen[1].push_back(i);
                                }}},
                              [](state& s) {
                                while (item* i = s.thieves[1].pop()) s.stolen[1].push_back(i);
                                return s.conserved(4);
                              }));
}

// covers J132
TEST(RunQueueModel, EmptyIsNeverTrueWhileAnItemMovesFromNextToTheRing) {
  struct state : begun {
    bool saw_empty = false;
    state() : begun(0) { make_next(0); }
  };
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.make_next(1);  // 0 moves to the ring,
                                  s.take_next();   // next is empty: 0 is the only item
                                  s.make_next(2);
                                  s.make_next(3);  // and again
                                  s.take_next();
                                }},
                               {"observer",
                                [](state& s) {
                                  s.saw_empty = s.queue.empty();
                                  s.saw_empty = s.queue.empty() || s.saw_empty;
                                }}},
                              [](state& s) -> std::string {
                                if (s.saw_empty) return "empty, though item 0 is there all the time";
                                return s.conserved(4, false);
                              }));
}

// covers J132
TEST(RunQueueModel, EmptyIsNeverTrueWhileTheRingRunsDryAndNextFills) {
  struct state : begun {
    bool saw_empty = false;
    state() : begun(1) {}
  };
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.make_next(1);
                                  s.pop();
                                }},
                               {"observer", [](state& s) { s.saw_empty = s.queue.empty(); }}},
                              [](state& s) { return s.saw_empty ? "empty, though first 0, then 1 is there" : ""; }));
}

// One is in next or in the ring all the time, and nobody else takes any.
TEST(RunQueueModel, AThiefThatMayTakeNextDoesNotGoAwayEmptyHanded) {
  struct state : begun {
    state() : begun(0) { make_next(0); }
  };
  print(model::explore<state>({{"owner",
                                [](state& s) {
                                  s.make_next(1);
                                  s.make_next(2);
                                }},
                               {"thief", [](state& s) { s.steal(0, victims_next::take); }}},
                              [](state& s) { return s.stolen[0].empty() ? "nothing stolen" : s.conserved(3, false); }));
}

// covers J132
TEST(RunQueueModel, EmptyIsNeverTrueWhileATheftLeavesSomething) {
  struct state : begun {
    bool saw_empty = false;
    state() : begun(3) {}
  };
  print(model::explore<state>({{"owner", [](state& s) { s.pop(); }},
                               {"thief", [](state& s) { s.stolen[0] = {s.queue.steal_into(s.thieves[0], {})}; }},
                               {"observer", [](state& s) { s.saw_empty = s.queue.empty(); }}},
                              [](state& s) -> std::string {
                                const bool left = s.queue.size() > 0;
                                return s.saw_empty && left ? "empty, though something was there all the time" : "";
                              }));
}

TEST(RunQueueModel, SizeStaysWithinWhatThereCanBe) {
  struct state : begun {
    std::size_t seen = 0;
    state() : begun(4) {}
  };
  print(model::explore<state>(
      {{"owner",
        [](state& s) {
          s.pop();
          s.push(4);
          s.pop();
          s.push(5);
        }},
       {"observer", [](state& s) { s.seen = s.queue.size(); }}},
      [](state& s) { return s.seen >= 3 && s.seen <= 4 ? "" : "size " + std::to_string(s.seen); }));
}

// T3: real threads. Items carry a counter of how often they came out.

struct counted {
  std::atomic<int> out{0};
  std::uint32_t payload = 0;  // plain, so that TSan sees an item that was not published
};

std::uint32_t seed_of_this_run() {
  const char* given = std::getenv("WEFT_TEST_SEED");
  return given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
}

std::size_t scaled(std::size_t n) {
  const char* scale = std::getenv("WEFT_TEST_SCALE");
  return static_cast<std::size_t>(static_cast<double>(n) * (scale != nullptr ? std::atof(scale) : 1.0));
}

// One owner with random operations, `thieves` threads that rob it and each other. Every item comes out exactly once.
template <std::size_t Capacity>
void stress(std::size_t thieves, std::size_t count, std::uint32_t seed) {
  SCOPED_TRACE("WEFT_TEST_SEED=" + std::to_string(seed) + ", thieves " + std::to_string(thieves));
  using queue = run_queue<counted, Capacity>;
  std::vector<queue> queues(thieves + 1);
  std::vector<counted> items(count);
  std::atomic<std::size_t> out{0};
  std::atomic<std::size_t> bad_payloads{0};
  const auto take = [&](counted* i) {
    const auto expected = static_cast<std::uint32_t>(i - items.data()) + 1;
    if (i->payload != expected) bad_payloads.fetch_add(1, std::memory_order_relaxed);
    i->out.fetch_add(1, std::memory_order_relaxed);
    out.fetch_add(1, std::memory_order_relaxed);
  };
  const auto rob = [&](std::size_t self) {
    std::mt19937 random(seed + static_cast<std::uint32_t>(self));
    while (out.load(std::memory_order_relaxed) < count) {
      queue& victim = queues[random() % queues.size()];
      if (&victim == &queues[self]) continue;
      (void)victim.empty();
      counted* i = victim.steal_into(queues[self], random() % 4 == 0 ? victims_next::take : victims_next::leave);
      if (i == nullptr) {
        // Its own leftovers, which a thief that is alone would else keep for ever.
        if (counted* left = queues[self].pop()) {
          take(left);
        } else {
          std::this_thread::yield();
        }
        continue;
      }
      take(i);
      // Leaves some in its ring, for others to rob.
      for (std::uint32_t n = random() % Capacity; n-- > 0;) {
        if (counted* more = queues[self].pop()) take(more);
      }
    }
  };
  // Without thieves all of it must work too: the harness runs on one thread first.
  std::vector<std::thread> threads;
  for (std::size_t t = 1; t <= thieves; ++t) threads.emplace_back(rob, t);

  queue& own = queues[0];
  std::mt19937 random(seed);
  const auto overflow = [&](counted** from, std::size_t n) {
    EXPECT_EQ(n, Capacity / 2 + 1);
    for (std::size_t i = 0; i < n; ++i) take(from[i]);
  };
  std::size_t made = 0;
  const auto make = [&]() -> counted* {
    counted* i = &items[made++];
    i->payload = static_cast<std::uint32_t>(made);
    return i;
  };
  while (out.load(std::memory_order_relaxed) < count) {
    switch (made == count ? 4 + random() % 2 : random() % 6) {
      case 0:
      case 1:
        own.push(make(), overflow);
        break;
      case 2:
        if (counted* displaced = own.put_next(make())) own.push(displaced, overflow);
        break;
      case 3: {
        counted* batch[3];
        std::size_t n = std::min<std::size_t>(3, count - made);
        for (std::size_t i = 0; i < n; ++i) batch[i] = make();
        for (std::size_t i = own.push_batch(batch, n); i < n; ++i) take(batch[i]);
        break;
      }
      case 4:
        if (counted* i = own.pop()) take(i);
        break;
      case 5:
        if (counted* i = own.take_next()) take(i);
        break;
    }
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(out.load(), count);
  EXPECT_EQ(bad_payloads.load(), 0u);
  std::size_t wrong = 0;
  for (const counted& i : items) wrong += i.out.load(std::memory_order_relaxed) == 1 ? 0 : 1;
  EXPECT_EQ(wrong, 0u);
  for (const queue& q : queues) EXPECT_TRUE(q.empty());
}

TEST(RunQueueStress, OneThreadOnly) {
  stress<4>(0, 10'000, 1);
  stress<256>(0, 10'000, 2);
}

// covers J130, J131
TEST(RunQueueStress, EveryItemComesOutOnce) {
  const std::uint32_t seed = seed_of_this_run();
  std::printf("WEFT_TEST_SEED=%u\n", seed);
  for (std::size_t thieves : {1, 2, 4}) {
    stress<4>(thieves, scaled(100'000), seed);
    stress<256>(thieves, scaled(100'000), seed);
  }
}

// covers J132
TEST(RunQueueStress, EmptyIsNeverTrueWhileItemsMove) {
  run_queue<counted, 4> queue;
  std::vector<counted> items(4);
  std::atomic<bool> end{false};
  std::size_t saw_empty = 0;
  queue.push(&items[0], [](counted**, std::size_t) { FAIL(); });
  std::thread observer([&] {
    while (!end.load(std::memory_order_relaxed)) saw_empty += queue.empty() ? 1 : 0;
  });
  for (std::size_t i = 0; i < scaled(300'000); ++i) {
    // Each time one item stays, alone in the ring, alone in next, or on its way from there to the ring.
    counted* only = &items[i % 2];
    (void)queue.put_next(only);
    (void)queue.pop();
    queue.push(queue.put_next(&items[2]), [](counted**, std::size_t) { FAIL(); });
    (void)queue.take_next();
  }
  end.store(true, std::memory_order_relaxed);
  observer.join();
  EXPECT_EQ(saw_empty, 0u);
}

// The next slot alone: what a thief takes from there was published by nothing else.
TEST(RunQueueStress, TheNextSlotPublishesWhatItHolds) {
  run_queue<counted, 4> queue;
  run_queue<counted, 4> thief;
  std::vector<counted> items(scaled(3'000));
  std::atomic<std::size_t> out{0};
  std::size_t bad_payloads = 0;
  std::thread robber([&] {
    while (out.load(std::memory_order_relaxed) < items.size()) {
      if (counted* i = queue.steal_into(thief, victims_next::take)) {
        bad_payloads += i->payload == static_cast<std::uint32_t>(i - items.data()) + 1 ? 0 : 1;
        out.fetch_add(1, std::memory_order_relaxed);
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].payload = static_cast<std::uint32_t>(i) + 1;
    EXPECT_EQ(queue.put_next(&items[i]), nullptr);
    while (out.load(std::memory_order_relaxed) <= i) {
      std::this_thread::yield();
      if (i % 4 == 0 && queue.take_next() != nullptr) out.fetch_add(1, std::memory_order_relaxed);
    }
  }
  robber.join();
  EXPECT_EQ(bad_payloads, 0u);
}

}  // namespace
