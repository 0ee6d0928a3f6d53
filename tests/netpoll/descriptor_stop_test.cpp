// Stop requests to fibers that are in a call.
#include "world.hpp"

#include <atomic>
#include <string>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using poll::kind;
using poll::mode;

class DescriptorStop : public io_test {};
INSTANTIATE_TEST_SUITE_P(All, DescriptorStop, ::testing::Values(1u, 2u, 4u, 8u), name_of_workers);

TEST_P(DescriptorStop, EndsAParkedReadAndLosesNoData) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  int error = 0;
  task reader = w().go([&] { (void)read_string(*d, 10, &error); });
  TEST_await_parked(*d, mode::read);
  reader.request_stop();
  reader.join();
  EXPECT_EQ(error, poll::canceled);
  raw_send(s.b, "kept");
  w().run([&] { EXPECT_EQ(read_string(*d, 10), "kept"); });
  ::close(s.b);
}

TEST_P(DescriptorStop, EndsAParkedWriteWhichTellsWhatItSent) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  const std::string much(16 << 20, 'x');
  poll::io_result r;
  task writer = w().go([&] { r = write_string(*d, much); });
  TEST_await_parked(*d, mode::write);
  writer.request_stop();
  writer.join();
  EXPECT_EQ(r.error, poll::canceled);
  EXPECT_GT(r.count, 0u);
  EXPECT_LT(r.count, much.size());
  ::close(s.b);
}

TEST_P(DescriptorStop, EndsAWaitForTheDirection) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  std::string got;
  int error = 0;
  int later_error = -100;
  task holder = w().go([&] { got = read_string(*d, 1); });
  TEST_await_parked(*d, mode::read);
  task queued = w().go([&] { (void)read_string(*d, 1, &error); });
  TEST_await_queued(*d, mode::read, 1);
  task behind = w().go([&] { (void)read_string(*d, 1, &later_error); });
  TEST_await_queued(*d, mode::read, 2);
  queued.request_stop();
  queued.join();
  EXPECT_EQ(error, poll::canceled);
  raw_send(s.b, "xy");
  holder.join();
  behind.join();
  EXPECT_EQ(got, "x");
  EXPECT_EQ(later_error, poll::ok);
  ::close(s.b);
}

TEST_P(DescriptorStop, StandsForEveryLaterCallButClose) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  raw_send(s.b, "kept");
  std::atomic<bool> go{false};
  task t = w().go([&] {
    while (!go) sched::yield();
    int error = 0;
    EXPECT_EQ(read_string(*d, 10, &error), "");
    EXPECT_EQ(error, poll::canceled);
    EXPECT_EQ(d->read(&error, 0).error, poll::canceled);
    EXPECT_EQ(write_string(*d, "x").error, poll::canceled);
    EXPECT_EQ(d->accept(nullptr, nullptr).error, poll::canceled);
    EXPECT_EQ(d->finish_connect(), poll::canceled);
    EXPECT_EQ(d->with_fd([](void*, int) { return 7l; }, nullptr), 7);
    EXPECT_EQ(d->close(), 0);
  });
  t.request_stop();
  go = true;
  t.join();
  ::close(s.b);
}

TEST_P(DescriptorStop, CloseInAStoppedFiberStillWaits) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  std::atomic<bool>* flags[2] = {&inside, &leave};
  std::thread user([&] {
    d->with_fd(
        [](void* context, int) -> long {
          auto** f = static_cast<std::atomic<bool>**>(context);
          *f[0] = true;
          while (!*f[1]) std::this_thread::yield();
          return 0;
        },
        flags);
  });
  while (!inside) std::this_thread::yield();
  std::atomic<bool> closed{false};
  task closer = w().go([&] {
    EXPECT_EQ(d->close(), 0);
    closed = true;
  });
  while (poll::open_file::of(*d).released.load() <= 1) std::this_thread::yield();
  closer.request_stop();
  EXPECT_FALSE(closed);
  leave = true;
  user.join();
  closer.join();
  EXPECT_TRUE(closed);
  ::close(s.b);
}

// A stop that races with data: either the bytes were returned, or they are still in the socket.
// covers E78
TEST_P(DescriptorStop, RacingWithDataNeverLosesBytes) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  const int rounds = 1000 * static_cast<int>(scale());
  int stopped = 0;
  for (int i = 0; i < rounds; ++i) {
    std::string got;
    int error = 0;
    task reader = w().go([&] { got = read_string(*d, 10, &error); });
    task writer = w().go([&] { raw_send(s.b, "x"); });
    if (i % 2 == 0) writer.join();
    reader.request_stop();
    reader.join();
    writer.join();
    if (error == poll::canceled) {
      ++stopped;
      EXPECT_EQ(got, "");
      w().run([&] { got = read_string(*d, 10); });
    }
    ASSERT_EQ(got, "x");
  }
  RecordProperty("stopped", stopped);
  ::close(s.b);
}

// T3 of the queue and the gate together: everybody is stopped at some point, nobody hangs, the lock survives.
TEST_P(DescriptorStop, StormOfStopsInTheQueue) {
  const fd_pair s = unix_pair();
  auto d = w().open(s.a, kind::stream);
  const int rounds = 100 * static_cast<int>(scale());
  for (int i = 0; i < rounds; ++i) {
    std::atomic<int> ended{0};
    std::vector<task> tasks;
    for (int k = 0; k < 8; ++k) {
      tasks.push_back(w().go([&] {
        int error = 0;
        (void)read_string(*d, 1, &error);
        EXPECT_TRUE(error == poll::canceled || error == poll::ok) << error;
        ++ended;
      }));
    }
    raw_send(s.b, "abc");
    for (std::size_t k = 0; k < tasks.size(); ++k)
      tasks[(k * 5 + static_cast<std::size_t>(i)) % tasks.size()].request_stop();
    tasks.clear();
    EXPECT_EQ(ended.load(), 8);
    char rest[8];
    while (::read(s.a, rest, sizeof rest) > 0) {
    }
  }
  EXPECT_EQ(poll::open_file::of(*d).mutex.peek(), 0u);
  ::close(s.b);
}

}  // namespace
