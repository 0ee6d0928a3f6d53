// What a scheduled yield costs, in bare jumps: one worker, 2 to 100 000 fibers that do nothing but yield. In the
// variant with floating point every second fiber leaves the inexact flag set, which makes a naive switch reload MXCSR:
// 60 ns.
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

// measure_yields times the yields alone: by then every fiber has a stack and stands at the start.
void measure_yields(const bench::side& side, const char* subject, std::size_t fibers, std::size_t yields,
                    work of_every_second = work::none) {
  weft::event go;
  std::vector<weft::fiber<void>> all;
  all.reserve(fibers);
  for (std::size_t i = 0; i < fibers; ++i) {
    const work w = i % 2 == 1 ? of_every_second : work::none;
    all.push_back(weft::spawn([&go, w, times = yields / fibers] {
      go.wait();
      yield_often(times, w);
    }));
    if (i % 256 == 255) weft::this_fiber::yield();
  }
  weft::this_fiber::yield();
  side.measure_once(subject, yields, [&](std::size_t) {
    go.set();
    for (auto& f : all) f.join();
  });
}

void one_round(const bench::side& bare_side, const bench::side& weft_side, bench::bare_stack& stack) {
  const auto measure = [&](const char* subject, std::size_t fibers, std::size_t yields, work w = work::none) {
    bare_side.measure(subject, 1'000'000, [&](std::size_t n) { bench::jump_between(stack, n); });
    measure_yields(weft_side, subject, fibers, yields, w);
  };
  // A few milliseconds a side: shorter than a scheduler's time slice, longer than its interruptions are dear. Many
  // fibers take longer.
  measure("yield, 2 fibers", 2, 500'000);
  measure("yield, 100 fibers", 100, 500'000);
  measure("yield, 1000 fibers", 1000, 500'000);
  measure("yield, 10000 fibers", 10'000, 500'000);
  measure("yield, 100000 fibers", 100'000, 2'000'000);
  measure("yield, 2 fibers, half with floating point", 2, 500'000, work::floating_point);
  measure("yield, 1000 fibers, half with floating point", 1000, 500'000, work::floating_point);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of a scheduled yield and of a bare jump; see bench/run.");
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [&told] {
        const bench::side bare_side(told, "bare");
        const bench::side weft_side(told, "weft");
        bench::bare_stack stack;
        for (int i = 0; i < told.rounds; ++i) one_round(bare_side, weft_side, stack);
      },
      one_worker);
}
