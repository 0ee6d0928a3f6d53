// What it takes to wake somebody: a plain thread and a fiber take turns. Who waits has nothing else to do: it is the
// way into a scheduler that sleeps.
#include "samples.hpp"

#include <weft/weft.hpp>

#include <thread>

namespace {

void thread_and_fiber(std::size_t count) {
  weft::counting_semaphore<> to_fiber(0);
  weft::counting_semaphore<> to_thread(0);
  std::thread thread([&] {
    for (std::size_t i = 0; i < count; ++i) {
      to_fiber.release();
      to_thread.acquire();
    }
  });
  for (std::size_t i = 0; i < count; ++i) {
    to_fiber.acquire();
    to_thread.release();
  }
  weft::blocking([&] { thread.join(); });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of waking a fiber from a thread, and a thread from a fiber; see bench/run.",
                          bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) {
          weft_side.measure("woken by a thread, and back", 10'000, thread_and_fiber);
        }
      },
      on);
}
