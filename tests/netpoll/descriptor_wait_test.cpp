// Calls that move no bytes of their own: foreign system calls, waiting without a buffer, giving the number away; and
// files that cannot be polled, and pipes.
#include "world.hpp"

#include <weft/sched/sys.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/uio.h>

namespace {

using namespace weft;
using namespace weft::testing;
using poll::kind;
using poll::mode;
using poll::side;
using poll::turns;

class DescriptorCall : public io_test {};
WEFT_INSTANTIATE_IO_TEST(DescriptorCall);

struct receive {
  char data[64];
  std::atomic<int> attempts{0};
  static long attempt(void* context, int fd) {
    auto& self = *static_cast<receive*>(context);
    ++self.attempts;
    return sched::sys_call(::recv, fd, self.data, sizeof self.data, 0);
  }
};

TEST_P(DescriptorCall, WaitsAndTriesAgainInBothKindsOfTurns) {
  for (const turns t : {turns::ordered, turns::shared}) {
    const fd_pair s = unix_pair(SOCK_DGRAM);
    auto d = w().open(s.a, kind::datagram);
    receive r;
    poll::descriptor::outcome got;
    task reader = w().go([&] { got = d->call(mode::read, t, &receive::attempt, &r); });
    TEST_await_parked(*d, mode::read);
    raw_send(s.b, "abc");
    reader.join();
    EXPECT_EQ(got.error, poll::ok);
    EXPECT_EQ(got.value, 3);
    EXPECT_GE(r.attempts, 2);
    ::close(s.b);
  }
}

TEST_P(DescriptorCall, InterruptedAttemptsAreRepeatedAndErrorsReturned) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  int calls = 0;
  const auto interrupted = [](void* context, int) -> long { return ++*static_cast<int*>(context) < 3 ? -EINTR : 42; };
  const auto refused = [](void*, int) -> long { return -EPROTO; };
  for (const turns t : {turns::ordered, turns::shared}) {
    calls = 0;
    w().run([&] {
      EXPECT_EQ(d->call(mode::write, t, interrupted, &calls).value, 42);
      EXPECT_EQ(d->call(mode::write, t, refused, nullptr).error, EPROTO);
    });
    EXPECT_EQ(calls, 3);
  }
  ::close(s.b);
}

// A call in shared turns goes past one that is parked in the direction; an ordered one queues.
TEST_P(DescriptorCall, SharedTurnsDontWaitForWhoWaits) {
  const fd_pair s = unix_pair(SOCK_DGRAM);
  auto d = w().open(s.a, kind::datagram);
  receive parked;
  task reader = w().go([&] { EXPECT_EQ(d->call(mode::read, turns::shared, &receive::attempt, &parked).value, 1); });
  TEST_await_parked(*d, mode::read);
  const auto seven = [](void*, int) -> long { return 7; };
  w().run([&] { EXPECT_EQ(d->call(mode::read, turns::shared, seven, nullptr).value, 7); });
  task queued = w().go([&] { EXPECT_EQ(d->call(mode::read, turns::ordered, seven, nullptr).value, 7); });
  TEST_await_queued(*d, mode::read, 1);
  raw_send(s.b, "x");
  reader.join();
  queued.join();
  ::close(s.b);
}

