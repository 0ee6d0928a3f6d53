// bench/yield.cpp with threads, which the system schedules.
#include "samples.hpp"

#include <cstddef>
#include <thread>
#include <vector>

namespace {

void yield_on(std::size_t threads, std::size_t yields) {
  std::vector<std::thread> all;
  for (std::size_t i = 0; i < threads; ++i) {
    all.emplace_back([times = yields / threads] {
      for (std::size_t k = 0; k < times; ++k) std::this_thread::yield();
    });
  }
  for (auto& each : all) each.join();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of a yield of a thread.");
  const bench::side side(told, "thread");
  for (int i = 0; i < told.rounds; ++i) {
    side.measure("yield, 2 fibers", 100'000, [](std::size_t n) { yield_on(2, n); });
    side.measure("yield, 100 fibers", 100'000, [](std::size_t n) { yield_on(100, n); });
  }
}
