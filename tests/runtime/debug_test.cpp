// Dumps, reports and figures.
#include "runtime_fixture.hpp"
#include "tcp_pair.hpp"

#include <weft/debug/dump.hpp>
#include <weft/debug/stats.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <string>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;

// The paragraph of the fiber with that name.
std::string paragraph_of(const std::string& dump, const std::string& name) {
  const std::size_t at = dump.find(" '" + name + "' [");
  if (at == std::string::npos) return "";
  return dump.substr(at, dump.find("\n\n", at) - at);
}

weft::spawn_options named(std::string_view name) { return weft::spawn_options(name); }

// waits_for_dump dumps until the fiber's paragraph has `text`, and returns that.
std::string dump_until(const std::string& name, const std::string& text) {
  std::string paragraph;
  for (int i = 0; i < 2000; ++i) {
    paragraph = paragraph_of(weft::debug::dump(), name);
    if (paragraph.find(text) != std::string::npos) return paragraph;
    weft::this_fiber::sleep_for(1ms);
  }
  ADD_FAILURE() << "no '" << text << "' in: " << paragraph;
  return paragraph;
}

// covers O1
TEST(Dump, SaysWhatEachFiberWaitsFor) {
  on_fibers([] {
    weft::mutex m;
    std::unique_lock held(m);
    weft::channel<int> channel(0);
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    const std::string port = listener.local_endpoint().to_string();
    weft::net::tcp_conn client = weft::net::dial_tcp(port);
    weft::net::tcp_conn server = listener.accept();
    const std::string far = client.local_endpoint().to_string();

    auto locks = weft::spawn(named("locks"), [&] { std::scoped_lock mine(m); });
    auto receives = weft::spawn(named("receives"), [&] { channel.receive(); });
    auto sends = weft::spawn(named("reads"), [&] {
      std::array<char, 8> buffer;
      server.read_some(buffer);
    });
    auto sleeps = weft::spawn(named("sleeps"), [] { weft::this_fiber::sleep_for(1h); });
    auto joins = weft::spawn(named("joins"), [&] { receives.join(); });
    auto accepts = weft::spawn(named("accepts"), [&] {
      std::error_code ec;
      static_cast<void>(listener.accept(ec));
    });

    EXPECT_NE(dump_until("locks", "lock mutex").find("held by fiber " + std::to_string(weft::this_fiber::get_id())),
              std::string::npos);
    dump_until("receives", "receive channel 0x");
    dump_until("reads", "read tcp " + port + "->" + far);
    dump_until("accepts", "read tcp " + port + " (descriptor");
    dump_until("sleeps", "sleep, 3599.");
    dump_until("joins", "join fiber " + std::to_string(receives.get_id()) + " 'receives'");
    const std::string all = weft::debug::dump();
    EXPECT_NE(all.find("'test' [running on worker"), std::string::npos) << all;
#if defined(__x86_64__) && !defined(WEFT_PORTABLE_SWITCH)
    EXPECT_NE(paragraph_of(all, "sleeps").find("weft::v0::sched::sleep_until(long)+0x"), std::string::npos) << all;
#endif
    EXPECT_NE(paragraph_of(all, "sleeps").find("spawned "), std::string::npos);
    EXPECT_NE(paragraph_of(all, "sleeps").find("SaysWhatEachFiberWaitsFor"), std::string::npos) << "where it was spawned";

    weft::debug::dump_options json;
    json.format = weft::debug::dump_format::json;
    const std::string object = weft::debug::dump(json);
    EXPECT_NE(object.find("\"name\": \"locks\", \"state\": \"parked\""), std::string::npos) << object;
    EXPECT_NE(object.find("\"waits_for\": " + std::to_string(receives.get_id())), std::string::npos);

    held.unlock();
    channel.close();
    client.close();
    listener.close();
    sleeps.request_stop();
    joins.join();
  });
}

