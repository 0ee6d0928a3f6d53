// What a fiber costs from spawn to join: alone, and a hundred at a time. The floor beside it is a context made on a
// warm stack, jumped to and left again.
#include "bare.hpp"
#include "samples.hpp"

#include <weft/weft.hpp>

#include <vector>

namespace {

void spawn_and_join(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) weft::spawn([] {}).join();
}

void spawn_batches(std::size_t count, std::size_t batch) {
  std::vector<weft::fiber<void>> all;
  all.reserve(batch);
  for (std::size_t i = 0; i < count; i += batch) {
    for (std::size_t k = 0; k < batch; ++k) all.push_back(weft::spawn([] {}));
    for (auto& f : all) f.join();
    all.clear();
  }
}

void one_round(bench::bare_stack& stack) {
  constexpr std::size_t count = 100'000;
  const double bare = bench::nanoseconds_each(count, [&](std::size_t n) { bench::start_and_end(stack, n); });
  const auto measure = [&](const char* subject, auto&& f) {
    bench::sample(subject, "CPU ns", "bare", bare);
    bench::sample(subject, "CPU ns", "weft", bench::nanoseconds_each(count, f));
  };
  measure("spawn, run, join", spawn_and_join);
  measure("spawn, run, join, 100 at a time", [](std::size_t n) { spawn_batches(n, 100); });
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = bench::options_from(argc, argv, "Time of spawn, run and join of a fiber; see bench/run.").rounds;
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [rounds] {
        bench::bare_stack stack;
        for (int i = 0; i < rounds; ++i) one_round(stack);
      },
      one_worker);
}
