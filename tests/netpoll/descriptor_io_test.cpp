// Reading and writing, end to end. Every test on plain threads and on 1 to 8 workers.
#include "world.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <numeric>
#include <string>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using poll::kind;
using poll::mode;

class DescriptorIo : public io_test {
 protected:
  // Both ends of a connection as descriptors.
  struct ends {
    poll::descriptor_ptr a;
    poll::descriptor_ptr b;
  };
  ends open(fd_pair p, kind k) { return {w().open(p.a, k), w().open(p.b, k)}; }
};
WEFT_INSTANTIATE_IO_TEST(DescriptorIo);

std::string pattern(std::size_t n) {
  std::string s(n, '\0');
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>((i * 2654435761u) >> 13);
  return s;
}

TEST_P(DescriptorIo, PingPongOverEveryKindOfStream) {
  for (const kind k : {kind::stream, kind::tcp}) {
    ends e = open(k == kind::tcp ? tcp_pair() : unix_pair(), k);
    task echo = w().go([&] {
      for (;;) {
        const std::string s = read_string(*e.b, 100);
        if (s.empty()) break;
        EXPECT_EQ(write_string(*e.b, s).count, s.size());
      }
      EXPECT_EQ(e.b->close(), 0);
    });
    w().run([&] {
      for (int i = 0; i < 500; ++i) {
        const std::string sent = pattern(static_cast<std::size_t>(i % 90) + 1);
        EXPECT_EQ(write_string(*e.a, sent).count, sent.size());
        std::string got;
        while (got.size() < sent.size()) got += read_string(*e.a, 100);
        EXPECT_EQ(got, sent);
      }
      EXPECT_EQ(e.a->shutdown_side(SHUT_WR), 0);
      EXPECT_EQ(read_string(*e.a, 10), "");
    });
  }
}

// covers E77 E78
TEST_P(DescriptorIo, ManyConnectionsAtOnce) {
  constexpr int n = 20;
  std::vector<ends> all;
  std::vector<task> tasks;
  for (int i = 0; i < n; ++i) all.push_back(open(tcp_pair(), kind::tcp));
  for (ends& e : all) {
    tasks.push_back(w().go([&] {
      std::string s;
      while (!(s = read_string(*e.b, 512)).empty()) EXPECT_EQ(write_string(*e.b, s).error, poll::ok);
      EXPECT_EQ(e.b->close(), 0);
    }));
    tasks.push_back(w().go([&] {
      const std::string sent = pattern(512);
      for (int k = 0; k < 100; ++k) {
        EXPECT_EQ(write_string(*e.a, sent).error, poll::ok);
        std::string got;
        while (got.size() < sent.size()) got += read_string(*e.a, 512);
        EXPECT_EQ(got, sent);
      }
      EXPECT_EQ(e.a->close(), 0);
    }));
  }
  tasks.clear();
}

// covers E68
TEST_P(DescriptorIo, EmptyBufferReturnsAtOnce) {
  ends e = open(unix_pair(), kind::stream);
  w().run([&] {
    char c = 0;
    const iovec none[2] = {{&c, 0}, {&c, 0}};
    EXPECT_EQ(e.a->read(&c, 0).error, poll::ok);
    EXPECT_EQ(e.a->readv(none, 2).error, poll::ok);
    EXPECT_EQ(e.a->readv(nullptr, 0).error, poll::ok);
    EXPECT_EQ(e.a->writev(none, 2).count, 0u);
    EXPECT_EQ(e.a->write(&c, 0).error, poll::ok);
  });
}

