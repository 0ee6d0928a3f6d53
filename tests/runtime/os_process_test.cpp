// Child processes and signals.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::threads;
using testing_support::thrown_by;
namespace os = weft::os;

os::process_options with_pipes() {
  os::process_options o;
  o.in = o.out = o.err = os::stdio::pipe();
  return o;
}

std::string output_of(std::initializer_list<std::string> argv) { return os::run_process(argv).out; }

bool has_children() { return ::waitpid(-1, nullptr, WNOHANG) >= 0 || errno != ECHILD; }

TEST(Process, TellsHowItEnded) {
  on_fibers([] {
    EXPECT_TRUE(os::run_process({"true"}).status.success());
    EXPECT_EQ(os::run_process({"sh", "-c", "exit 7"}).status.code, 7);
    os::process child = os::start_process({"sleep", "100"});
    EXPECT_GT(child.pid(), 0);
    EXPECT_EQ(child.wait_for(2ms), std::nullopt);
    child.kill(SIGTERM);
    const os::exit_status status = child.wait();
    EXPECT_EQ(status.signal, SIGTERM);
    EXPECT_FALSE(status.success());
    EXPECT_EQ(child.wait().signal, SIGTERM);  // as often as asked
    EXPECT_EQ(thrown_by([&] { child.kill(SIGTERM); }).first, std::errc::no_such_process);
    EXPECT_FALSE(has_children());
    EXPECT_EQ(thrown_by([] { os::process().wait(); }).first, weft::errc::closed);
    EXPECT_EQ(thrown_by([] { os::process().wait_for(1ms); }).first, weft::errc::closed);
  });
}

TEST(Process, PlainThreadsWaitForOne) {
  os::process child;
  weft::runtime rt;
  rt.spawn([&] { child = os::start_process({"sleep", "100"}); }).join();
  EXPECT_EQ(child.wait_for(2ms), std::nullopt);
  child.kill(SIGKILL);
  EXPECT_EQ(child.wait().signal, SIGKILL);
}

TEST(Process, WhatIsWrongWithTheProgramIsSaidAtOnce) {
  on_fibers([] {
    const auto [code, what] = thrown_by([] { (void)os::start_process({"/no/such/program"}); });
    EXPECT_EQ(code, std::errc::no_such_file_or_directory);
    EXPECT_EQ(what, "start process /no/such/program: no such file or directory");
    EXPECT_EQ(thrown_by([] { (void)os::start_process({"/etc/passwd"}); }).first, std::errc::permission_denied);
    EXPECT_EQ(thrown_by([] { (void)os::start_process({"no-such-program-anywhere"}); }).first,
              std::errc::no_such_file_or_directory);
    os::process_options elsewhere;
    elsewhere.directory = "/no/such/directory";
    EXPECT_EQ(thrown_by([&] { (void)os::start_process({"true"}, elsewhere); }).first,
              std::errc::no_such_file_or_directory);
    EXPECT_EQ(thrown_by([] { (void)os::start_process({}); }).first, std::errc::invalid_argument);
    EXPECT_FALSE(has_children());
  });
  EXPECT_EQ(thrown_by([] { (void)os::start_process({"true"}); }).first, weft::errc::no_runtime);
}

TEST(Process, StreamsGoWhereTheyAreSent) {
  on_fibers([] {
    const os::captured both = os::run_process({"sh", "-c", "echo out; echo err >&2"});
    EXPECT_EQ(both.out, "out\n");
    EXPECT_EQ(both.err, "err\n");
    os::process_options merged = with_pipes();
    merged.in = os::stdio::null();
    merged.err = os::stdio::merged();
    os::process child = os::start_process({"sh", "-c", "cat; echo out; echo err >&2"}, merged);
    std::array<char, 100> buffer;
    EXPECT_EQ(child.out().read_full(buffer), 8u);
    EXPECT_EQ(std::string_view(buffer.data(), 8), "out\nerr\n");
    EXPECT_FALSE(child.err().is_open());
    EXPECT_FALSE(child.in().is_open());
    EXPECT_TRUE(child.wait().success());
    // Numbers of ours, also when they are among the three.
    os::pipe_ends pipe = os::pipe();
    os::process_options given;
    given.out = os::stdio::use(pipe.writer.native_handle());
    given.in = os::stdio::null();
    os::process writer = os::start_process({"echo", "through a number"}, given);
    pipe.writer.close();
    EXPECT_EQ(pipe.reader.read_full(buffer), 17u);
    EXPECT_TRUE(writer.wait().success());
  });
}

