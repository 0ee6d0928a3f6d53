// What it costs to have something of one's own and to get something from one's starter: reading a fiber_local and an
// inherited value, and starting a fiber where there is something to inherit (against a start where there is nothing).
#include "samples.hpp"

#include <weft/weft.hpp>

#include <chrono>
#include <cstddef>

namespace {

constexpr weft::inherited<std::size_t> user;
constexpr weft::inherited<std::size_t> request;
constexpr weft::inherited<std::size_t> trace;

void read_local(std::size_t count) {
  static weft::fiber_local<std::size_t> counter;
  for (std::size_t i = 0; i < count; ++i) ++*counter;
}

void read_user(std::size_t count) {
  [[maybe_unused]] volatile std::size_t sink = 0;
  for (std::size_t i = 0; i < count; ++i) sink = *user.get();
}

void spawn_and_join(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) weft::spawn([] {}).join();
}

void one_round(const bench::side& plain_side, const bench::side& weft_side) {
  constexpr std::size_t reads = 1'000'000;
  constexpr std::size_t fibers = 100'000;
  weft_side.measure("fiber_local, read", reads, read_local);
  plain_side.measure("spawn, run, join, with 3 values", fibers, spawn_and_join);
  {
    const weft::binding outermost(user, 1U);
    const weft::binding between(request, 2U);
    const weft::binding innermost(trace, 3U);
    weft_side.measure("spawn, run, join, with 3 values", fibers, spawn_and_join);
    weft_side.measure("inherited value, bound third", reads, read_user);
    weft::spawn([&] { weft_side.measure("inherited value, third of the starter's", reads, read_user); }).join();
  }
  plain_side.measure("spawn, run, join, in a timeout", fibers, spawn_and_join);
  {
    const weft::timeout_scope inside{std::chrono::hours(1)};
    weft_side.measure("spawn, run, join, in a timeout", fibers, spawn_and_join);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of fiber-local and inherited things; see bench/run.");
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [&told] {
        const bench::side plain_side(told, "plain");
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) one_round(plain_side, weft_side);
      },
      one_worker);
}
