// What a task costs of a task_group of a thousand, from its spawning to the join.
#include "samples.hpp"

#include <weft/weft.hpp>

namespace {

void run_groups(std::size_t count) {
  constexpr std::size_t tasks = 1000;
  for (std::size_t i = 0; i < count; i += tasks) {
    weft::task_group<> group;
    for (std::size_t k = 0; k < tasks; ++k) group.spawn([] {});
    group.join();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of a task of a task_group; see bench/run.", bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) weft_side.measure("task_group of 1000, each", 100'000, run_groups);
      },
      on);
}