TEST(Process, MegabytesGoThroughAndBack) {
  on_fibers([] {
    std::string sent(static_cast<std::size_t>(scaled(10)) << 20, '\0');
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 + i / 4096);
    const std::array<std::string, 1> cat{"cat"};
    const os::captured back = os::run_process(cat, sent);
    EXPECT_TRUE(back.out == sent) << back.out.size();
    const std::array<std::string, 1> yes{"yes"};
    EXPECT_EQ(thrown_by([&] { (void)os::run_process(yes, {}, 100'000); }).first, weft::errc::too_long);
    EXPECT_FALSE(has_children());
  });
}

TEST(Process, EnvironmentAndDirectoryAreAsAsked) {
  on_fibers([] {
    os::process_options o = with_pipes();
    o.in = os::stdio::null();
    o.directory = "/";
    o.environment = {{"WEFT_TEST_VARIABLE", "a value"}, {"HOME", "elsewhere"}};
    os::process child = os::start_process({"sh", "-c", "pwd; echo $WEFT_TEST_VARIABLE; echo $HOME"}, o);
    std::array<char, 100> buffer;
    const std::size_t n = child.out().read_full(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), n), "/\na value\nelsewhere\n");
    child.wait();
    o.inherit_environment = false;
    o.environment = {{"ONLY", "this"}};
    os::process bare = os::start_process({"/usr/bin/env"}, o);
    const std::size_t m = bare.out().read_full(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), m), "ONLY=this\n");
    bare.wait();
  });
}

// covers L164
TEST(Process, InheritsNoDescriptorMaskOrDisposition) {
  ::signal(SIGUSR1, SIG_IGN);
  const int leaky = ::dup(0);  // not close-on-exec
  on_fibers([&] {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    os::pipe_ends pipe = os::pipe();
    // Of the child: the three streams, and what ls has opened to list them.
    EXPECT_EQ(output_of({"sh", "-c", "ls /proc/self/fd | wc -l"}), "4\n");
    EXPECT_EQ(output_of({"grep", "SigBlk", "/proc/self/status"}), "SigBlk:\t0000000000000000\n");
    // Signals 32 and 33 are the C library's own business.
    const std::string ignored = output_of({"sed", "-n", "s/SigIgn:.//p", "/proc/self/status"});
    EXPECT_EQ(std::stoull(ignored, nullptr, 16) & 0x7fffffff, 0u) << ignored;
    os::process_options o = with_pipes();
    o.in = os::stdio::null();
    o.inherit_descriptors = true;
    os::process child = os::start_process({"sh", "-c", "ls /proc/self/fd | wc -l"}, o);
    std::array<char, 10> buffer;
    EXPECT_EQ(child.out().read_full(buffer), 2u);
    EXPECT_GE(buffer[0], '5');
    child.wait();
    o.new_session = true;
    os::process leader = os::start_process({"sh", "-c", "ps -o sid= -p $$"}, o);
    const std::size_t n = leader.out().read_full(buffer);
    EXPECT_EQ(std::atoi(std::string(buffer.data(), n).c_str()), leader.pid());
    leader.wait();
  });
  ::close(leaky);
  ::signal(SIGUSR1, SIG_DFL);
}

TEST(Process, ManyChildrenNeedNoThreadEach) {
  const int count = scaled(200);
  std::atomic<int> ended{0};
  std::size_t before = 0;
  std::size_t meanwhile = 0;
  on_fibers([&] {
    before = threads();  // may still count some of the last test's
    std::vector<os::process> children;
    for (int i = 0; i < count; ++i) children.push_back(os::start_process({"sleep", "100"}));
    std::vector<weft::fiber<void>> waiters;
    for (os::process& c : children) {
      waiters.push_back(weft::spawn([&] {
        if (c.wait().signal == SIGKILL) ++ended;
      }));
    }
    weft::this_fiber::yield();
    meanwhile = threads();
    for (os::process& c : children) c.kill(SIGKILL);
    for (auto& w : waiters) w.join();
    EXPECT_FALSE(has_children());
  });
  EXPECT_EQ(ended, count);
  EXPECT_LT(meanwhile, before + 20);
}

TEST(Process, AStopEndsTheWaitAndNotTheChild) {
  on_fibers([] {
    os::process child = os::start_process({"sleep", "100"});
    std::stop_source source;
    std::error_code ec;
    auto waiter = weft::spawn([&] { child.wait(source.get_token(), ec); });
    weft::this_fiber::yield();
    source.request_stop();
    waiter.join();
    EXPECT_EQ(ec, std::errc::operation_canceled);
    child.kill(0);  // there
    child.kill(SIGKILL);
    EXPECT_EQ(child.wait().signal, SIGKILL);
  });
}

TEST(Process, OneThatIsLetGoIsReapedWhenItEnds) {
  on_fibers([] {
    int pid = 0;
    {
      os::process_options o;
      o.in = os::stdio::pipe();
      os::process child = os::start_process({"cat"}, o);
      pid = child.pid();
    }  // its input ends with the handle, and it with that
    while (::kill(pid, 0) == 0) weft::this_fiber::sleep_for(1ms);
    EXPECT_FALSE(has_children());
  });
}

// --- signals

void count_of(int) {}

bool has_handler(int signal, void (*handler)(int)) {
  struct sigaction now {};
  ::sigaction(signal, nullptr, &now);
  return now.sa_handler == handler;
}

