// bench/memory.cpp with Boost.Fiber, on its default stacks.
#include "process.h"
#include "samples.hpp"

#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>

#include <unistd.h>

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  const std::size_t count = argc == 2 ? std::strtoul(argv[1], nullptr, 10) : 0;
  if (count == 0) {
    std::fprintf(stderr, "usage: %s FIBERS\n", argv[0]);
    return 2;
  }
  boost::fibers::mutex mutex;
  boost::fibers::condition_variable changed;
  bool go = false;
  std::vector<boost::fibers::fiber> all;
  all.reserve(count);
  const std::uint64_t before = memory_of(getpid());
  for (std::size_t i = 0; i < count; ++i) {
    all.emplace_back([&] {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return go; });
    });
    if (i % 256 == 255) boost::this_fiber::yield();
  }
  boost::this_fiber::yield();
  const double bytes = static_cast<double>(memory_of(getpid()) - before) * 1024 / static_cast<double>(count);
  bench::sample(("parked, " + std::to_string(count) + " fibers").c_str(), "bytes", "boost", bytes);
  {
    const std::scoped_lock lock(mutex);
    go = true;
  }
  changed.notify_all();
  for (auto& each : all) each.join();
}
