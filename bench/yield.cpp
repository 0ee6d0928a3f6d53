// What a scheduled yield costs, in bare jumps: one worker, 2 or 1000 fibers that do nothing but yield. In the variant
// with floating point every second fiber leaves the inexact flag set, which makes a naive switch reload MXCSR: 60 ns.
#include "bare.hpp"
#include "samples.hpp"

#include <weft/weft.hpp>

#include <vector>

namespace {

enum class work { none, floating_point };

void yield_often(std::size_t times, work w) {
  volatile double sum = 1.0;
  for (std::size_t i = 0; i < times; ++i) {
    if (w == work::floating_point) sum = sum + 1e-20;
    weft::this_fiber::yield();
  }
}

void yield_on(std::size_t fibers, std::size_t yields, work of_every_second) {
  std::vector<weft::fiber<void>> all;
  all.reserve(fibers);
  for (std::size_t i = 0; i < fibers; ++i) {
    all.push_back(weft::spawn(yield_often, yields / fibers, i % 2 == 1 ? of_every_second : work::none));
  }
  for (auto& f : all) f.join();
}

void one_round(bench::bare_stack& stack) {
  // A few milliseconds a side: shorter than a scheduler's time slice, longer than its interruptions are dear.
  constexpr std::size_t jumps = 1'000'000;
  constexpr std::size_t yields = 500'000;
  const double bare = bench::nanoseconds_each(jumps, [&](std::size_t n) { bench::jump_between(stack, n); });
  const auto measure = [&](const char* subject, std::size_t fibers, work w) {
    bench::sample(subject, "CPU ns", "bare", bare);
    bench::sample(subject, "CPU ns", "weft",
                  bench::nanoseconds_each(yields, [&](std::size_t n) { yield_on(fibers, n, w); }));
  };
  measure("yield, 2 fibers", 2, work::none);
  measure("yield, 1000 fibers", 1000, work::none);
  measure("yield, 2 fibers, half with floating point", 2, work::floating_point);
  measure("yield, 1000 fibers, half with floating point", 1000, work::floating_point);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds =
      bench::options_from(argc, argv, "Time of a scheduled yield and of a bare jump; see bench/run.").rounds;
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [rounds] {
        bench::bare_stack stack;
        for (int i = 0; i < rounds; ++i) one_round(stack);
      },
      one_worker);
}
