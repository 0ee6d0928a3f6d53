// Exceptions in flight across suspensions.
#include "runtime_fixture.hpp"

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;

// suspend takes the fiber through a switch, and with several workers often to another thread.
void suspend(int i) {
  if (i % 3 == 0) {
    weft::this_fiber::sleep_for(10us);
  } else {
    weft::this_fiber::yield();
  }
}

void catch_and_suspend(int i) {
  const std::string mine = std::to_string(i);
  try {
    throw std::runtime_error(mine);
  } catch (const std::runtime_error& e) {
    suspend(i);
    ASSERT_EQ(e.what(), mine);
    ASSERT_EQ(std::uncaught_exceptions(), 0);
    try {
      suspend(i + 1);
      throw;  // the one that is handled here, not another fiber's
    } catch (const std::runtime_error& again) {
      suspend(i + 2);
      ASSERT_EQ(again.what(), mine);
      try {
        throw std::logic_error(mine + "/inner");
      } catch (const std::logic_error& inner) {
        suspend(i);
        ASSERT_EQ(inner.what(), mine + "/inner");
        ASSERT_NE(std::current_exception(), nullptr);
      }
      suspend(i + 1);
      ASSERT_EQ(again.what(), mine);
    }
  }
  ASSERT_EQ(std::current_exception(), nullptr);
}

struct suspends_while_unwinding {
  int i;
  ~suspends_while_unwinding() {
    EXPECT_EQ(std::uncaught_exceptions(), 1);
    suspend(i);
    EXPECT_EQ(std::uncaught_exceptions(), 1);
    // A whole throw and catch of its own, during the unwinding.
    try {
      throw i;
    } catch (int caught) {
      EXPECT_EQ(std::uncaught_exceptions(), 1);
      suspend(i + 1);
      EXPECT_EQ(caught, i);
    }
    EXPECT_EQ(std::uncaught_exceptions(), 1);
  }
};

void unwind_and_suspend(int i) {
  try {
    suspends_while_unwinding guard{i};
    throw std::runtime_error(std::to_string(i));
  } catch (const std::runtime_error& e) {
    ASSERT_EQ(e.what(), std::to_string(i));
    ASSERT_EQ(std::uncaught_exceptions(), 0);
  }
}

// covers L157
TEST(Exception, EachFiberHasItsOwn) {
  on_fibers([] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 64; ++i) {
      all.push_back(weft::spawn([i] {
        for (int k = 0; k < 50; ++k) {
          catch_and_suspend(i + k);
          unwind_and_suspend(i + k);
          suspend(k);
          ASSERT_EQ(std::uncaught_exceptions(), 0);
        }
      }));
    }
    for (auto& f : all) f.join();
  });
}

// covers L157
TEST(Exception, AFreshFiberStartsWithoutAny) {
  on_fibers([] {
    try {
      throw std::runtime_error("the parent's");
    } catch (const std::runtime_error&) {
      weft::spawn([] {
        EXPECT_EQ(std::current_exception(), nullptr);
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      }).join();
      EXPECT_NE(std::current_exception(), nullptr);
    }
  });
}

// covers L157
TEST(Exception, TravelsFromFiberToFiber) {
  on_fibers([] {
    struct chain {
      static void throw_at_depth(int depth) {
        if (depth == 0) throw std::domain_error("deep");
        weft::spawn([depth] { throw_at_depth(depth - 1); }).join();
      }
    };
    EXPECT_THROW(chain::throw_at_depth(50), std::domain_error);
  });
}

}  // namespace
