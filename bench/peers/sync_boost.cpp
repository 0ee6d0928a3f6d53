// Of bench/sync.cpp what Boost.Fiber has, on one thread.
#include "samples.hpp"

#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>

#include <cstddef>
#include <mutex>
#include <vector>

namespace {

void lock_and_unlock(std::size_t count) {
  static boost::fibers::mutex free;
  for (std::size_t i = 0; i < count; ++i) {
    free.lock();
    free.unlock();
  }
}

void contend(std::size_t count, std::size_t fibers) {
  boost::fibers::mutex m;
  std::vector<boost::fibers::fiber> all;
  for (std::size_t i = 0; i < fibers; ++i) {
    all.emplace_back([&] {
      for (std::size_t k = 0; k < count / fibers; ++k) {
        const std::lock_guard guard(m);
        boost::this_fiber::yield();
      }
    });
  }
  for (auto& each : all) each.join();
}

void ping_pong(std::size_t count) {
  boost::fibers::mutex m;
  boost::fibers::condition_variable changed;
  bool ping = true;
  const auto play = [&](bool mine) {
    for (std::size_t i = 0; i < count; ++i) {
      std::unique_lock lock(m);
      changed.wait(lock, [&] { return ping == mine; });
      ping = !mine;
      changed.notify_one();
    }
  };
  boost::fibers::fiber other(play, false);
  play(true);
  other.join();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of locks and of waiting with Boost.Fiber.");
  const bench::side boost_side(told, "boost");
  for (int i = 0; i < told.rounds; ++i) {
    boost_side.measure("mutex, free", 1'000'000, lock_and_unlock);
    boost_side.measure("mutex, 2 fibers, held across a yield", 100'000, [](std::size_t n) { contend(n, 2); });
    boost_side.measure("mutex, 8 fibers, held across a yield", 100'000, [](std::size_t n) { contend(n, 8); });
    boost_side.measure("condition_variable, round trip", 100'000, ping_pong);
  }
}
