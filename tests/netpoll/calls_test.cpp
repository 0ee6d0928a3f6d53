// What a call costs and survives: the system calls behind a read, which of them may not be left out, errors injected
// into them, and allocations. This program replaces some of libc's functions by ones that count.
#include "world.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include <sys/syscall.h>
#include <sys/uio.h>

namespace {

std::atomic<int> watched{-1};
std::atomic<int> reads{0};
std::atomic<int> accepts{0};
std::atomic<int> inject_accept{0};
std::atomic<int> inject_read{0};
std::atomic<int> closes{0};
std::atomic<int> inject_close{0};
[[maybe_unused]] std::atomic<long> allocations{0};

}  // namespace

// Sanitizers have an operator new of their own; the one test that counts allocations is left out there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_COUNT_ALLOCATIONS 0
#elif defined(__has_feature)
#define WEFT_COUNT_ALLOCATIONS (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define WEFT_COUNT_ALLOCATIONS 1
#endif

#if WEFT_COUNT_ALLOCATIONS
// noinline: compilers compare the pairs they see, and would find malloc beside delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size != 0 ? size : 1)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

extern "C" ssize_t read(int fd, void* data, size_t size) {
  if (fd == watched.load()) {
    ++reads;
    if (const int e = inject_read.exchange(0)) {
      errno = e;
      return -1;
    }
  }
  return ::syscall(SYS_read, fd, data, size);
}

extern "C" int accept4(int fd, sockaddr* peer, socklen_t* size, int flags) {
  if (fd == watched.load()) {
    ++accepts;
    if (const int e = inject_accept.exchange(0)) {
      errno = e;
      return -1;
    }
  }
  return static_cast<int>(::syscall(SYS_accept4, fd, peer, size, flags));
}

extern "C" int close(int fd) {
  const int r = static_cast<int>(::syscall(SYS_close, fd));
  if (fd == watched.load()) {
    ++closes;
    if (const int e = inject_close.exchange(0)) {
      errno = e;
      return -1;
    }
  }
  return r;
}

namespace {

using namespace weft;
using namespace weft::testing;
using poll::kind;
using poll::mode;

class ReadCalls : public io_test {
 protected:
  void SetUp() override {
    io_test::SetUp();
    s = tcp_pair();
    d = w().open(s.a, kind::tcp);
    watched = s.a;
    reads = 0;
  }
  void TearDown() override {
    watched = -1;
    d.reset();
    ::close(s.b);
    io_test::TearDown();
  }
  // next starts a read, gives it its data once it has parked, and returns what it read.
  std::string next_parked(std::string_view bytes, std::size_t room = 100, int flags = 0) {
    std::string got;
    task reader = w().go([&] { got = read_string(*d, room); });
    TEST_await_parked(*d, mode::read);
    raw_send(s.b, bytes, flags);
    reader.join();
    return got;
  }
  bool drained() { return poll::open_file::of(*d).drained; }

