// What a parked fiber takes of memory, and of page tables, which its resident size leaves out: with 10 000, 100 000 and a
// million of them, each with its guard.
#include "samples.hpp"

#include <weft/weft.hpp>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace {

// kilobytes_of reads a line of /proc/self/status.
double kilobytes_of(const char* key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, std::strlen(key), key) == 0) return std::atof(line.c_str() + std::strlen(key) + 1);
  }
  return 0;
}

void one_round() {
  weft::event open;
  weft::wait_group ended;
  std::size_t parked = 0;
  const double resident = kilobytes_of("VmRSS:");
  const double tables = kilobytes_of("VmPTE:");
  for (const std::size_t n : {10'000u, 100'000u, 1'000'000u}) {
    weft::wait_group begun;
    begun.add(static_cast<std::ptrdiff_t>(n - parked));
    ended.add(static_cast<std::ptrdiff_t>(n - parked));
    for (; parked < n; ++parked) {
      weft::go([&] {
        begun.done();
        open.wait();
        ended.done();
      });
      weft::this_fiber::checkpoint();
    }
    begun.wait();
    const std::string subject = "parked fiber, " + std::to_string(n);
    const double each = 1024 / static_cast<double>(n);
    bench::sample(subject.c_str(), "resident B", "weft", (kilobytes_of("VmRSS:") - resident) * each);
    bench::sample(subject.c_str(), "page tables B", "weft", (kilobytes_of("VmPTE:") - tables) * each);
  }
  open.set();
  ended.wait();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options o = bench::options_from(argc, argv, "Memory of parked fibers; see bench/run.");
  for (int i = 0; i < o.rounds; ++i) {
    // Each with a runtime of its own: stacks of the one before are with its pools.
    weft::runtime_options one_worker;
    one_worker.workers = 1;
    weft::run(one_round, one_worker);
  }
}
