// The build in which fibers change threads and places whenever they can.
#include <support/engine.hpp>

#include <migration.hpp>

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

namespace sched = weft::sched;
using weft::testing::engine;
using weft::testing::task;
using weft::testing::thread_id;

class Migration : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!sched::forced_migration) GTEST_SKIP() << "this build doesn't force it";
  }
};

// covers J147
TEST_F(Migration, AFiberThatWakesIsElsewhereMostTimes) {
  engine e(2);
  e.run([&] {
    std::vector<task> tasks;
    std::atomic<int> changes{0};
    constexpr int fibers = 4;
    constexpr int rounds = 100;
    for (int i = 0; i < fibers; ++i) {
      tasks.push_back(e.spawn([&] {
        for (int r = 0; r < rounds; ++r) {
          const long before = thread_id();
          sched::yield();
          if (thread_id() != before) ++changes;
        }
      }));
    }
    tasks.clear();
    EXPECT_GT(changes, fibers * rounds / 2);
  });
}

std::vector<int> order_by_seed(const char* seed) {
  ::setenv("WEFT_SEED", seed, 1);
  engine e(1);
  std::vector<int> order;
  e.run([&] {
    std::vector<task> tasks;
    for (int i = 0; i < 50; ++i) tasks.push_back(e.spawn([&order, i] { order.push_back(i); }));
    tasks.clear();
  });
  return order;
}

// covers J147
TEST_F(Migration, TheSeedDecidesTheOrder) {
  const char* const given = std::getenv("WEFT_SEED");
  const std::string before = given != nullptr ? given : "0";
  EXPECT_EQ(order_by_seed("1"), order_by_seed("1"));
  EXPECT_NE(order_by_seed("1"), order_by_seed("2"));
  ::setenv("WEFT_SEED", before.c_str(), 1);
}

}  // namespace
