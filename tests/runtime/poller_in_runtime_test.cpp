// The poller as part of a runtime: first use, batches, children.
#include "tcp_pair.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::connected_pair;
using testing_support::default_workers;
using testing_support::on_fibers;
using testing_support::tcp_pair;

// covers C56
TEST(PollerInRuntime, FirstTimerAndFirstSocketFromManyThreadsAtOnce) {
  for (int round = 0; round < testing_support::scaled(50); ++round) {
    weft::runtime rt;
    std::atomic<int> at_start{0};
    std::atomic<int> done{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        ++at_start;
        while (at_start < 4) std::this_thread::yield();
        auto first = rt.spawn([i] {
          if (i % 2 == 0) {
            weft::this_fiber::sleep_for(100us);
          } else {
            tcp_pair pair = connected_pair();
            pair.client.write("x");
            std::array<char, 1> got;
            EXPECT_EQ(pair.server.read_some(got), 1u);
          }
        });
        first.join();
        ++done;
      });
    }
    for (auto& t : threads) t.join();
    EXPECT_EQ(done, 4);
  }
}

// covers J143
TEST(PollerInRuntime, ABatchOfReadyFibersIsSpreadOverTheWorkers) {
  const unsigned workers = default_workers();
  on_fibers([workers] {
    // Each fiber, once its byte has come, keeps its worker until as many run as there are workers.
    const int readers = static_cast<int>(workers) * 8;
    std::atomic<unsigned> running{0};
    std::atomic<bool> all_ran{false};
    std::vector<tcp_pair> pairs;
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < readers; ++i) pairs.push_back(connected_pair());
    for (auto& pair : pairs) {
      fibers.push_back(weft::spawn([&] {
        std::array<char, 1> got;
        EXPECT_EQ(pair.server.read_some(got), 1u);
        if (running.fetch_add(1) + 1 == workers) all_ran = true;
        const auto end = std::chrono::steady_clock::now() + 20s;
        while (!all_ran && std::chrono::steady_clock::now() < end) std::this_thread::yield();
        --running;
      }));
    }
    // From outside, so that the bytes arrive while all workers are idle.
    weft::blocking([&] {
      for (auto& pair : pairs) EXPECT_EQ(::write(pair.client.native_handle(), "x", 1), 1);
    });
    for (auto& f : fibers) f.join();
    EXPECT_TRUE(all_ran) << "the batch stayed on fewer workers";
  });
}

// covers L164 C55
TEST(PollerInRuntime, AChildThatExecsInheritsNoDescriptor) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    std::array<int, 2> out;
    ASSERT_EQ(::pipe(out.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(out[1], 1);
      ::execl("/bin/sh", "sh", "-c", "for f in /proc/self/fd/*; do readlink $f; done", static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ASSERT_GT(child, 0);
    ::close(out[1]);
    std::string text;
    int status = 0;
    weft::blocking([&] {
      std::array<char, 4096> buffer;
      ssize_t n;
      while ((n = ::read(out[0], buffer.data(), buffer.size())) > 0) text.append(buffer.data(), static_cast<std::size_t>(n));
      ::waitpid(child, &status, 0);
    });
    ::close(out[0]);
    EXPECT_EQ(status, 0);
    EXPECT_NE(text.find("pipe:"), std::string::npos) << text;
    for (const char* kind : {"socket:", "eventpoll", "eventfd"}) {
      EXPECT_EQ(text.find(kind), std::string::npos) << text;
    }
  });
}

}  // namespace