// covers O13
TEST(Dump, ManyAreDescribedOrCounted) {
  // ThreadSanitizer maps several pieces of memory for each fiber, and the system allows 65 530 in all.
  const int n = std::min(testing_support::scaled(100'000), testing_support::thread_sanitized ? 5000 : 100'000);
  on_fibers([n] {
    weft::event over;
    weft::task_group<> group;
    for (int i = 0; i < n; ++i) group.spawn([&over] { over.wait(); });
    const auto begun = std::chrono::steady_clock::now();
    const std::string all = weft::debug::dump();
    RecordProperty("seconds", std::to_string(std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count()));
    EXPECT_NE(all.find("\n" + std::to_string(n + 1) + " fibers\n"), std::string::npos) << all.substr(all.size() - 200);
    weft::debug::dump_options some;
    some.limit = 10;
    const std::string few = weft::debug::dump(some);
    EXPECT_NE(few.find("\nand " + std::to_string(n + 1 - 10) + " others\n"), std::string::npos) << few;
    EXPECT_LT(few.size(), all.size());
    over.set();
    group.join();
  });
}

// covers O2
TEST(Dump, WorksFromAThreadWhileFibersCompute) {
  weft::runtime rt;
  std::atomic<bool> over{false};
  std::vector<weft::fiber<void>> busy;
  for (unsigned i = 0; i < testing_support::default_workers(); ++i) {
    busy.push_back(rt.spawn(named("computes"), [&] {
      while (!over) {
      }
    }));
  }
  auto kept = rt.spawn(named("waits"), [] {});
  const std::string text = weft::debug::dump();
  EXPECT_NE(text.find("'waits' ["), std::string::npos) << text;
  over = true;
  for (auto& f : busy) f.join();
  kept.join();
}

// Reads what a process writes to standard error.
class captured_stderr {
 public:
  captured_stderr() {
    EXPECT_EQ(::pipe(ends_), 0);
    saved_ = ::dup(STDERR_FILENO);
    ::dup2(ends_[1], STDERR_FILENO);
  }
  ~captured_stderr() {
    ::dup2(saved_, STDERR_FILENO);
    for (const int fd : {saved_, ends_[0], ends_[1]}) ::close(fd);
  }
  // until reads until the text has come, and returns all so far.
  std::string until(const std::string& text) {
    std::string all;
    while (all.find(text) == std::string::npos) {
      pollfd p{ends_[0], POLLIN, 0};
      if (::poll(&p, 1, 20'000) != 1) break;
      char buffer[4096];
      const auto n = ::read(ends_[0], buffer, sizeof buffer);
      if (n <= 0) break;
      all.append(buffer, static_cast<std::size_t>(n));
    }
    return all;
  }

 private:
  int ends_[2];
  int saved_;
};

// covers O2
TEST(Dump, ASignalAsksForOneThoughAllWorkersCompute) {
  std::string text;
  {
    weft::runtime_options options;
    options.dump_signal = SIGUSR2;
    weft::runtime rt(options);
    std::atomic<bool> over{false};
    std::vector<weft::fiber<void>> busy;
    for (unsigned i = 0; i < testing_support::default_workers(); ++i) {
      busy.push_back(rt.spawn(named("computes"), [&] {
        while (!over) {
        }
      }));
    }
    captured_stderr captured;
    ::kill(::getpid(), SIGUSR2);
    text = captured.until(" fibers\n");
    over = true;
    for (auto& f : busy) f.join();
  }
  EXPECT_NE(text.find("'computes' ["), std::string::npos) << text;
  struct sigaction after {};
  ::sigaction(SIGUSR2, nullptr, &after);
  EXPECT_EQ(after.sa_handler, SIG_DFL);
}

[[gnu::noinline]] void compute_for_long(const std::atomic<bool>& over) {
  while (!over) asm volatile("" ::: "memory");
}

// covers O8
TEST(Hog, IsReportedWithItsName) {
  std::atomic<int> reports{0};
  std::atomic<bool> over{false};
  std::string name;
  std::string backtrace;
  weft::runtime_options options;
  options.hog_threshold = 30ms;
  options.on_hog = [&](const weft::hog& h) {
    if (reports++ != 0) return;
    name = h.name;
    backtrace = h.backtrace;
    EXPECT_GE(h.runs, 30ms);
    over = true;
  };
  on_fibers([&] { weft::spawn(named("hog"), [&] { compute_for_long(over); }).join(); }, options);
  EXPECT_GE(reports, 1);
  EXPECT_EQ(name, "hog");
  if (!testing_support::sanitized) {
    EXPECT_NE(backtrace.find("compute_for_long"), std::string::npos) << backtrace;
  }
}

// A runtime with a fiber that computes, and a dump of it.
std::string dump_of_a_computing_fiber(const weft::runtime_options& options, bool& has_begun) {
  weft::runtime rt(options);
  std::atomic<bool> over{false};
  std::atomic<bool> begun{false};
  auto busy = rt.spawn(named("computes"), [&] {
    begun = true;
    compute_for_long(over);
  });
  has_begun = testing_support::eventually([&] { return begun.load(); });
  const std::string text = paragraph_of(weft::debug::dump(), "computes");
  over = true;
  busy.join();
  return text;
}

// A crash reporter that the program installs later, for one, would take the question for a crash.
// covers O3
TEST(Dump, AHandlerInstalledOverOursGetsNoSignals) {
  static std::atomic<int> got{0};
  weft::runtime first;
  struct sigaction theirs {};
  struct sigaction ours {};
  theirs.sa_handler = [](int) { ++got; };
  ASSERT_EQ(::sigaction(SIGSEGV, &theirs, &ours), 0);
  bool begun = false;
  const std::string text = dump_of_a_computing_fiber(weft::runtime_options(), begun);
  // The second runtime has put its handler over theirs, and theirs back.
  std::atomic<bool> over{false};
  auto busy = first.spawn(named("computes"), [&] { compute_for_long(over); });
  const std::string again = weft::debug::dump();
  over = true;
  busy.join();
  ::sigaction(SIGSEGV, &ours, nullptr);
  EXPECT_TRUE(begun);
  EXPECT_EQ(got, 0);
  EXPECT_NE(text.find("running"), std::string::npos) << text;
  EXPECT_NE(again.find("'computes'"), std::string::npos) << again;
}

// covers O3
TEST(Dump, ARuntimeThatHandlesNoFaultsIsNotInterrupted) {
  const weft::runtime handles;
  weft::runtime_options off;
  off.handle_faults = false;
  bool begun = false;
  const std::string without = dump_of_a_computing_fiber(off, begun);
  EXPECT_TRUE(begun);
  EXPECT_NE(without.find("running"), std::string::npos) << without;
  EXPECT_EQ(without.find("compute_for_long"), std::string::npos) << without;
}

// While the monitor was away, here in on_hog, nobody has told the time.
// covers O8
TEST(Hog, WhoRanWhileTheMonitorWasAwayIsNone) {
  std::atomic<int> reports{0};
  std::atomic<int> long_ones{0};
  std::atomic<bool> back{false};
  weft::runtime_options options = testing_support::with_workers(2);
  options.hog_threshold = 100ms;
  options.on_hog = [&](const weft::hog& h) {
    if (h.runs >= 1s) ++long_ones;
    if (reports++ != 0) return;
    ::usleep(1'500'000);
    back = true;
  };
  on_fibers(
      [&] {
        // Both workers stay busy: one that rests would tell the time.
        const auto take_turns = [&back] {
          const auto end = std::chrono::steady_clock::now() + 20s;
          for (int turns = 0; turns < 4 && std::chrono::steady_clock::now() < end; turns += back ? 1 : 0) {
            weft::this_fiber::yield();
            const auto turn = std::chrono::steady_clock::now() + 80ms;
            while (std::chrono::steady_clock::now() < turn) {
            }
          }
        };
        auto hog = weft::spawn(named("hog"), [&] {
          compute_for_long(back);
          take_turns();
        });
        auto innocent = weft::spawn(named("innocent"), take_turns);
        hog.join();
        innocent.join();
      },
      options);
  EXPECT_GE(reports, 1);
  EXPECT_EQ(long_ones, 0);
}

// covers O8
TEST(Hog, WhoLetsOthersGoFirstIsNone) {
  std::atomic<int> reports{0};
  weft::runtime_options options;
  options.hog_threshold = 50ms;
  options.on_hog = [&](const weft::hog&) { ++reports; };
  on_fibers(
      [] {
        const auto end = std::chrono::steady_clock::now() + 300ms;
        while (std::chrono::steady_clock::now() < end) weft::this_fiber::checkpoint();
        while (std::chrono::steady_clock::now() < end + 200ms) weft::this_fiber::yield();
      },
      options);
  // On a machine that stops us for 50 ms it may seem so.
  EXPECT_LE(reports, 2);
}

// covers O8, J136
TEST(Hog, OthersAreServedMeanwhile) {
  if (testing_support::default_workers() < 2) GTEST_SKIP() << "the hog has the only worker";
  weft::runtime_options options;
  options.hog_threshold = 1h;
  on_fibers(
      [] {
        std::atomic<bool> over{false};
        auto hog = weft::spawn([&] { compute_for_long(over); });
        weft::net::tcp_listener l = weft::net::listen_tcp("127.0.0.1:0");
        weft::net::tcp_conn client = weft::net::dial_tcp(l.local_endpoint().to_string());
        weft::net::tcp_conn server = l.accept();
        auto echo = weft::spawn([&] {
          std::array<char, 8> buffer;
          while (const std::size_t n = server.read_some(buffer)) server.write(weft::const_buffer(buffer.data(), n));
        });
        // A round of a timer and of a socket each. The half that was served best tells what the hog does; the other half
        // may be the machine's.
        std::vector<std::chrono::steady_clock::duration> rounds;
        for (int i = 0; i < 41; ++i) {
          const auto begun = std::chrono::steady_clock::now();
          weft::this_fiber::sleep_for(1ms);
          client.write("x");
          std::array<char, 8> buffer;
          EXPECT_EQ(client.read_some(buffer), 1u);
          rounds.push_back(std::chrono::steady_clock::now() - begun);
        }
        std::sort(rounds.begin(), rounds.end());
        EXPECT_LT(rounds[rounds.size() / 2], 1ms + 2 * 10ms);
        over = true;
        client.close();
        echo.join();
        hog.join();
      },
      options);
}

// covers O9
TEST(Checkpoint, LetsOthersGoFirst) {
  on_fibers(
      [] {
        std::atomic<bool> ran{false};
        auto other = weft::spawn([&] { ran = true; });
        const auto end = std::chrono::steady_clock::now() + 20s;
        while (!ran && std::chrono::steady_clock::now() < end) weft::this_fiber::checkpoint();
        EXPECT_TRUE(ran);
      },
      testing_support::with_workers(1));
}

class DeadlockDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    if (testing_support::thread_sanitized) GTEST_SKIP() << "ThreadSanitizer has a thread of which nothing is known";
  }
};

// covers K147
TEST_F(DeadlockDeathTest, FibersOnChannelsAreNamedWithTheirWaits) {
  EXPECT_EXIT(weft::run([] {
                weft::channel<int> a(0);
                weft::channel<int> b(0);
                auto first = weft::spawn(named("first"), [&] { a.receive(); });
                auto second = weft::spawn(named("second"), [&] { b.send(1); });
                first.join();
              }),
              ::testing::ExitedWithCode(weft::deadlock_exit_status),
              "deadlock: 3 fibers.*'first' \\[receive channel.*'second' \\[send channel|"
              "deadlock: 3 fibers.*'second' \\[send channel.*'first' \\[receive channel");
}

// covers K147
TEST_F(DeadlockDeathTest, ACycleOfMutexesIsNamed) {
  EXPECT_EXIT(weft::run([] {
                weft::mutex a;
                weft::mutex b;
                weft::latch both(2);
                const auto take = [&both](weft::mutex& x, weft::mutex& y) {
                  std::scoped_lock one(x);
                  both.arrive_and_wait();
                  std::scoped_lock two(y);
                };
                auto first = weft::spawn(named("first"), [&] { take(a, b); });
                auto second = weft::spawn(named("second"), [&] { take(b, a); });
                first.join();
              }),
              ::testing::ExitedWithCode(weft::deadlock_exit_status),
              "a cycle:.*'first' waits: lock mutex 0x[0-9a-f]+, held by fiber [0-9]+ 'second'.*"
              "'second' waits: lock mutex 0x[0-9a-f]+, held by fiber [0-9]+ 'first'");
}

// covers K148
TEST(Deadlock, NobodyIsReportedWhoCanHope) {
  on_fibers([] {
    // Longer than it takes to look: by a timer, by a descriptor, in a call that blocks, and by a thread.
    weft::this_fiber::sleep_for(2500ms);
    weft::net::tcp_listener l = weft::net::listen_tcp("127.0.0.1:0");
    l.set_deadline(2500ms);
    std::error_code ec;
    static_cast<void>(l.accept(ec));
    EXPECT_EQ(ec, std::errc::timed_out);
    weft::channel<int> channel(0);
    auto receiver = weft::spawn([channel] { EXPECT_EQ(channel.receive(), 1); });
    weft::blocking([] { ::usleep(2'500'000); });
    std::thread thread([channel] {
      ::usleep(2'500'000);
      channel.send(1);
    });
    receiver.join();
    weft::blocking([&] { thread.join(); });
  });
}

// covers O10
TEST(Stats, CountByProcessorAndReason) {
  const weft::runtime_stats stats = on_fibers([] {
    for (int i = 0; i < 10; ++i) weft::this_fiber::sleep_for(1ms);
    for (int i = 0; i < 1000; ++i) weft::spawn([] { weft::this_fiber::yield(); }).join();
    EXPECT_GE(weft::debug::current_stats().stacks, 1u);
  });
  ASSERT_EQ(stats.processors.size(), stats.workers);
  std::uint64_t sleeps = 0;
  std::uint64_t dispatches = 0;
  std::uint64_t waits = 0;
  for (const weft::processor_stats& p : stats.processors) {
    dispatches += p.dispatches;
    for (const auto& park : p.parked) sleeps += park.why == "sleep" ? park.count : 0;
    for (const std::uint64_t n : p.run_waits) waits += n;
  }
  EXPECT_EQ(dispatches, stats.dispatches);
  EXPECT_GE(sleeps, 10u);
  EXPECT_GE(waits, 10u);
  const std::string text = weft::debug::prometheus_text(stats, "job=\"test\"");
  EXPECT_NE(text.find("\nweft_fibers_started_total{job=\"test\"} 1001\n"), std::string::npos) << text;
  EXPECT_NE(text.find("weft_parks_total{job=\"test\",processor=\"0\",reason=\""), std::string::npos) << text;
  EXPECT_NE(text.find("weft_run_wait_seconds_sum{job=\"test\",processor=\"0\"} "), std::string::npos) << text;
  EXPECT_NE(text.find("weft_run_wait_seconds_bucket{job=\"test\",processor=\"0\",le=\"+Inf\"} "), std::string::npos);
}

}  // namespace