// covers E69
TEST_P(DescriptorIo, ShutDownSides) {
  ends e = open(tcp_pair(), kind::tcp);
  w().run([&] {
    EXPECT_EQ(write_string(*e.a, "last words").count, 10u);
    EXPECT_EQ(e.a->shutdown_side(SHUT_WR), 0);
    EXPECT_EQ(write_string(*e.a, "x").error, EPIPE);
    EXPECT_EQ(read_string(*e.b, 100), "last words");
    EXPECT_EQ(read_string(*e.b, 100), "");
    EXPECT_EQ(read_string(*e.b, 100), "");
    EXPECT_EQ(write_string(*e.b, "back").count, 4u);
    EXPECT_EQ(read_string(*e.a, 100), "back");
  });
  // Shutting the reading side wakes a parked read.
  task reader = w().go([&] { EXPECT_EQ(read_string(*e.a, 100), ""); });
  TEST_await_parked(*e.a, mode::read);
  EXPECT_EQ(e.a->shutdown_side(SHUT_RD), 0);
  reader.join();
}

// covers E70 E75 A9
TEST_P(DescriptorIo, ResetFailsBothSidesOnceEach) {
  const fd_pair p = tcp_pair();
  auto d = w().open(p.a, kind::tcp);
  int read_error = 0;
  poll::io_result written;
  const std::string much(64 << 20, 'x');
  task reader = w().go([&] { (void)read_string(*d, 100, &read_error); });
  task writer = w().go([&] { written = write_string(*d, much); });
  TEST_await_parked(*d, mode::read);
  TEST_await_parked(*d, mode::write);
  reset_on_close(p.b);
  ::close(p.b);
  reader.join();
  writer.join();
  // The error of the socket is told once, to whoever asks first.
  EXPECT_TRUE(read_error == ECONNRESET || written.error == ECONNRESET) << read_error << ' ' << written.error;
  EXPECT_TRUE(written.error == ECONNRESET || written.error == EPIPE) << written.error;
  EXPECT_LT(written.count, much.size());
}

// covers E75 L162
TEST_P(DescriptorIo, WritingToAClosedPeerIsAnErrorAndNoSignal) {
  for (const kind k : {kind::stream, kind::tcp, kind::other}) {
    const fd_pair p = k == kind::tcp ? tcp_pair() : unix_pair();
    auto d = w().open(p.a, k);
    ::close(p.b);
    w().run([&] {
      int error = 0;
      for (int i = 0; i < 1000 && error == 0; ++i) error = write_string(*d, "x").error;
      EXPECT_TRUE(error == EPIPE || error == ECONNRESET) << error;
      const iovec v[2] = {{const_cast<char*>("ab"), 2}, {const_cast<char*>("c"), 1}};
      EXPECT_EQ(d->writev(v, 2).error, EPIPE);
    });
  }
}

// covers E73 D62
TEST_P(DescriptorIo, BigWriteThroughASlowReaderIsOneCall) {
  for (const kind k : {kind::stream, kind::tcp}) {
    ends e = open(k == kind::tcp ? tcp_pair() : unix_pair(), k);
    const std::string sent = pattern(8 << 20);
    task writer = w().go([&] {
      const poll::io_result r = write_string(*e.a, sent);
      EXPECT_EQ(r.error, poll::ok);
      EXPECT_EQ(r.count, sent.size());
      EXPECT_EQ(e.a->close(), 0);
    });
    std::string got;
    w().run([&] {
      for (std::size_t room = 1;; room = room * 5 % 60'013 + 1) {
        const std::string s = read_string(*e.b, room);
        if (s.empty()) break;
        got += s;
      }
    });
    EXPECT_TRUE(got == sent) << got.size();
  }
}

