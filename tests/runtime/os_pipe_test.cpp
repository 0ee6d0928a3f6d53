// Pipes, and descriptors that somebody else made.
#include "tcp_pair.hpp"

#include <support/poll_seam.hpp>
#include <weft/weft.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::is_open_number;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::thrown_by;
using weft::net::from_native;
using weft::net::native_conn;
namespace os = weft::os;

bool blocks(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

TEST(OsPipe, CarriesBytesAndItsEnd) {
  on_fibers([] {
    os::pipe_ends ends = os::pipe();
    const std::string sent(1 << 20, 'p');
    auto writer = weft::spawn([&] {
      ends.writer.write(sent);
      ends.writer.close();
    });
    std::string got(sent.size() + 1, '\0');
    EXPECT_EQ(ends.reader.read_full(got), sent.size());
    got.pop_back();
    EXPECT_TRUE(got == sent);
    writer.join();
    EXPECT_TRUE(::fcntl(ends.reader.native_handle(), F_GETFD) & FD_CLOEXEC);
  });
  std::error_code ec;
  (void)os::pipe(ec);
  EXPECT_EQ(ec, weft::errc::no_runtime);
}

// covers L162
TEST(OsPipe, AReaderThatHasGoneIsAnErrorAndNoSignal) {
  ASSERT_EQ(::signal(SIGPIPE, SIG_DFL), SIG_DFL);  // it would end the test
  on_fibers([] {
    os::pipe_ends ends = os::pipe();
    ends.reader.close();
    const auto [code, what] = thrown_by([&] { ends.writer.write("x"); });
    EXPECT_EQ(code, std::errc::broken_pipe);
    EXPECT_EQ(what, "write pipe: broken pipe");
    std::error_code ec;
    weft::blocking([&] { ends.writer.writev({"x", "y"}, ec); });
    EXPECT_EQ(ec, std::errc::broken_pipe);
    // A plain thread, whose mask has the signal open (it began with that of a worker), and stays so.
    std::thread([&] {
      sigset_t mask, pending;
      ::sigemptyset(&mask);
      ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
      std::error_code thread_ec;
      ends.writer.write("x", thread_ec);
      EXPECT_EQ(thread_ec, std::errc::broken_pipe);
      ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      ::sigpending(&pending);
      EXPECT_EQ(::sigismember(&mask, SIGPIPE), 0);
      EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0);
    }).join();
  });
}

// covers B40, B30
TEST(OsPipe, DeadlinesEndBothDirections) {
  on_fibers([] {
    os::pipe_ends ends = os::pipe();
    std::array<char, 10> buffer;
    std::error_code ec;
    ends.reader.set_deadline(2ms);
    EXPECT_EQ(ends.reader.read_some(buffer, ec), 0u);
    EXPECT_EQ(ec, std::errc::timed_out);
    const std::string much(1 << 20, 'x');
    auto writer = weft::spawn([&] { return ends.writer.write(much, ec); });
    weft::testing::TEST_await_parked(*weft::io::access::descriptor(ends.writer), weft::poll::mode::write);
    ends.writer.set_write_deadline(1ms);
    const std::size_t sent = writer.join();
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_GT(sent, 0u);
    EXPECT_LT(sent, much.size());
    ends.reader.clear_deadline();
    std::string got(sent, '\0');
    EXPECT_EQ(ends.reader.read_full(got), sent);
  });
}

// Ten fibers share each end and push short deadlines about; nobody hangs. As Go's RacyRead and RacyWrite.
TEST(OsPipe, ManyFibersShareAnEndAndItsDeadline) {
  on_fibers([] {
    os::pipe_ends ends = os::pipe();
    std::atomic<bool> over{false};
    std::vector<weft::fiber<void>> fibers;
    auto feeder = weft::spawn([&] {
      std::error_code ec;
      while (!over) ends.writer.write("0123456789", ec);
    });
    for (int i = 0; i < 10; ++i) {
      fibers.push_back(weft::spawn([&] {
        std::array<char, 1> buffer;
        for (int n = 0; n < scaled(100); ++n) {
          std::error_code ec;
          ends.reader.set_read_deadline(1ms, ec);
          ends.reader.read_some(buffer, ec);
          EXPECT_TRUE(!ec || ec == std::errc::timed_out) << ec.message();
        }
      }));
    }
    for (auto& f : fibers) f.join();
    over = true;
    std::error_code ec;
    ends.reader.close(ec);
    feeder.join();
  });
}

