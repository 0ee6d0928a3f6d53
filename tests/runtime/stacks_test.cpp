// Marks of how deep stacks have become.
#include "runtime_fixture.hpp"

#include <weft/debug/stacks.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace {

using testing_support::on_fibers;
using weft::debug::stack_mark;

weft::runtime_options measuring(unsigned workers) {
  weft::runtime_options options;
  options.workers = workers;
  options.measure_stacks = true;
  return options;
}

// touch writes so many bytes of stack.
[[gnu::noinline]] void touch(std::size_t bytes) {
  volatile char* const block = static_cast<volatile char*>(__builtin_alloca(bytes));
  for (std::size_t i = 0; i < bytes; i += 64) block[i] = 1;
}

[[gnu::noinline]] void spawn_deep(weft::task_group<>& g) {
  g.spawn([] { touch(100 * 1024); });
}
[[gnu::noinline]] void spawn_flat(weft::task_group<>& g) {
  g.spawn([] { weft::this_fiber::yield(); });
}
[[gnu::noinline]] void spawn_waiting(weft::task_group<>& g, weft::event& over) {
  g.spawn([&over] {
    touch(50 * 1024);
    over.wait();
  });
}

stack_mark mark_of(const std::string& function) {
  for (const stack_mark& m : weft::debug::stack_marks()) {
    if (m.spawned_at.find(function) != std::string::npos) return m;
  }
  return {};
}

// mark_when gives the mark once so many fibers have ended: a group is joined when its tasks are done, and the last fiber may
// not have left its stack yet.
stack_mark mark_when(const std::string& function, std::uint64_t fibers) {
  stack_mark m = mark_of(function);
  for (int i = 0; i < 10'000 && m.fibers < fibers; ++i) {
    weft::this_fiber::yield();
    m = mark_of(function);
  }
  return m;
}

// covers O11
TEST(StackMarks, TellBySpawnHowDeepStacksBecame) {
  on_fibers(
      [] {
        weft::task_group<> group;
        // In turn on the same stacks: what one has left there is not the next one's.
        for (int i = 0; i < 50; ++i) {
          spawn_deep(group);
          group.join();
          spawn_flat(group);
          group.join();
        }
        const stack_mark deep = mark_when("spawn_deep", 50);
        EXPECT_EQ(deep.fibers, 50u);
        EXPECT_EQ(deep.stack_size, 256u * 1024);
        EXPECT_GE(deep.deepest, 100u * 1024);
        EXPECT_LE(deep.deepest, 110u * 1024);
        EXPECT_GE(deep.suggested, deep.deepest + deep.deepest / 2);
        EXPECT_LE(deep.suggested, deep.deepest * 2);
        const stack_mark flat = mark_when("spawn_flat", 50);
        EXPECT_EQ(flat.fibers, 50u);
        EXPECT_GT(flat.deepest, 0u);
        EXPECT_LE(flat.deepest, 12u * 1024);
        EXPECT_NE(weft::debug::stack_marks_text().find("spawn_deep"), std::string::npos);
      },
      measuring(testing_support::default_workers()));
}

// covers O11
TEST(StackMarks, CountThoseThatWait) {
  on_fibers(
      [] {
        weft::task_group<> group;
        weft::event over;
        spawn_waiting(group, over);
        for (int i = 0; i < 10'000 && mark_of("spawn_waiting").deepest == 0; ++i) weft::this_fiber::yield();
        EXPECT_GE(mark_of("spawn_waiting").deepest, 50u * 1024);
        EXPECT_EQ(mark_of("spawn_waiting").fibers, 0u);
        over.set();
        group.join();
        EXPECT_EQ(mark_when("spawn_waiting", 1).fibers, 1u);
      },
      measuring(testing_support::default_workers()));
}

TEST(StackMarks, AreNoneUnlessAskedFor) {
  on_fibers([] {
    weft::spawn([] {}).join();
    EXPECT_TRUE(weft::debug::stack_marks().empty());
  });
}

// A suggested size holds what was measured.
TEST(StackMarks, SuggestedSizesDo) {
  std::size_t suggested = 0;
  on_fibers(
      [&] {
        weft::task_group<> group;
        spawn_deep(group);
        group.join();
        suggested = mark_when("spawn_deep", 1).suggested;
      },
      measuring(1));
  ASSERT_GT(suggested, 0u);
  weft::runtime_options small = measuring(1);
  small.stack_size = suggested;
  on_fibers(
      [] {
        weft::task_group<> group;
        spawn_deep(group);
        group.join();
      },
      small);
}

}  // namespace
