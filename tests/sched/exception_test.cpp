// Exceptions of fibers that suspend while they handle them, and change their thread meanwhile.
#include <support/engine.hpp>

#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

// How a fiber suspends: by yielding, or so that it comes back on another thread for certain.
enum class how { yields, migrates };

class Exceptions : public ::testing::TestWithParam<how> {
 protected:
  static unsigned workers() { return GetParam() == how::migrates ? std::max(2u, workers_wanted()) : workers_wanted(); }
  static void suspend() {
    if (GetParam() == how::yields) return sched::yield();
    const long before = thread_id();
    ASSERT_TRUE(migrate());
    ASSERT_NE(thread_id(), before);
  }
  // In migration each suspension holds a processor for its length, so fewer fibers at once.
  static int fibers() { return GetParam() == how::yields ? 20 : 1; }

  template <class F>
  static void on_fibers(F f) {
    engine e(workers());
    std::vector<task> tasks;
    for (int i = 0; i < fibers(); ++i) tasks.push_back(e.spawn([f, i] { f(i); }));
  }
};

// covers L157
TEST_P(Exceptions, SuspendInACatchBlock) {
  on_fibers([](int i) {
    for (int round = 0; round < 5; ++round) {
      try {
        throw std::runtime_error(std::to_string(i));
      } catch (const std::exception& e) {
        suspend();
        EXPECT_EQ(e.what(), std::to_string(i));
        EXPECT_NE(std::current_exception(), nullptr);
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      }
      EXPECT_EQ(std::current_exception(), nullptr);
    }
  });
}

// covers L157
TEST_P(Exceptions, NestedCatchBlocksAndRethrow) {
  on_fibers([](int i) {
    int caught = 0;
    try {
      try {
        throw std::to_string(i);
      } catch (const std::string& outer) {
        suspend();
        try {
          throw i;
        } catch (int inner) {
          suspend();
          EXPECT_EQ(inner, i);
          ++caught;
        }
        EXPECT_EQ(outer, std::to_string(i));
        suspend();
        throw;
      }
    } catch (const std::string& again) {
      suspend();
      EXPECT_EQ(again, std::to_string(i));
      ++caught;
    }
    EXPECT_EQ(caught, 2);
    EXPECT_EQ(std::current_exception(), nullptr);
  });
}

// covers L157
TEST_P(Exceptions, SuspendInADestructorWhileUnwinding) {
  on_fibers([](int i) {
    struct slow {
      int depth;
      ~slow() {
        EXPECT_EQ(std::uncaught_exceptions(), 1);
        suspend();
        EXPECT_EQ(std::uncaught_exceptions(), 1);
        try {
          throw depth;  // a second one, caught before it leaves
        } catch (int n) {
          suspend();
          EXPECT_EQ(n, depth);
        }
        EXPECT_EQ(std::uncaught_exceptions(), 1);
      }
    };
    try {
      slow a{1};
      slow b{2};
      throw i;
    } catch (int n) {
      EXPECT_EQ(n, i);
      EXPECT_EQ(std::uncaught_exceptions(), 0);
    }
  });
}

// covers O24
TEST_P(Exceptions, APointerToOneOutlivesItsFiber) {
  std::exception_ptr kept;
  {
    engine e(workers());
    e.run([&] {
      try {
        throw std::runtime_error("kept");
      } catch (...) {
        suspend();
        kept = std::current_exception();
      }
    });
  }
  EXPECT_THROW(std::rethrow_exception(kept), std::runtime_error);
}

INSTANTIATE_TEST_SUITE_P(Suspension, Exceptions, ::testing::Values(how::yields, how::migrates),
                         [](const auto& p) { return p.param == how::yields ? "Yields" : "Migrates"; });

// T3: random nests of throw, catch, rethrow and suspension; each fiber knows what it expects.
int nest(std::mt19937& random, int depth) {
  const int mine = static_cast<int>(random() % 1000);
  try {
    if (random() % 3 == 0) sched::yield();
    if (depth > 0 && random() % 2 == 0) nest(random, depth - 1);
    throw mine;
  } catch (int got) {
    if (random() % 2 == 0) sched::yield();
    EXPECT_EQ(got, mine);
    if (depth > 0) nest(random, depth - 1);
    EXPECT_EQ(got, mine);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    return got;
  }
}

TEST(ExceptionStress, RandomNestsStayApart) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  engine e;
  std::vector<task> tasks;
  for (unsigned i = 0; i < 30; ++i) {
    tasks.push_back(e.spawn([=] {
      std::mt19937 random(seed + i);
      for (unsigned r = 0; r < 10 * test_scale(); ++r) nest(random, 4);
      EXPECT_EQ(std::current_exception(), nullptr);
    }));
  }
}

}  // namespace