  fd_pair s;
  poll::descriptor_ptr d;
};
WEFT_INSTANTIATE_IO_TEST(ReadCalls);

TEST_P(ReadCalls, OneReadPerRequestAfterAShortOne) {
  EXPECT_EQ(next_parked("first"), "first");
  EXPECT_LE(reads, 2);  // asked, parked, read
  for (int i = 0; i < 20; ++i) {
    reads = 0;
    EXPECT_EQ(next_parked("again"), "again");
    EXPECT_EQ(reads, 1);
  }
  // Data that came before the read began costs one as well.
  for (int i = 0; i < 20; ++i) {
    reads = 0;
    raw_send(s.b, "early");
    w().run([&] { EXPECT_EQ(read_string(*d, 100), "early"); });
    EXPECT_LE(reads, 2);
  }
}

TEST_P(ReadCalls, ReadThatFilledItsBufferIsFollowedByATry) {
  raw_send(s.b, "0123456789");
  w().run([&] {
    EXPECT_EQ(read_string(*d, 5), "01234");
    EXPECT_FALSE(drained());
    EXPECT_EQ(read_string(*d, 5), "56789");
    EXPECT_FALSE(drained());
  });
  EXPECT_EQ(next_parked("x"), "x");
  EXPECT_TRUE(drained());
}

TEST_P(ReadCalls, ShortVectorReadCountsAll) {
  char a[4];
  char b[4];
  const iovec v[2] = {{a, 4}, {b, 4}};
  raw_send(s.b, "123456");
  w().run([&] { EXPECT_EQ(d->readv(v, 2).count, 6u); });
  EXPECT_TRUE(drained());
  raw_send(s.b, "12345678");
  w().run([&] { EXPECT_EQ(d->readv(v, 2).count, 8u); });
  EXPECT_FALSE(drained());
}

// The end of the stream comes with the last bytes: one edge for both.
TEST_P(ReadCalls, EndOfStreamThatRidesWithTheLastBytesIsFound) {
  EXPECT_EQ(next_parked("x"), "x");
  EXPECT_TRUE(drained());
  const int cork = 1;
  ASSERT_EQ(::setsockopt(s.b, IPPROTO_TCP, TCP_CORK, &cork, sizeof cork), 0);
  std::string got;
  task reader = w().go([&] { got = read_string(*d, 100); });
  TEST_await_parked(*d, mode::read);
  raw_send(s.b, "last");
  ::shutdown(s.b, SHUT_WR);
  reader.join();
  EXPECT_EQ(got, "last");
  w().run([&] { EXPECT_EQ(read_string(*d, 100), ""); });
}

// A read stops at urgent data, so that a short one doesn't mean empty.
TEST_P(ReadCalls, DataBehindAnUrgentByteIsFound) {
  EXPECT_EQ(next_parked("x"), "x");
  EXPECT_TRUE(drained());
  raw_send(s.b, "before");
  raw_send(s.b, "u", MSG_OOB);
  raw_send(s.b, "after");
  std::string got;
  w().run([&] {
    while (got.size() < 11) got += read_string(*d, 100);
  });
  EXPECT_EQ(got, "beforeafter");
}

// With a low-water mark the system wakes nobody for a few bytes, but a read returns them.
TEST_P(ReadCalls, LowWaterMarkSetThroughTheNumber) {
  EXPECT_EQ(next_parked("x"), "x");
  EXPECT_TRUE(drained());
  const auto set = [](void* value, int fd) -> long {
    return ::setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, value, sizeof(int));
  };
  int mark = 10;
  EXPECT_EQ(d->with_fd(set, &mark), 0);
  for (int i = 0; i < 3; ++i) {
    raw_send(s.b, "few");
    // It is there as soon as the system says so to anybody.
    int there = 0;
    while (there < 3) {
      char peeked[8];
      there = static_cast<int>(::recv(s.a, peeked, sizeof peeked, MSG_PEEK | MSG_DONTWAIT));
    }
    w().run([&] { EXPECT_EQ(read_string(*d, 100), "few"); });
    EXPECT_FALSE(drained());
  }
}

TEST_P(ReadCalls, UseOfTheNumberMakesTheNextReadTryFirst) {
  EXPECT_EQ(next_parked("x"), "x");
  EXPECT_TRUE(drained());
  d->with_fd([](void*, int) { return 0l; }, nullptr);
  reads = 0;
  EXPECT_EQ(next_parked("y"), "y");
  EXPECT_EQ(reads, 2);
  reads = 0;
  EXPECT_EQ(next_parked("z"), "z");
  EXPECT_EQ(reads, 1);
}

