// What the second worker brings when all work comes from the first one: a fiber starts many that compute for a while,
// and waits for them. The other worker has them only by stealing. Ideal is a share of the time of a plain loop.
#include "samples.hpp"

#include <weft/weft.hpp>

namespace {

// About 1 us, whatever the clock does meanwhile.
void compute() {
  volatile unsigned x = 1;
  for (int i = 0; i < 1000; ++i) x = x * 1664525u + 1013904223u;
}

void fan_out(std::size_t count, std::size_t at_a_time) {
  for (std::size_t i = 0; i < count; i += at_a_time) {
    weft::wait_group under_way;
    for (std::size_t k = 0; k < at_a_time; ++k) {
      under_way.add();
      weft::go([&under_way] {
        compute();
        under_way.done();
      });
    }
    under_way.wait();
  }
}

double wall_of(std::size_t count, void (*f)(std::size_t, std::size_t), std::size_t at_a_time) {
  f(count / 10, at_a_time);
  const double from = bench::nanoseconds_of(CLOCK_MONOTONIC);
  f(count, at_a_time);
  return bench::nanoseconds_of(CLOCK_MONOTONIC) - from;
}

void measure(const char* subject, unsigned workers, std::size_t count, std::size_t at_a_time) {
  const double alone = wall_of(
      count,
      [](std::size_t n, std::size_t) {
        for (std::size_t i = 0; i < n; ++i) compute();
      },
      1);
  bench::sample(subject, "times the ideal", "weft", wall_of(count, fan_out, at_a_time) / (alone / workers));
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(
      argc, argv, "Time of work that is started in one place; see bench/run.", bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        for (int i = 0; i < told.rounds; ++i) {
          measure("work started in one place, 16 at a time, two workers", told.workers, 16'000, 16);
          measure("work started in one place, 1000 at a time, two workers", told.workers, 20'000, 1000);
        }
      },
      on);
}
