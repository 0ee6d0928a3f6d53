// bench/spawn.cpp with threads.
#include "samples.hpp"

#include <cstddef>
#include <thread>
#include <vector>

namespace {

void spawn_batches(std::size_t count, std::size_t batch) {
  std::vector<std::thread> all;
  all.reserve(batch);
  for (std::size_t i = 0; i < count; i += batch) {
    for (std::size_t k = 0; k < batch; ++k) all.emplace_back([] {});
    for (auto& each : all) each.join();
    all.clear();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of spawn, run and join of a thread.");
  const bench::side side(told, "thread");
  for (int i = 0; i < told.rounds; ++i) {
    side.measure("spawn, run, join", 10'000, [](std::size_t n) { spawn_batches(n, 1); });
    side.measure("spawn, run, join, 100 at a time", 10'000, [](std::size_t n) { spawn_batches(n, 100); });
  }
}
