// The large programs: a million fibers in a chain, skynet, the prime sieve; and everything at once against models.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::sanitized;
using testing_support::scaled;
using weft::channel;

// Sanitizers keep too much of each fiber.
int many(int count) { return sanitized ? std::min(scaled(count), 2'000) : scaled(count); }

weft::runtime_options small_stacks() {
  weft::runtime_options options;
  options.stack_size = 16 * 1024;
  return options;
}

// covers G99
TEST(Stress, AMillionFibersPassATokenOn) {
  on_fibers(
      [] {
        const int n = many(1'000'000);
        const channel<int> head(0);
        channel<int> from = head;
        weft::wait_group all;
        all.add(n);
        for (int i = 0; i < n; ++i) {
          channel<int> to(0);
          weft::go([from, to, &all] {
            to.send(*from.receive() + 1);
            all.done();
          });
          from = std::move(to);
        }
        head.send(0);
        EXPECT_EQ(from.receive(), n);
        all.wait();
      },
      small_stacks());
}

std::int64_t skynet(std::int64_t number, std::int64_t size) {
  if (size == 1) return number;
  weft::task_group<std::int64_t> group;
  const std::int64_t part = size / 10;
  for (std::int64_t i = 0; i < 10; ++i) group.spawn(skynet, number + i * part, part);
  std::int64_t sum = 0;
  for (const std::int64_t each : group.join()) sum += each;
  return sum;
}

TEST(Stress, SkynetOfAMillionLeaves) {
  on_fibers(
      [] {
        std::int64_t leaves = 1;
        while (leaves * 10 <= many(1'000'000)) leaves *= 10;
        EXPECT_EQ(skynet(0, leaves), leaves * (leaves - 1) / 2);
      },
      small_stacks());
}

// As Go's test/chan/sieve1: a fiber per prime.
TEST(Stress, SieveOfTwoThousandPrimes) {
  on_fibers([] {
    const int n = std::max(25, many(2'000));
    std::vector<int> primes;
    {
      weft::stop_scope scope;
      weft::task_group<> filters;
      const channel<int> numbers(0);
      filters.spawn([numbers] {
        for (int i = 2;; ++i) numbers.send(i);
      });
      channel<int> from = numbers;
      while (static_cast<int>(primes.size()) < n) {
        const int prime = *from.receive();
        primes.push_back(prime);
        const channel<int> to(0);
        filters.spawn([from, to, prime] {
          for (;;) {
            const int i = *from.receive();
            if (i % prime != 0) to.send(i);
          }
        });
        from = to;
      }
      filters.request_stop();
    }
    for (std::size_t i = 0, k = 2; i < primes.size(); ++k) {
      bool prime = true;
      for (std::size_t d = 2; d * d <= k; ++d) prime = prime && k % d != 0;
      if (!prime) continue;
      EXPECT_EQ(primes[i], static_cast<int>(k));
      ++i;
    }
    EXPECT_TRUE(n != 2'000 || primes.back() == 17'389);
  });
}

// What each party of the storm counts, to be compared when all is over.
struct books {
  std::atomic<std::int64_t> sent{0}, received{0};      // sums of what went through the channels
  std::atomic<std::int64_t> permits{0};                // semaphore: taken less given
  std::int64_t guarded = 0;                            // under the mutex
  std::atomic<std::int64_t> guarded_twice{0};          // the same, counted without it
  std::atomic<int> inside{0}, most_inside{0};          // of the mutex
  std::atomic<std::int64_t> rung{0};
};

// everything_once makes one step of a random kind, with a bound that may end it at any moment.
class storm {
 public:
  void step(std::uint32_t dice) {
    const weft::timeout_scope scope(std::chrono::microseconds(dice >> 8 & 0xff));
    try {
      switch (dice % 8) {
        case 0: send(static_cast<int>(dice >> 16)); break;
        case 1: receive(); break;
        case 2: select(static_cast<int>(dice >> 16)); break;
        case 3: lock(); break;
        case 4: semaphore(); break;
        case 5: weft::this_fiber::sleep_for(std::chrono::microseconds(dice >> 24)); break;
        case 6: condition(dice >> 16 & 1); break;
        default: tick();
      }
    } catch (const weft::canceled_error&) {
    }
  }

  void settle() {
    for (const auto& c : channels_) {
      c.close();
      for (const int v : c) b_.received += v;
    }
    EXPECT_EQ(b_.sent, b_.received);
    EXPECT_EQ(b_.permits, 0);
    EXPECT_EQ(b_.guarded, b_.guarded_twice);
    EXPECT_LE(b_.most_inside, 1);
    int left = 0;
    while (permits_.try_acquire()) ++left;
    EXPECT_EQ(left, 3);
  }

 private:
  void send(int v) {
    channels_[static_cast<std::size_t>(v) % channels_.size()].send(v);
    b_.sent += v;
  }
  void receive() {
    if (const auto v = channels_[0].receive()) b_.received += *v;
  }
  void select(int v) {
    weft::select(weft::on_receive(channels_[1], [&](std::optional<int> got) { b_.received += got.value_or(0); }),
                 weft::on_receive(channels_[2], [&](std::optional<int> got) { b_.received += got.value_or(0); }),
                 weft::on_send(channels_[3], v, [&] { b_.sent += v; }), weft::on_timeout(50us));
  }
  void lock() {
    const std::lock_guard guard(mutex_);
    const int now = ++b_.inside;
    if (now > b_.most_inside) b_.most_inside = now;
    ++b_.guarded;
    ++b_.guarded_twice;
    weft::this_fiber::yield();
    --b_.inside;
  }
  void semaphore() {
    permits_.acquire();
    ++b_.permits;
    weft::this_fiber::yield();
    --b_.permits;
    permits_.release();
  }
  void condition(bool notify) {
    std::unique_lock lock(of_condition_);
    if (notify) {
      condition_.notify_one();
    } else {
      condition_.wait(lock);
    }
    EXPECT_TRUE(lock.owns_lock());
  }
  void tick() {
    ticker_.wait();
    ++b_.rung;
  }

  books b_;
  std::array<channel<int>, 4> channels_{channel<int>(0), channel<int>(1), channel<int>(7), channel<int>(0)};
  weft::mutex mutex_;
  weft::counting_semaphore<> permits_{3};
  weft::mutex of_condition_;
  weft::condition_variable condition_;
  weft::ticker ticker_{100us};
};

TEST(Stress, EverythingAtOnceFromFibersAndThreads) {
  storm s;
  weft::runtime rt;
  const auto steps = [&s](std::uint32_t seed, int n) {
    for (int i = 0; i < n; ++i) {
      seed = seed * 1664525u + 1013904223u;
      s.step(seed >> 3);
    }
  };
  const int n = scaled(300);
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 3; ++i) threads.emplace_back([&, i] { steps(i + 100, n); });
  rt.spawn([&] {
    weft::task_group<> group;
    for (std::uint32_t i = 0; i < 24; ++i) group.spawn(steps, i, n);
    group.join();
  }).join();
  for (auto& t : threads) t.join();
  rt.spawn([&] { s.settle(); }).join();
}

}  // namespace