// covers D57
TEST(OsPipe, CloseEndsAParkedRead) {
  on_fibers([] {
    os::pipe_ends ends = os::pipe();
    std::error_code ec;
    std::atomic<bool> began{false};
    auto reader = weft::spawn([&] {
      std::array<char, 10> buffer;
      began = true;
      ends.reader.read_some(buffer, ec);
    });
    while (!began) weft::this_fiber::yield();
    ends.reader.close();
    reader.join();
    EXPECT_EQ(ec, weft::errc::closed);
  });
}

TEST(Native, AnEventDescriptorIsReadAndWaitedFor) {
  on_fibers([] {
    native_conn events = from_native(::eventfd(0, EFD_CLOEXEC));
    std::uint64_t count = 0;
    auto waiter = weft::spawn([&] {
      events.wait_readable();
      EXPECT_EQ(events.read_full({&count, sizeof count}), sizeof count);
    });
    const std::uint64_t three = 3;
    events.write({&three, sizeof three});
    waiter.join();
    EXPECT_EQ(count, 3u);
    std::error_code ec;
    events.set_read_deadline(0s);
    events.wait_readable(ec);
    EXPECT_EQ(ec, std::errc::timed_out);
  });
}

TEST(Native, ATimerOfTheSystemWakesItsFiber) {
  on_fibers([] {
    const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const itimerspec soon{{}, {0, 2'000'000}};
    ASSERT_EQ(::timerfd_settime(fd, 0, &soon, nullptr), 0);
    native_conn timer = from_native(fd);
    std::uint64_t expirations = 0;
    EXPECT_EQ(timer.read_some({&expirations, sizeof expirations}), sizeof expirations);
    EXPECT_EQ(expirations, 1u);
  });
}

TEST(Native, WhatCannotBePolledStaysTheCallers) {
  on_fibers([] {
    const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    std::error_code ec;
    EXPECT_FALSE(from_native(fd, ec).is_open());
    EXPECT_EQ(ec, weft::errc::not_pollable);
    EXPECT_TRUE(is_open_number(fd));
    EXPECT_TRUE(blocks(fd));
    const auto [code, what] = thrown_by([&] { (void)from_native(fd); });
    EXPECT_EQ(what.find("use descriptor " + std::to_string(fd) + ": not pollable"), 0u) << what;
    ::close(fd);
    (void)from_native(-1, ec);
    EXPECT_EQ(ec, std::errc::bad_file_descriptor);
  });
  std::error_code ec;
  (void)from_native(0, ec);
  EXPECT_EQ(ec, weft::errc::no_runtime);
}

