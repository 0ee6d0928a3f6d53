// Closing, and who may be inside meanwhile. Every test on plain threads and on 1 to 8 workers.
#include "world.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using poll::kind;
using poll::mode;

class DescriptorClose : public io_test {};
WEFT_INSTANTIATE_IO_TEST(DescriptorClose);

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

// covers D57 A3
TEST_P(DescriptorClose, WakesAParkedReadAndReleasesTheNumber) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  int error = 0;
  task reader = w().go([&] { (void)read_string(*d, 10, &error); });
  TEST_await_parked(*d, mode::read);
  w().run([&] { EXPECT_EQ(d->close(), 0); });
  EXPECT_FALSE(is_open(s.a));
  reader.join();
  EXPECT_EQ(error, poll::closed);
  ::close(s.b);
}

// covers D58 A3
TEST_P(DescriptorClose, WakesAParkedWriteWhichTellsWhatItSent) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  poll::io_result result;
  const std::string much(16 << 20, 'x');
  task writer = w().go([&] { result = write_string(*d, much); });
  TEST_await_parked(*d, mode::write);
  w().run([&] { EXPECT_EQ(d->close(), 0); });
  EXPECT_FALSE(is_open(s.a));
  writer.join();
  EXPECT_EQ(result.error, poll::closed);
  EXPECT_GT(result.count, 0u);
  EXPECT_LT(result.count, much.size());
  ::close(s.b);
}

// covers D59
TEST_P(DescriptorClose, WakesEverybodyWhoQueuesForADirection) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  fill(s.a);
  std::atomic<int> refused{0};
  std::vector<task> tasks;
  for (int i = 0; i < 5; ++i) {
    tasks.push_back(w().go([&] {
      int error = 0;
      (void)read_string(*d, 10, &error);
      if (error == poll::closed) ++refused;
    }));
    tasks.push_back(w().go([&] {
      if (write_string(*d, "x").error == poll::closed) ++refused;
    }));
  }
  TEST_await_parked(*d, mode::read);
  TEST_await_parked(*d, mode::write);
  TEST_await_queued(*d, mode::read, 4);
  TEST_await_queued(*d, mode::write, 4);
  w().run([&] { EXPECT_EQ(d->close(), 0); });
  EXPECT_FALSE(is_open(s.a));
  tasks.clear();
  EXPECT_EQ(refused.load(), 10);
  ::close(s.b);
}

// covers D60 F87
TEST_P(DescriptorClose, SecondCloseTouchesNothingAndLaterCallsRefuse) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  w().run([&] {
    EXPECT_EQ(d->close(), 0);
    const int reused = ::fcntl(s.b, F_DUPFD_CLOEXEC, s.a);
    EXPECT_EQ(reused, s.a);
    EXPECT_EQ(d->close(), poll::closed);
    EXPECT_TRUE(is_open(reused));
    char c = 0;
    const iovec v{&c, 1};
    EXPECT_EQ(d->read(&c, 1).error, poll::closed);
    EXPECT_EQ(d->read(&c, 0).error, poll::closed);
    EXPECT_EQ(d->readv(&v, 1).error, poll::closed);
    EXPECT_EQ(d->write(&c, 1).error, poll::closed);
    EXPECT_EQ(d->writev(&v, 1).error, poll::closed);
    EXPECT_EQ(d->accept(nullptr, nullptr).error, poll::closed);
    EXPECT_EQ(d->finish_connect(), poll::closed);
    EXPECT_EQ(d->shutdown_side(SHUT_RDWR), poll::closed);
    EXPECT_EQ(d->with_fd([](void*, int) { return 5l; }, nullptr), poll::closed);
    ::close(reused);
  });
  ::close(s.b);
}

TEST_P(DescriptorClose, WaitsForCallsThatHaveTheNumber) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  struct shared {
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    int number = -1;
  } x;
  std::atomic<bool> closed{false};
  // A plain thread in any case, since it blocks.
  std::thread user([&] {
    const long r = d->with_fd(
        [](void* context, int fd) -> long {
          auto& y = *static_cast<shared*>(context);
          y.number = fd;
          y.inside = true;
          while (!y.leave) std::this_thread::yield();
          return is_open(fd) ? 1 : 0;
        },
        &x);
    EXPECT_EQ(r, 1);
  });
  while (!x.inside) std::this_thread::yield();
  task closer = w().go([&] {
    EXPECT_EQ(d->close(), 0);
    closed = true;
  });
  while ((poll::open_file::of(*d).mutex.peek() & poll::fd_mutex::closed_bit) == 0) std::this_thread::yield();
  while (poll::open_file::of(*d).released.load() <= 1) std::this_thread::yield();  // parked
  EXPECT_FALSE(closed);
  EXPECT_TRUE(is_open(x.number));
  x.leave = true;
  user.join();
  closer.join();
  EXPECT_FALSE(is_open(x.number));
  ::close(s.b);
}

TEST_P(DescriptorClose, DestroyingTheHandleWakesAndDoesNotWait) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  poll::descriptor& ref = *d;
  std::atomic<int> ended{0};
  std::vector<task> tasks;
  for (int i = 0; i < 3; ++i) {
    tasks.push_back(w().go([&] {
      int error = 0;
      (void)read_string(ref, 10, &error);
      EXPECT_EQ(error, poll::closed);
      ++ended;
    }));
  }
  TEST_await_parked(ref, mode::read);
  TEST_await_queued(ref, mode::read, 2);
  d.reset();
  tasks.clear();
  EXPECT_EQ(ended.load(), 3);
  EXPECT_FALSE(is_open(s.a));
  ::close(s.b);
}

