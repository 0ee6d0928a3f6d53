// Samples: what a benchmark measures goes to stdout, one sample a line, and bench/judge makes a table of it.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace bench {

// options are what each program is told: how often it measures everything, and on how many workers.
struct options {
  int rounds = 31;
  unsigned workers = 1;
};

// options_from reads `--rounds N` and `--workers N` (or prints the usage and exits). A program that measures one worker
// only refuses more.
enum class meant_for { one_worker, any_workers };
inline options options_from(int argc, char** argv, const char* what, meant_for meant = meant_for::one_worker) {
  options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const int value = i + 1 < argc ? std::atoi(argv[i + 1]) : 0;
    if (name == "--rounds" && value > 0) {
      o.rounds = value;
    } else if (name == "--workers" && (value == 1 || (value > 1 && meant == meant_for::any_workers))) {
      o.workers = static_cast<unsigned>(value);
    } else {
      const bool help = name == "--help";
      std::fprintf(help ? stdout : stderr, "usage: %s [--rounds N] [--workers %s]\n%s\n", argv[0],
                   meant == meant_for::any_workers ? "N" : "1", what);
      std::exit(help ? 0 : 2);
    }
  }
  return o;
}

inline double nanoseconds_of(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// cpu_nanoseconds is what all threads of this process have used. Time on the wall would count whoever else the CPU
// serves meanwhile, and leave out a second thread that is kept busy for nothing.
inline double cpu_nanoseconds() { return nanoseconds_of(CLOCK_PROCESS_CPUTIME_ID); }

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

// side is whose things are measured, on the workers of the options.
class side {
 public:
  side(const options& o, const char* name) : workers_(o.workers), name_(name) {}

  unsigned workers() const { return workers_; }

  // measure runs f as nanoseconds_each does, after a tenth of it to warm up: the process is fresh, as a rule. On
  // several workers the time on the wall is a sample too, since there one worker's time may pass while another one
  // works.
  template <class F>
  void measure(const char* subject, std::size_t count, F&& f) const {
    f(count / 10);
    measure_once(subject, count, f);
  }

  // measure_once is that without the warming up, for what can be done only once.
  template <class F>
  void measure_once(const char* subject, std::size_t count, F&& f) const {
    const double from = nanoseconds_of(CLOCK_MONOTONIC);
    const double cpu = nanoseconds_each(count, f);
    const double wall = (nanoseconds_of(CLOCK_MONOTONIC) - from) / static_cast<double>(count);
    const std::string full = subject + suffix();
    sample(full.c_str(), "CPU ns", name_, cpu);
    if (workers_ > 1) sample(full.c_str(), "wall ns", name_, wall);
  }

 private:
  std::string suffix() const {
    if (workers_ == 1) return "";
    return workers_ == 2 ? ", two workers" : ", " + std::to_string(workers_) + " workers";
  }

  unsigned workers_;
  const char* name_;
};

}  // namespace bench