// covers D62
TEST_P(DescriptorIo, WritesOfManyNeverMix) {
  ends e = open(unix_pair(), kind::stream);
  constexpr std::size_t size = 300'000;
  constexpr int writers = 6;
  std::vector<task> tasks;
  for (int i = 0; i < writers; ++i) {
    tasks.push_back(w().go([&, i] {
      const std::string mine(size, static_cast<char>('a' + i));
      EXPECT_EQ(write_string(*e.a, mine).count, size);
    }));
  }
  std::string got;
  w().run([&] {
    while (got.size() < size * writers) got += read_string(*e.b, 70'001);
  });
  for (int i = 0; i < writers; ++i) {
    const std::size_t at = static_cast<std::size_t>(i) * size;
    EXPECT_EQ(got.substr(at, size), std::string(size, got[at]));
  }
  tasks.clear();
}

// covers D62
TEST_P(DescriptorIo, ReadersShareWithoutLossOrDoubling) {
  ends e = open(unix_pair(), kind::stream);
  constexpr int readers = 4;
  constexpr int total = 20'000;
  std::vector<int> seen[readers];
  std::vector<task> tasks;
  for (auto& mine : seen) {
    tasks.push_back(w().go([&] {
      int value = 0;
      while (e.b->read(&value, sizeof value).count == sizeof value) mine.push_back(value);
    }));
  }
  tasks.push_back(w().go([&] {
    for (int i = 0; i < total; ++i) EXPECT_EQ(e.a->write(&i, sizeof i).count, sizeof i);
    EXPECT_EQ(e.a->shutdown_side(SHUT_WR), 0);
  }));
  tasks.clear();
  std::vector<int> all;
  for (auto& mine : seen) {
    EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(total);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

// covers E79
TEST_P(DescriptorIo, VectorsOfAnyLengthWithEmptyPieces) {
  ends e = open(tcp_pair(), kind::tcp);
  const std::string sent = pattern(3'000'000);
  std::vector<iovec> pieces;
  std::size_t at = 0;
  for (std::size_t n = 0; at < sent.size(); ++n) {
    const std::size_t size = std::min(n % 3 == 0 ? std::size_t{0} : n * 7 % 2000, sent.size() - at);
    pieces.push_back({const_cast<char*>(sent.data()) + at, size});
    at += size;
  }
  ASSERT_GT(pieces.size(), 2500u);
  const std::vector<iovec> before = pieces;
  task writer = w().go([&] {
    const poll::io_result r = e.a->writev(pieces.data(), pieces.size());
    EXPECT_EQ(r.error, poll::ok);
    EXPECT_EQ(r.count, sent.size());
    EXPECT_EQ(e.a->close(), 0);
  });
  std::string got;
  w().run([&] {
    std::string one(3, '\0');
    std::string two(50'000, '\0');
    for (;;) {
      const iovec v[4] = {{one.data(), 0}, {one.data(), one.size()}, {one.data(), 0}, {two.data(), two.size()}};
      const poll::io_result r = e.b->readv(v, 4);
      EXPECT_EQ(r.error, poll::ok);
      if (r.count == 0) break;
      got += one.substr(0, r.count);
      if (r.count > one.size()) got += two.substr(0, r.count - one.size());
    }
  });
  writer.join();
  EXPECT_TRUE(got == sent) << got.size();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    ASSERT_EQ(pieces[i].iov_base, before[i].iov_base);
    ASSERT_EQ(pieces[i].iov_len, before[i].iov_len);
  }
}

TEST_P(DescriptorIo, ReadFullCollectsUntilTheBufferIsFullOrTheStreamEnds) {
  ends e = open(unix_pair(), kind::stream);
  const std::string sent = pattern(1'000'000);
  task writer = w().go([&] {
    EXPECT_EQ(write_string(*e.a, sent).count, sent.size());
    EXPECT_EQ(e.a->close(), 0);
  });
  w().run([&] {
    std::string first(600'000, '\0');
    EXPECT_EQ(e.b->read_full(first.data(), first.size()).count, first.size());
    std::string rest(600'000, '\0');
    const poll::io_result r = e.b->read_full(rest.data(), rest.size());
    EXPECT_EQ(r.error, poll::ok);
    EXPECT_EQ(r.count, 400'000u);
    EXPECT_TRUE(first + rest.substr(0, r.count) == sent);
  });
}

// covers E71 E74
TEST_P(DescriptorIo, DatagramsKeepTheirBounds) {
  ends e = open(unix_pair(SOCK_DGRAM), kind::datagram);
  w().run([&] {
    EXPECT_EQ(write_string(*e.a, "first").count, 5u);
    EXPECT_EQ(write_string(*e.a, "").error, poll::ok);
    const iovec v[2] = {{const_cast<char*>("se"), 2}, {const_cast<char*>("cond"), 4}};
    EXPECT_EQ(e.a->writev(v, 2).count, 6u);
    EXPECT_EQ(read_string(*e.b, 2), "fi");  // the rest of it is gone
    EXPECT_EQ(read_string(*e.b, 100), "");  // the empty one
    EXPECT_EQ(read_string(*e.b, 100), "second");
  });
  const std::string too_big(1 << 24, 'x');
  w().run([&] { EXPECT_EQ(write_string(*e.a, too_big).error, EMSGSIZE); });
}

TEST_P(DescriptorIo, Pipes) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
  ends e = open({fds[0], fds[1]}, kind::other);
  const std::string sent = pattern(1'000'000);
  task writer = w().go([&] {
    EXPECT_EQ(write_string(*e.b, sent).count, sent.size());
    EXPECT_EQ(e.b->close(), 0);
  });
  std::string got;
  w().run([&] {
    std::string s;
    while (!(s = read_string(*e.a, 10'000)).empty()) got += s;
  });
  EXPECT_TRUE(got == sent) << got.size();
}

// covers B22 B23 A6
TEST_P(DescriptorIo, PassedDeadlineFailsThoughDataAndRoomAreThere) {
  ends e = open(unix_pair(), kind::stream);
  poll::poll_desc& pd = TEST_poll_desc_of(*e.a);
  w().run([&] {
    EXPECT_EQ(write_string(*e.b, "data").count, 4u);
    TEST_expire(pd, mode::read);
    for (int i = 0; i < 2; ++i) {
      int error = 0;
      EXPECT_EQ(read_string(*e.a, 10, &error), "");
      EXPECT_EQ(error, poll::timed_out);
    }
    EXPECT_EQ(write_string(*e.a, "x").error, poll::ok);
    TEST_expire(pd, mode::write);
    EXPECT_EQ(write_string(*e.a, "x").error, poll::timed_out);
    TEST_clear(pd, mode::read);
    EXPECT_EQ(read_string(*e.a, 10), "data");
  });
}

// covers B40
TEST_P(DescriptorIo, TimeoutOfAWriteTellsWhatItSent) {
  ends e = open(unix_pair(), kind::stream);
  poll::io_result r;
  const std::string much(16 << 20, 'x');
  task writer = w().go([&] { r = write_string(*e.a, much); });
  TEST_await_parked(*e.a, mode::write);
  TEST_expire(TEST_poll_desc_of(*e.a), mode::write);
  writer.join();
  EXPECT_EQ(r.error, poll::timed_out);
  EXPECT_GT(r.count, 0u);
  EXPECT_LT(r.count, much.size());
}

// covers J140
TEST_P(DescriptorIo, PlainThreadWaitsThoughEveryWorkerSleeps) {
  ends e = open(unix_pair(), kind::stream);
  std::string got;
  std::thread reader([&] { got = read_string(*e.a, 10); });
  TEST_await_parked(*e.a, mode::read);
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  EXPECT_EQ(write_string(*e.b, "x").count, 1u);
  reader.join();
  EXPECT_EQ(got, "x");
}

// covers L162
TEST_P(DescriptorIo, SignalsDisturbNoTransfer) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction old {};
  ASSERT_EQ(::sigaction(SIGUSR2, &action, &old), 0);
  ends e = open(tcp_pair(), kind::tcp);
  const std::string sent = pattern(4 << 20);
  std::atomic<bool> done{false};
  std::thread shooter([&] {
    while (!done) {
      ::kill(::getpid(), SIGUSR2);
      std::this_thread::yield();
    }
  });
  task writer = w().go([&] {
    EXPECT_EQ(write_string(*e.a, sent).count, sent.size());
    EXPECT_EQ(e.a->close(), 0);
  });
  std::string got;
  w().run([&] {
    std::string s;
    while (!(s = read_string(*e.b, 100'000)).empty()) got += s;
  });
  writer.join();
  done = true;
  shooter.join();
  EXPECT_TRUE(got == sent) << got.size();
  ::sigaction(SIGUSR2, &old, nullptr);
}

}  // namespace