// The last user of the number is not the closer: the closer waits for it.
TEST_P(DescriptorClose, ManyClosersOneWins) {
  for (int round = 0; round < 50; ++round) {
    const fd_pair s = unix_pair();
    auto d = w().open(s.a, kind::stream);
    std::atomic<int> won{0};
    {
      std::vector<task> tasks;
      for (int i = 0; i < 4; ++i) {
        tasks.push_back(w().go([&, i] {
          if (i % 2 == 0) {
            int error = 0;
            (void)read_string(*d, 10, &error);
            EXPECT_EQ(error, poll::closed);
          }
          if (d->close() == 0) ++won;
        }));
      }
      tasks.push_back(w().go([&] {
        if (d->close() == 0) ++won;
      }));
    }
    EXPECT_EQ(won.load(), 1);
    ::close(s.b);
  }
}

// covers D61 D64
// Everybody works on descriptors that are closed and reopened under them. Each pair has its own letter; a letter that
// turns up on another pair was sent or received through a number that had changed its owner.
TEST_P(DescriptorClose, NumbersAreNeverReusedUnderACall) {
  constexpr int slots = 3;
  const int rounds = 150 * static_cast<int>(scale());
  for (int round = 0; round < rounds; ++round) {
    fd_pair pairs[slots];
    poll::descriptor_ptr ds[slots];
    for (int i = 0; i < slots; ++i) {
      pairs[i] = unix_pair();
      ds[i] = w().open(pairs[i].a, kind::stream);
      raw_send(pairs[i].b, std::string(64, static_cast<char>('a' + i)));
    }
    std::atomic<bool> go{false};
    std::vector<task> tasks;
    for (int i = 0; i < slots; ++i) {
      tasks.push_back(w().go([&, i] {
        while (!go) sched::yield();
        char c = 0;
        while (ds[i]->read(&c, 1).count == 1) EXPECT_EQ(c, 'a' + i);
      }));
      tasks.push_back(w().go([&, i] {
        while (!go) sched::yield();
        const std::string mine(8, static_cast<char>('a' + i));
        while (write_string(*ds[i], mine).error == poll::ok) sched::yield();
      }));
      tasks.push_back(w().go([&, i] {
        while (!go) sched::yield();
        for (int k = 0; k < (round + i) % 7; ++k) sched::yield();
        EXPECT_EQ(ds[i]->close(), 0);
        // Whoever gets the freed number next must not hear from the old users.
        fd_pair fresh = unix_pair();
        for (int k = 0; k < 5; ++k) sched::yield();
        char c;
        EXPECT_EQ(::read(fresh.a, &c, 1), -1);
        EXPECT_EQ(::read(fresh.b, &c, 1), -1);
        ::close(fresh.a);
        ::close(fresh.b);
      }));
    }
    go = true;
    tasks.clear();
    for (int i = 0; i < slots; ++i) {
      std::string got(1 << 16, '\0');
      ssize_t n;
      while ((n = ::read(pairs[i].b, got.data(), got.size())) > 0) {
        EXPECT_EQ(std::count(got.begin(), got.begin() + n, 'a' + i), n);
      }
      ::close(pairs[i].b);
    }
  }
}

// covers D66
TEST_P(DescriptorClose, PinningRacesWithClose) {
  for (int round = 0; round < 200; ++round) {
    const fd_pair s = unix_pair();
    auto d = w().open(s.a, kind::stream);
    task copier = w().go([&] {
      const long copy = d->with_fd([](void*, int fd) -> long { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); }, nullptr);
      if (copy != poll::closed) {
        EXPECT_GE(copy, 0);
        ::close(static_cast<int>(copy));
      }
    });
    task closer = w().go([&] { EXPECT_EQ(d->close(), 0); });
    copier.join();
    closer.join();
    ::close(s.b);
  }
}

// A poller that goes away takes everybody's waits with it, and refuses the rest.
TEST_P(DescriptorClose, ShutdownOfThePollerEndsAllWaits) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  raw_send(s.b, "x");
  EXPECT_EQ(read_string(*d, 10), "x");
  int error = 0;
  task reader = w().go([&] { (void)read_string(*d, 10, &error); });
  TEST_await_parked(*d, mode::read);
  w().poller()->shutdown();
  reader.join();
  EXPECT_EQ(error, poll::closed);
  raw_send(s.b, "x");
  w().run([&] {
    (void)read_string(*d, 10, &error);
    EXPECT_EQ(error, poll::closed);
    EXPECT_EQ(write_string(*d, "x").error, poll::closed);
    EXPECT_EQ(d->accept(nullptr, nullptr).error, poll::closed);
    EXPECT_EQ(d->close(), 0);
  });
  EXPECT_FALSE(is_open(s.a));
  ::close(s.b);
}

TEST_P(DescriptorClose, DescriptorOutlivesItsWorld) {
  const fd_pair s = unix_pair();
  poll::descriptor_ptr d;
  {
    world other(GetParam());
    d = other.open(s.a, kind::stream);
    other.poller()->shutdown();
    d->with_fd([](void*, int) { return 0l; }, nullptr);
    int error = 0;
    (void)read_string(*d, 1, &error);
    EXPECT_EQ(error, poll::closed);
    // The world checks that no slot is left, so the handle goes with it, but for the last reference to its memory.
    EXPECT_EQ(d->close(), 0);
  }
  EXPECT_EQ(d->close(), poll::closed);
  d.reset();
  ::close(s.b);
}

}  // namespace