TEST_P(ReadCalls, ParkingFirstStillSeesDeadlineAndClose) {
  EXPECT_EQ(next_parked("x"), "x");
  EXPECT_TRUE(drained());
  raw_send(s.b, "there");
  TEST_expire(TEST_poll_desc_of(*d), mode::read);
  int error = 0;
  w().run([&] { (void)read_string(*d, 10, &error); });
  EXPECT_EQ(error, poll::timed_out);
  TEST_clear(TEST_poll_desc_of(*d), mode::read);
  w().run([&] { EXPECT_EQ(read_string(*d, 10), "there"); });
  EXPECT_TRUE(drained());
  task reader = w().go([&] { (void)read_string(*d, 10, &error); });
  TEST_await_parked(*d, mode::read);
  w().run([&] { EXPECT_EQ(d->close(), 0); });
  reader.join();
  EXPECT_EQ(error, poll::closed);
}

TEST_P(ReadCalls, NothingButTcpParksFirst) {
  for (const kind k : {kind::stream, kind::other}) {
    const fd_pair p = unix_pair();
    auto other = w().open(p.a, k);
    raw_send(p.b, "x");
    w().run([&] { EXPECT_EQ(read_string(*other, 10), "x"); });
    EXPECT_FALSE(poll::open_file::of(*other).drained);
    ::close(p.b);
  }
}

// covers L162
TEST_P(ReadCalls, InterruptedReadIsRepeated) {
  raw_send(s.b, "x");
  inject_read = EINTR;
  w().run([&] { EXPECT_EQ(read_string(*d, 10), "x"); });
  EXPECT_EQ(reads, 2);
}

// covers D65
TEST_P(ReadCalls, InterruptedCloseIsNotRepeated) {
  closes = 0;
  inject_close = EINTR;
  w().run([&] { EXPECT_EQ(d->close(), EINTR); });
  EXPECT_EQ(closes, 1);
}

#if WEFT_COUNT_ALLOCATIONS
// covers E78
TEST_P(ReadCalls, NothingIsAllocatedPerReadWriteOrPark) {
  auto peer = w().open(s.b, kind::tcp);
  std::atomic<long> used{-1};
  task echo = w().go([&] {
    char c;
    while (peer->read(&c, 1).count == 1) EXPECT_EQ(peer->write(&c, 1).count, 1u);
  });
  w().run([&] {
    char c = 'x';
    long before = 0;
    for (int i = 0; i < 400; ++i) {
      if (i == 200) before = allocations.load();
      EXPECT_EQ(d->write(&c, 1).count, 1u);
      EXPECT_EQ(d->read(&c, 1).count, 1u);
    }
    used = allocations.load() - before;
    EXPECT_EQ(d->close(), 0);
  });
  echo.join();
  EXPECT_LT(used.load(), 50) << "in 200 rounds; workers that start meanwhile may need a little";
  peer.reset();
  s.b = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // for TearDown
}
#endif

class AcceptCalls : public io_test {};
WEFT_INSTANTIATE_IO_TEST(AcceptCalls);

// covers F85
TEST_P(AcceptCalls, ConnectionsAbortedInTheQueueAreSkipped) {
  const loopback_listener l = listen_loopback();
  auto d = w().open(l.fd, kind::listener);
  watched = l.fd;
  for (const int e : {ECONNABORTED, EPROTO, EINTR}) {
    const int fd = connect_loopback(l.address);
    inject_accept = e;
    accepts = 0;
    w().run([&] {
      const auto a = d->accept(nullptr, nullptr);
      EXPECT_EQ(a.error, poll::ok);
      ::close(a.fd);
    });
    EXPECT_EQ(accepts, 2);
    ::close(fd);
  }
  for (const int e : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
    const int fd = connect_loopback(l.address);
    inject_accept = e;
    w().run([&] {
      EXPECT_EQ(d->accept(nullptr, nullptr).error, e);
      const auto a = d->accept(nullptr, nullptr);  // still queued
      EXPECT_EQ(a.error, poll::ok);
      ::close(a.fd);
    });
    ::close(fd);
  }
  watched = -1;
}

}  // namespace