// The first try of a shared call doesn't take away the edge that a parked one waits for: every datagram finds a reader.
TEST_P(DescriptorCall, SharedReadersLoseNothing) {
  const fd_pair s = unix_pair(SOCK_DGRAM);
  auto d = w().open(s.a, kind::datagram);
  const int each = 300 * static_cast<int>(scale());
  std::atomic<int> received{0};
  std::vector<task> readers;
  for (int k = 0; k < 4; ++k) {
    readers.push_back(w().go([&] {
      for (int i = 0; i < each; ++i) {
        receive r;
        EXPECT_EQ(d->call(mode::read, turns::shared, &receive::attempt, &r).value, 1);
        ++received;
      }
    }));
  }
  for (int i = 0; i < 4 * each;) {
    if (::send(s.b, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {
      ++i;
    } else {
      std::this_thread::yield();
    }
  }
  readers.clear();
  EXPECT_EQ(received, 4 * each);
  ::close(s.b);
}

TEST_P(DescriptorCall, EndsWithCloseAndDeadline) {
  for (const turns t : {turns::ordered, turns::shared}) {
    const fd_pair s = unix_pair(SOCK_DGRAM);
    auto d = w().open(s.a, kind::datagram);
    receive r;
    int error = 0;
    task reader = w().go([&] { error = d->call(mode::read, t, &receive::attempt, &r).error; });
    TEST_await_parked(*d, mode::read);
    EXPECT_EQ(d->set_deadline(side::read, 0), poll::ok);
    reader.join();
    EXPECT_EQ(error, poll::timed_out);
    raw_send(s.b, "x");  // though there is data
    w().run([&] { EXPECT_EQ(d->call(mode::read, t, &receive::attempt, &r).error, poll::timed_out); });
    EXPECT_EQ(d->set_deadline(side::read, sched::never), poll::ok);
    w().run([&] { EXPECT_EQ(d->call(mode::read, t, &receive::attempt, &r).value, 1); });
    task other = w().go([&] { error = d->call(mode::read, t, &receive::attempt, &r).error; });
    TEST_await_parked(*d, mode::read);
    w().run([&] { EXPECT_EQ(d->close(), 0); });
    other.join();
    EXPECT_EQ(error, poll::closed);
    w().run([&] { EXPECT_EQ(d->call(mode::read, t, &receive::attempt, &r).error, poll::closed); });
    ::close(s.b);
  }
}

class DescriptorReady : public io_test {};
WEFT_INSTANTIATE_IO_TEST(DescriptorReady);

TEST_P(DescriptorReady, SaysAtOnceWhatIsThereAndTakesNothing) {
  const fd_pair s = tcp_pair();
  auto d = w().open(s.a, kind::tcp);
  raw_send(s.b, "abc");
  w().run([&] {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(d->wait_ready(mode::read), poll::ok);
    EXPECT_EQ(d->wait_ready(mode::write), poll::ok);
    EXPECT_EQ(read_string(*d, 10), "abc");
  });
  ::close(s.b);
}

// After a short read, a TCP read parks first; so does this. What came before that, and was announced before, must still
// be found.
TEST_P(DescriptorReady, AfterAShortReadItWaitsForNewDataAlone) {
  const fd_pair s = tcp_pair();
  auto d = w().open(s.a, kind::tcp);
  for (int i = 0; i < 50; ++i) {
    raw_send(s.b, "ab");
    w().run([&] { EXPECT_EQ(read_string(*d, 10), "ab"); });
    task waiter = w().go([&] {
      EXPECT_EQ(d->wait_ready(mode::read), poll::ok);
      EXPECT_EQ(d->wait_ready(mode::read), poll::ok);  // the same data, with no second edge
    });
    if (i % 2 == 0) TEST_await_parked(*d, mode::read);
    raw_send(s.b, "cd");
    waiter.join();
    w().run([&] { EXPECT_EQ(read_string(*d, 10), "cd"); });
  }
  ::close(s.b);
}

TEST_P(DescriptorReady, UrgentDataAndTheEndOfTheStreamAreReady) {
  const fd_pair s = tcp_pair();
  auto d = w().open(s.a, kind::tcp);
  task urgent = w().go([&] { EXPECT_EQ(d->wait_ready(mode::read), poll::ok); });
  TEST_await_parked(*d, mode::read);
  raw_send(s.b, "u", MSG_OOB);
  urgent.join();
  char c;
  while (::recv(s.a, &c, 1, MSG_OOB) != 1) std::this_thread::yield();
  // Taken: nothing is ready, and nobody spins.
  task end = w().go([&] { EXPECT_EQ(d->wait_ready(mode::read), poll::ok); });
  TEST_await_parked(*d, mode::read);
  ::shutdown(s.b, SHUT_WR);
  end.join();
  w().run([&] {
    EXPECT_EQ(d->wait_ready(mode::read), poll::ok);  // for good
    EXPECT_EQ(read_string(*d, 10), "");
    EXPECT_EQ(d->wait_ready(mode::read), poll::ok);
    EXPECT_EQ(write_string(*d, "x").error, poll::ok);
  });
  ::close(s.b);
}

TEST_P(DescriptorReady, RoomToWriteIsWaitedFor) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  fill(s.a);
  task writer = w().go([&] { EXPECT_EQ(d->wait_ready(mode::write), poll::ok); });
  TEST_await_parked(*d, mode::write);
  std::string sink(65536, 0);
  while (::recv(s.b, sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
  }
  writer.join();
  ::close(s.b);
}

TEST_P(DescriptorReady, EndsWithDeadlineAndClose) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  int error = 0;
  {
    task reader = w().go([&] { error = d->wait_ready(mode::read); });
    TEST_await_parked(*d, mode::read);
    EXPECT_EQ(d->set_deadline(side::read, 0), poll::ok);
  }
  EXPECT_EQ(error, poll::timed_out);
  raw_send(s.b, "x");
  w().run([&] { EXPECT_EQ(d->wait_ready(mode::read), poll::timed_out); });
  EXPECT_EQ(d->set_deadline(side::read, sched::never), poll::ok);
  w().run([&] { EXPECT_EQ(read_string(*d, 10), "x"); });
  task reader = w().go([&] { error = d->wait_ready(mode::read); });
  TEST_await_parked(*d, mode::read);
  w().run([&] { EXPECT_EQ(d->close(), 0); });
  reader.join();
  EXPECT_EQ(error, poll::closed);
  w().run([&] { EXPECT_EQ(d->wait_ready(mode::write), poll::closed); });
  ::close(s.b);
}

class DescriptorRelease : public io_test {};
WEFT_INSTANTIATE_IO_TEST(DescriptorRelease);

TEST_P(DescriptorRelease, GivesTheNumberAwayUnderAParkedReader) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  int error = 0;
  task reader = w().go([&] { (void)read_string(*d, 10, &error); });
  TEST_await_parked(*d, mode::read);
  int got = -1;
  w().run([&] { got = d->release(); });
  reader.join();
  EXPECT_EQ(error, poll::closed);
  EXPECT_EQ(got, s.a);
  w().run([&] {
    EXPECT_EQ(d->release(), -1);
    EXPECT_EQ(d->close(), poll::closed);
    EXPECT_EQ(d->set_deadline(side::both, 0), poll::closed);
  });
  d.reset();
  // Open, non-blocking, whole; and free to be registered again.
  EXPECT_NE(::fcntl(got, F_GETFL) & O_NONBLOCK, 0);
  raw_send(s.b, "kept");
  auto again = w().open(got, kind::stream);
  w().run([&] { EXPECT_EQ(read_string(*again, 10), "kept"); });
  ::close(s.b);
}