TEST(Signals, ArriveAsMessagesAndGiveTheHandlerBack) {
  ::signal(SIGUSR1, count_of);
  on_fibers([] {
    {
      os::signal_set set{SIGUSR1, SIGUSR2};
      EXPECT_FALSE(has_handler(SIGUSR1, count_of));
      EXPECT_EQ(set.try_wait(), 0);
      auto waiter = weft::spawn([&] { return set.wait(); });
      weft::this_fiber::yield();
      ::kill(::getpid(), SIGUSR2);
      EXPECT_EQ(waiter.join(), SIGUSR2);
      ::kill(::getpid(), SIGUSR1);
      EXPECT_EQ(set.wait(), SIGUSR1);
      EXPECT_EQ(set.try_wait(), 0);
    }
    EXPECT_TRUE(has_handler(SIGUSR1, count_of));
    EXPECT_TRUE(has_handler(SIGUSR2, SIG_DFL));
  });
  ::signal(SIGUSR1, SIG_DFL);
}

TEST(Signals, EverySetGetsThem) {
  on_fibers([] {
    os::signal_set first{SIGUSR1};
    {
      os::signal_set second{SIGUSR1, SIGHUP};
      ::kill(::getpid(), SIGUSR1);
      EXPECT_EQ(first.wait(), SIGUSR1);
      EXPECT_EQ(second.wait(), SIGUSR1);
      ::kill(::getpid(), SIGHUP);
      EXPECT_EQ(second.wait(), SIGHUP);
      EXPECT_EQ(first.try_wait(), 0);
    }
    EXPECT_FALSE(has_handler(SIGUSR1, SIG_DFL));  // the first has it still
    os::signal_set moved;
    moved = std::move(first);
    ::kill(::getpid(), SIGUSR1);
    EXPECT_EQ(moved.wait(), SIGUSR1);
  });
  EXPECT_TRUE(has_handler(SIGUSR1, SIG_DFL));
}

// Sent while the set was there, it is not to meet the default action, which would end this process, though the thread
// that could take it never had a turn.
TEST(Signals, OneThatIsNotDeliveredYetGoesWithTheSet) {
  sigset_t it;
  sigset_t before;
  sigemptyset(&it);
  sigaddset(&it, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &it, &before);
  on_fibers([] {
    os::signal_set set{SIGUSR1};
    ::kill(::getpid(), SIGUSR1);
    EXPECT_EQ(set.try_wait(), 0);
  });
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGUSR1), 0);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// One that comes again before it was taken counts once; one that comes after is not lost.
TEST(Signals, AStormLosesNoKind) {
  const int count = scaled(10'000);
  int seen = 0;
  on_fibers([&] {
    os::signal_set storm{SIGUSR1};
    os::signal_set end{SIGUSR2};
    std::atomic<bool> over{false};
    auto counter = weft::spawn([&] {
      std::error_code ec;
      while (!over) {
        storm.set_read_deadline(5ms, ec);
        if (storm.wait(ec) == SIGUSR1) ++seen;
      }
      if (storm.try_wait() == SIGUSR1) ++seen;  // it may not have had a turn before
    });
    std::thread([&] {
      for (int i = 0; i < count; ++i) ::kill(::getpid(), SIGUSR1);
    }).join();
    ::kill(::getpid(), SIGUSR2);
    EXPECT_EQ(end.wait(), SIGUSR2);
    over = true;
    counter.join();
    ::kill(::getpid(), SIGUSR1);
    std::error_code ec;
    storm.clear_deadline();
    EXPECT_EQ(storm.wait(ec), SIGUSR1);
  });
  EXPECT_GE(seen, 1);
  EXPECT_LE(seen, count + 1);
}

TEST(Signals, DeadlinesStopsAndCloseEndTheWait) {
  on_fibers([] {
    os::signal_set set{SIGUSR1};
    std::error_code ec;
    set.set_deadline(1ms);
    set.wait(ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    set.clear_deadline();
    std::stop_source source;
    auto stopped = weft::spawn([&] { set.wait(source.get_token(), ec); });
    weft::this_fiber::yield();
    source.request_stop();
    stopped.join();
    EXPECT_EQ(ec, std::errc::operation_canceled);
    auto closed = weft::spawn([&] { set.wait(ec); });
    weft::this_fiber::yield();
    set.close();
    closed.join();
    EXPECT_EQ(ec, weft::errc::closed);
    EXPECT_TRUE(has_handler(SIGUSR1, SIG_DFL));
    EXPECT_EQ(thrown_by([&] { set.wait(); }).second, "wait for signal: closed");
    for (const int bad : {0, 65, SIGKILL, SIGSEGV}) {
      EXPECT_EQ(thrown_by([&] { os::signal_set refused{bad}; }).first, std::errc::invalid_argument) << bad;
    }
  });
  EXPECT_EQ(thrown_by([] { os::signal_set set{SIGUSR1}; }).first, weft::errc::no_runtime);
}

}  // namespace