TEST(Native, ReleaseGivesBackANumberThatBlocksAsBefore) {
  on_fibers([] {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    native_conn conn = from_native(fds[0]);
    EXPECT_FALSE(blocks(fds[0]));
    EXPECT_EQ(::fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    std::error_code ec;
    std::atomic<bool> began{false};
    auto reader = weft::spawn([&] {
      std::array<char, 10> buffer;
      began = true;
      conn.read_some(buffer, ec);
    });
    while (!began) weft::this_fiber::yield();
    EXPECT_EQ(conn.release(), fds[0]);
    reader.join();
    EXPECT_EQ(ec, weft::errc::closed);
    EXPECT_TRUE(blocks(fds[0]));
    EXPECT_EQ(::fcntl(fds[0], F_GETFD), 0);
    EXPECT_EQ(conn.release(), -1);
    EXPECT_FALSE(conn.is_open());
    ::close(fds[0]);
    ::close(fds[1]);
  });
}

// covers E82
TEST(Native, ForeignCallsAreRepeatedUntilTheySucceed) {
  on_fibers([] {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    native_conn a = from_native(fds[0]);
    native_conn b = from_native(fds[1]);
    std::atomic<int> tries{0};
    char got[16] = {};
    auto reader = weft::spawn([&] {
      a.read_with([&](int fd) noexcept {
        ++tries;
        return ::recv(fd, got, sizeof got, 0) >= 0;
      });
    });
    weft::testing::TEST_await_parked(*weft::io::access::descriptor(a), weft::poll::mode::read);
    b.write_with([](int fd) noexcept { return ::send(fd, "packet", 6, MSG_NOSIGNAL) == 6; });
    reader.join();
    EXPECT_STREQ(got, "packet");
    EXPECT_GE(tries, 2);
    // Deadline, stop and close release it.
    std::error_code ec;
    const auto never = [](int fd) noexcept {
      char c;
      return ::recv(fd, &c, 1, 0) >= 0;
    };
    a.set_read_deadline(2ms);
    a.read_with(never, ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    a.clear_deadline();
    std::stop_source source;
    auto stopper = weft::spawn([&] { source.request_stop(); });
    a.read_with(never, source.get_token(), ec);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    stopper.join();
    auto closed = weft::spawn([&] { a.read_with(never, ec); });
    int seen = -1;
    a.control([&](int fd) { seen = fd; });
    EXPECT_EQ(seen, fds[0]);
    a.close();
    closed.join();
    EXPECT_EQ(ec, weft::errc::closed);
    a.control([](int) { ADD_FAILURE(); }, ec);
    EXPECT_EQ(ec, weft::errc::closed);
  });
}

// A short read leaves the socket empty, and the next read may wait first; a call of the user's may not.
// covers E82
TEST(Native, ForeignCallsAreTriedBeforeTheyWait) {
  on_fibers([] {
    auto pair = testing_support::connected_pair();
    pair.client.write("abc");
    std::array<char, 100> buffer;
    EXPECT_EQ(pair.server.read_some(buffer), 3u);
    pair.server.set_read_deadline(2s);  // or else it would hang
    int tries = 0;
    std::error_code ec;
    pair.server.read_with(
        [&](int) noexcept {
          ++tries;
          return true;
        },
        ec);
    EXPECT_FALSE(ec) << ec.message();
    EXPECT_EQ(tries, 1);
    // The read that follows gets what comes.
    auto reader = weft::spawn([&] { return pair.server.read_some(buffer); });
    pair.client.write("de");
    EXPECT_EQ(reader.join(), 2u);
  });
}

// A terminal: lines, a deadline, and the end when the other side hangs up.
TEST(Native, ATerminalGivesLinesAndHangsUp) {
  bool there = false;
  on_fibers([&] {
    const int master_number = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master_number < 0) return;
    there = ::grantpt(master_number) == 0 && ::unlockpt(master_number) == 0;
    EXPECT_TRUE(there);
    native_conn slave = from_native(::open(::ptsname(master_number), O_RDWR | O_NOCTTY | O_CLOEXEC));
    native_conn master = from_native(master_number);
    std::array<char, 100> buffer;
    std::error_code ec;
    slave.set_read_deadline(2ms);
    slave.read_some(buffer, ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    slave.clear_deadline();
    auto reader = weft::spawn([&] { return slave.read_some(buffer); });
    master.write("a line\n");
    EXPECT_EQ(reader.join(), 7u);
    EXPECT_EQ(std::string_view(buffer.data(), 7), "a line\n");
    auto hung_up = weft::spawn([&] { return slave.read_some(buffer, ec); });
    std::error_code closed;
    auto parked = weft::spawn([&] {
      std::array<char, 100> echo;
      while (!closed) master.read_some(echo, closed);
    });
    weft::testing::TEST_await_parked(*weft::io::access::descriptor(master), weft::poll::mode::read);
    master.close();
    EXPECT_EQ(hung_up.join(), 0u);
    parked.join();
    EXPECT_EQ(closed, weft::errc::closed);
  });
  if (!there) GTEST_SKIP() << "no pseudo-terminals here";
}

// covers D66
TEST(Native, DuplicatingTheNumberRacesWithClose) {
  on_fibers([] {
    for (int i = 0; i < scaled(500); ++i) {
      os::pipe_ends ends = os::pipe();
      native_conn reader = from_native(ends.reader.release());
      auto closer = weft::spawn([&] {
        std::error_code ec;
        reader.close(ec);
      });
      int copy = -1;
      std::error_code ec;
      reader.control([&](int fd) { copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0); }, ec);
      EXPECT_EQ(copy >= 0, !ec);
      closer.join();
      if (copy >= 0) ::close(copy);
    }
  });
}

}  // namespace
