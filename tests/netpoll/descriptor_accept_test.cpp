// Accepting and connecting, end to end. Every test on plain threads and on 1 to 8 workers.
#include "world.hpp"

#include <atomic>
#include <string>
#include <vector>

#include <sys/resource.h>

namespace {

using namespace weft;
using namespace weft::testing;
using poll::kind;
using poll::mode;

class DescriptorAccept : public io_test {};
WEFT_INSTANTIATE_IO_TEST(DescriptorAccept);

// covers F84
TEST_P(DescriptorAccept, ManyAcceptorsServeManyDialsAndCloseEndsThemAll) {
  const loopback_listener l = listen_loopback();
  auto d = w().open(l.fd, kind::listener);
  std::atomic<int> served{0};
  std::atomic<int> ended{0};
  std::vector<task> acceptors;
  for (int i = 0; i < 10; ++i) {
    acceptors.push_back(w().go([&] {
      for (;;) {
        const auto a = d->accept(nullptr, nullptr);
        if (a.error != poll::ok) {
          EXPECT_EQ(a.error, poll::closed);
          ++ended;
          return;
        }
        auto c = w().open(a.fd, kind::tcp);
        EXPECT_EQ(write_string(*c, "hello").count, 5u);
        EXPECT_EQ(c->close(), 0);
        ++served;
      }
    }));
  }
  for (int i = 0; i < 100; ++i) {
    const int fd = connect_loopback(l.address);
    auto c = w().open(fd, kind::tcp);
    w().run([&] { EXPECT_EQ(read_string(*c, 10), "hello"); });
  }
  EXPECT_EQ(d->close(), 0);
  acceptors.clear();
  EXPECT_EQ(served.load(), 100);
  EXPECT_EQ(ended.load(), 10);
}

// One edge may stand for several connections: whoever gets one lets the next acceptor try.
TEST_P(DescriptorAccept, BurstWakesQueuedAcceptorsOneAfterAnother) {
  const loopback_listener l = listen_loopback();
  auto d = w().open(l.fd, kind::listener);
  std::atomic<int> served{0};
  for (int round = 0; round < 20; ++round) {
    served = 0;
    std::vector<task> acceptors;
    for (int i = 0; i < 6; ++i) {
      acceptors.push_back(w().go([&] {
        const auto a = d->accept(nullptr, nullptr);
        EXPECT_EQ(a.error, poll::ok);
        ::close(a.fd);
        ++served;
      }));
    }
    TEST_await_parked(*d, mode::read);
    TEST_await_queued(*d, mode::read, 5);
    int fds[6];
    for (int& fd : fds) fd = connect_loopback(l.address);
    acceptors.clear();
    EXPECT_EQ(served.load(), 6);
    for (const int fd : fds) ::close(fd);
  }
}

TEST_P(DescriptorAccept, GivesTheAddressOfThePeerAndANonBlockingSocket) {
  const loopback_listener l = listen_loopback();
  auto d = w().open(l.fd, kind::listener);
  const int fd = connect_loopback(l.address);
  sockaddr_in mine{};
  socklen_t size = sizeof mine;
  ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&mine), &size), 0);
  w().run([&] {
    sockaddr_in peer{};
    unsigned peer_size = sizeof peer;
    const auto a = d->accept(reinterpret_cast<sockaddr*>(&peer), &peer_size);
    EXPECT_EQ(a.error, poll::ok);
    EXPECT_EQ(peer_size, sizeof peer);
    EXPECT_EQ(peer.sin_port, mine.sin_port);
    EXPECT_NE(::fcntl(a.fd, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(a.fd, F_GETFD) & FD_CLOEXEC, 0);
    ::close(a.fd);
  });
  ::close(fd);
}

// covers B24
TEST_P(DescriptorAccept, PassedDeadlineFailsThoughAConnectionIsQueued) {
  const loopback_listener l = listen_loopback();
  auto d = w().open(l.fd, kind::listener);
  const int fd = connect_loopback(l.address);
  TEST_expire(TEST_poll_desc_of(*d), mode::read);
  w().run([&] { EXPECT_EQ(d->accept(nullptr, nullptr).error, poll::timed_out); });
  TEST_clear(TEST_poll_desc_of(*d), mode::read);
  w().run([&] {
    const auto a = d->accept(nullptr, nullptr);
    EXPECT_EQ(a.error, poll::ok);
    ::close(a.fd);
  });
  ::close(fd);
}

// covers F86
TEST_P(DescriptorAccept, WithoutDescriptorsItReturnsAndTheConnectionStaysQueued) {
  const loopback_listener l = listen_loopback();
  auto d = w().open(l.fd, kind::listener);
  const int fd = connect_loopback(l.address);
  w().run([&] {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit none = before;
    none.rlim_cur = 0;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto refused = d->accept(nullptr, nullptr);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(refused.error, EMFILE);
    const auto a = d->accept(nullptr, nullptr);
    EXPECT_EQ(a.error, poll::ok);
    ::close(a.fd);
  });
  ::close(fd);
}

// covers C54
TEST_P(DescriptorAccept, ConnectIsFinished) {
  const loopback_listener l = listen_loopback();
  for (int i = 0; i < 50; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int r = ::connect(fd, reinterpret_cast<const sockaddr*>(&l.address), sizeof l.address);
    EXPECT_TRUE(r == 0 || errno == EINPROGRESS);
    auto d = w().open(fd, kind::tcp);
    w().run([&] { EXPECT_EQ(d->finish_connect(), poll::ok); });
    const int accepted = ::accept4(l.fd, nullptr, nullptr, SOCK_CLOEXEC);
    EXPECT_GE(accepted, 0);
    ::close(accepted);
  }
  ::close(l.fd);
}

// covers F88 A9
TEST_P(DescriptorAccept, RefusedConnectTellsWhy) {
  const loopback_listener l = listen_loopback();
  ::close(l.fd);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&l.address), sizeof l.address), -1);
  if (errno == EINPROGRESS) {
    auto d = w().open(fd, kind::tcp);
    w().run([&] { EXPECT_EQ(d->finish_connect(), ECONNREFUSED); });
  } else {
    EXPECT_EQ(errno, ECONNREFUSED);
    ::close(fd);
  }
}

// covers F90
TEST_P(DescriptorAccept, SpuriousWritabilityIsNoConnection) {
  // A full backlog keeps the connect in the air.
  const loopback_listener l = listen_loopback(0);
  std::vector<int> pending;
  int fd = -1;
  for (int i = 0; i < 10; ++i) {
    fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)::connect(fd, reinterpret_cast<const sockaddr*>(&l.address), sizeof l.address);
    pending.push_back(fd);
  }
  auto d = w().open(pending.back(), kind::tcp);
  pending.pop_back();
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  ASSERT_EQ(::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size), -1) << "the backlog took it";
  int result = -100;
  task dialer = w().go([&] { result = d->finish_connect(); });
  poll::poll_desc& pd = TEST_poll_desc_of(*d);
  for (int i = 0; i < 20; ++i) {
    TEST_await_parked(pd, mode::write);
    sched::ready_list list;
    poll::netpollready(list, pd, false, true);
    ASSERT_EQ(list.count, 1u);
    sched::ready(list.items[0]);
    w().poller()->delivered(1);
  }
  TEST_await_parked(pd, mode::write);
  EXPECT_EQ(result, -100);
  TEST_expire(pd, mode::write);
  dialer.join();
  EXPECT_EQ(result, poll::timed_out);
  for (const int other : pending) ::close(other);
  ::close(l.fd);
}

}  // namespace
