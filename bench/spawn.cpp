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

void one_round(const bench::side& bare_side, const bench::side& weft_side, bench::bare_stack& stack) {
  const auto measure = [&](const char* subject, auto&& f) {
    if (weft_side.workers() == 1) {
      bare_side.measure(subject, 100'000, [&](std::size_t n) { bench::start_and_end(stack, n); });
    }
    weft_side.measure(subject, 100'000, f);
  };
  measure("spawn, run, join", spawn_and_join);
  measure("spawn, run, join, 100 at a time", [](std::size_t n) { spawn_batches(n, 100); });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of spawn, run and join of a fiber; see bench/run.",
                                                  bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        const bench::side bare_side(told, "bare");
        const bench::side weft_side(told, "weft");
        bench::bare_stack stack;
        for (int i = 0; i < told.rounds; ++i) one_round(bare_side, weft_side, stack);
      },
      on);
}
