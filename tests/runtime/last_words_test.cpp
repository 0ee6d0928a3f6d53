// What is said when the process ends by a fault of its own.
#include "runtime_fixture.hpp"

#include <weft/debug/dump.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;

// beside_a_bystander runs f as a fiber named culprit while another sleeps.
template <class F>
void beside_a_bystander(F f) {
  weft::run([f] {
    weft::go(weft::spawn_options("bystander"), [] { weft::this_fiber::sleep_for(1h); });
    // The report is to name where it waits.
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (weft::debug::dump().find("'bystander' [sleep") == std::string::npos) {
      if (std::chrono::steady_clock::now() > end) std::_Exit(3);
      weft::this_fiber::yield();
    }
    weft::go(weft::spawn_options("culprit"), f);
    weft::this_fiber::sleep_for(1h);
  });
}

class LastWordsDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// covers O12
TEST_F(LastWordsDeathTest, MisuseNamesTheFiberAndDescribesTheOthers) {
  EXPECT_EXIT(beside_a_bystander([] {
                weft::mutex m;
                m.unlock();
              }),
              ::testing::KilledBySignal(SIGABRT),
              "weft: fatal: .*unlock.*weft: in fiber [0-9]+ 'culprit'.*'bystander' \\[sleep");
}

// covers O12
TEST_F(LastWordsDeathTest, SoDoesAnExceptionThatNobodyTakes) {
  EXPECT_EXIT(beside_a_bystander([] { throw std::runtime_error("no taker"); }), ::testing::KilledBySignal(SIGABRT),
              "unhandled exception in fiber [0-9]+ 'culprit'.*no taker.*'bystander' \\[sleep");
}

// Of a plain thread too, and though the list of runtimes is just being changed there is an end.
TEST_F(LastWordsDeathTest, ThreadsHaveThemToo) {
  EXPECT_EXIT(
      {
        weft::runtime rt;
        rt.go(weft::spawn_options("bystander"), [] { weft::this_fiber::sleep_for(1h); });
        weft::mutex m;
        m.unlock();
      },
      ::testing::KilledBySignal(SIGABRT), "weft: fatal: .*unlock.*'bystander' \\[");
}

}  // namespace