class DescriptorFile : public io_test {};
WEFT_INSTANTIATE_IO_TEST(DescriptorFile);

// covers C52 B41
TEST_P(DescriptorFile, ReadsAndWritesWhereNothingCanBePolled) {
  std::FILE* const temporary = std::tmpfile();
  ASSERT_NE(temporary, nullptr);
  const int fd = ::fcntl(::fileno(temporary), F_DUPFD_CLOEXEC, 0);
  std::fclose(temporary);
  int error = 0;
  EXPECT_EQ(poll::descriptor::open(w().poller(), fd, kind::other, error), nullptr);
  EXPECT_EQ(error, EPERM);
  auto d = w().open(fd, kind::file);
  w().run([&] {
    EXPECT_EQ(write_string(*d, "hello").count, 5u);
    EXPECT_EQ(d->with_fd([](void*, int f) -> long { return ::lseek(f, 0, SEEK_SET); }, nullptr), 0);
    EXPECT_EQ(d->wait_ready(mode::read), poll::ok);
    EXPECT_EQ(read_string(*d, 10), "hello");
    EXPECT_EQ(read_string(*d, 10), "");
    EXPECT_EQ(d->wait_ready(mode::write), poll::ok);
    for (const side of : {side::read, side::write, side::both}) {
      EXPECT_EQ(d->set_deadline(of, sched::now() + 1'000'000), poll::not_pollable);
      EXPECT_EQ(d->set_deadline(of, 0), poll::not_pollable);
    }
    EXPECT_EQ(d->close(), 0);
    EXPECT_EQ(d->set_deadline(side::both, 0), poll::closed);
    int e = 0;
    (void)read_string(*d, 10, &e);
    EXPECT_EQ(e, poll::closed);
  });
}

TEST_P(DescriptorFile, APipeOpenedAsAFileIsPolledAndHasDeadlines) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
  auto d = w().open(fds[0], kind::file);
  int error = 0;
  task reader = w().go([&] { (void)read_string(*d, 10, &error); });
  TEST_await_parked(*d, mode::read);
  EXPECT_EQ(d->set_deadline(side::read, 0), poll::ok);
  reader.join();
  EXPECT_EQ(error, poll::timed_out);
  ::close(fds[1]);
}

// covers E75 L162
TEST_P(DescriptorFile, WritesToAPipeWithoutReaderRaiseNoSignal) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
  auto d = w().open(fds[1], kind::other);
  ::close(fds[0]);
  w().run([&] {
    const iovec parts[] = {{const_cast<char*>("a"), 1}, {const_cast<char*>("b"), 1}};
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(write_string(*d, "x").error, EPIPE);
      EXPECT_EQ(d->writev(parts, 2).error, EPIPE);
    }
  });
  // From this thread, where the signal would kill the program; and one that was pending before is still pending.
  ASSERT_EQ(::signal(SIGPIPE, SIG_DFL), SIG_DFL);
  EXPECT_EQ(write_string(*d, "x").error, EPIPE);
  sigset_t pipe_only, now;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigpending(&now);
  EXPECT_EQ(sigismember(&now, SIGPIPE), 0);
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGPIPE), 0);
  pthread_sigmask(SIG_BLOCK, &pipe_only, nullptr);
  ::raise(SIGPIPE);
  EXPECT_EQ(write_string(*d, "x").error, EPIPE);
  sigpending(&now);
  EXPECT_EQ(sigismember(&now, SIGPIPE), 1);
  const timespec at_once{};
  EXPECT_EQ(::sigtimedwait(&pipe_only, nullptr, &at_once), SIGPIPE);
  pthread_sigmask(SIG_UNBLOCK, &pipe_only, nullptr);
}

}  // namespace
