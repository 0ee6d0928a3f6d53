// What a parked fiber holds: so many of them wait on one event, and then the process is looked at. Page tables
// included.
#include "process.h"
#include "samples.hpp"

#include <weft/weft.hpp>

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void park(std::size_t fibers) {
  weft::event go;
  weft::wait_group all;
  const std::uint64_t before = memory_of(getpid());
  for (std::size_t i = 0; i < fibers; ++i) {
    all.add(1);
    weft::go([&] {
      go.wait();
      all.done();
    });
    // So that each has run and is parked, and not all are in the queue at one time.
    if (i % 256 == 255) weft::this_fiber::yield();
  }
  weft::this_fiber::yield();
  const double bytes = static_cast<double>(memory_of(getpid()) - before) * 1024 / static_cast<double>(fibers);
  bench::sample(("parked, " + std::to_string(fibers) + " fibers").c_str(), "bytes", "weft", bytes);
  go.set();
  all.wait();
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t fibers = argc == 2 ? std::strtoul(argv[1], nullptr, 10) : 0;
  if (fibers == 0) {
    std::fprintf(stderr, "usage: %s FIBERS\nMemory of a parked fiber; see bench/run.\n", argv[0]);
    return 2;
  }
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run([fibers] { park(fibers); }, one_worker);
}
