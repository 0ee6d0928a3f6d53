// What stop() says when it has to wait: takes ten seconds of patience, so it is a program of its own.
#include "runtime_fixture.hpp"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

namespace {

// stderr_pipe takes standard error while it exists.
class stderr_pipe {
 public:
  stderr_pipe() : saved_(::dup(2)) {
    int ends[2];
    if (::pipe(ends) != 0) ADD_FAILURE() << "pipe";
    read_ = ends[0];
    ::dup2(ends[1], 2);
    ::close(ends[1]);
  }
  ~stderr_pipe() {
    ::dup2(saved_, 2);
    ::close(saved_);
    ::close(read_);
  }

  // read_until returns what was said up to the word, or all that came within 30 s of silence.
  std::string read_until(const char* word) {
    std::string said;
    while (said.find(word) == std::string::npos) {
      pollfd ready{read_, POLLIN, 0};
      char text[512];
      if (::poll(&ready, 1, 30'000) != 1) break;
      const ssize_t n = ::read(read_, text, sizeof text);
      if (n <= 0) break;
      said.append(text, static_cast<std::size_t>(n));
    }
    return said;
  }

 private:
  int saved_;
  int read_ = -1;
};

TEST(StopReport, NamesWhoIsLeft) {
  weft::runtime rt(testing_support::with_workers(1));
  std::atomic<bool> end{false};
  rt.go(weft::spawn_options("lingerer"), [&] {
    weft::blocking([&] { end.wait(false); });  // deaf to stops
  });
  weft::fiber<void> over = rt.spawn(weft::spawn_options("unjoined, but over"), [] {});
  std::string said;
  std::thread stopper;
  {
    stderr_pipe errors;
    stopper = std::thread([&] { rt.stop(); });
    said = errors.read_until("'lingerer'");
  }
  EXPECT_NE(said.find("still waits for fibers"), std::string::npos) << said;
  EXPECT_NE(said.find("'lingerer'"), std::string::npos) << said;
  EXPECT_EQ(said.find("unjoined"), std::string::npos) << said;
  end = true;
  end.notify_all();
  stopper.join();
}

// covers K149
TEST(StopReportDeathTest, MainHasReturnedAndOthersAreStuck) {
  if (testing_support::thread_sanitized) GTEST_SKIP() << "ThreadSanitizer has a thread of which nothing is known";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(weft::run([] {
                weft::go(weft::spawn_options("stuck"), [] {
                  const weft::shield deaf;
                  weft::event never;
                  never.wait();
                });
                weft::this_fiber::yield();
              }),
              ::testing::ExitedWithCode(weft::deadlock_exit_status),
              "still waits for fibers:.*'stuck'.*deadlock: main has returned, and 1 fibers wait.*'stuck' \\[");
}

}  // namespace
