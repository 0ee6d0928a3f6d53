// bench/yield.cpp with Boost.Fiber.
#include "samples.hpp"

#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>

#include <cstddef>
#include <mutex>
#include <vector>

namespace {

// measure_yields times the yields alone: by then every fiber has a stack and stands at the start.
void measure_yields(const bench::side& side, const char* subject, std::size_t fibers, std::size_t yields) {
  boost::fibers::mutex mutex;
  boost::fibers::condition_variable changed;
  bool go = false;
  std::vector<boost::fibers::fiber> all;
  all.reserve(fibers);
  for (std::size_t i = 0; i < fibers; ++i) {
    all.emplace_back([&, times = yields / fibers] {
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return go; });
      }
      for (std::size_t k = 0; k < times; ++k) boost::this_fiber::yield();
    });
  }
  boost::this_fiber::yield();
  side.measure_once(subject, yields, [&](std::size_t) {
    {
      const std::scoped_lock lock(mutex);
      go = true;
    }
    changed.notify_all();
    for (auto& each : all) each.join();
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of a yield of Boost.Fiber.");
  const bench::side side(told, "boost");
  for (int i = 0; i < told.rounds; ++i) {
    measure_yields(side, "yield, 2 fibers", 2, 500'000);
    measure_yields(side, "yield, 100 fibers", 100, 500'000);
    measure_yields(side, "yield, 1000 fibers", 1000, 500'000);
    measure_yields(side, "yield, 10000 fibers", 10'000, 500'000);
  }
}
