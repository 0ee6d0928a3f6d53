// Samples: what a benchmark measures goes to stdout, one sample a line, and bench/judge makes a table of it.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

// rounds_from reads `--rounds N` (or prints the usage and exits).
inline int rounds_from(int argc, char** argv, const char* what) {
  constexpr int standard = 31;
  if (argc == 1) return standard;
  const int rounds = argc == 3 && std::strcmp(argv[1], "--rounds") == 0 ? std::atoi(argv[2]) : 0;
  if (rounds > 0) return rounds;
  const bool help = argc == 2 && std::strcmp(argv[1], "--help") == 0;
  std::fprintf(help ? stdout : stderr, "usage: %s [--rounds N]\n%s\n", argv[0], what);
  std::exit(help ? 0 : 2);
}

// cpu_nanoseconds is what all threads of this process have used. Time on the wall would count whoever else the CPU
// serves meanwhile, and leave out a second thread that is kept busy for nothing.
inline double cpu_nanoseconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// nanoseconds_each runs f(count), which does a thing `count` times, and gives the CPU time of one.
template <class F>
double nanoseconds_each(std::size_t count, F&& f) {
  const double from = cpu_nanoseconds();
  f(count);
  return (cpu_nanoseconds() - from) / static_cast<double>(count);
}

inline void sample(const char* subject, const char* metric, const char* side, double value) {
  std::printf("%s\t%s\t%s\t%.4g\n", subject, metric, side, value);
}

}  // namespace bench
