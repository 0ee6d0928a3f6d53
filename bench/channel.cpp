// What a value costs that goes through a channel: to and fro between two fibers without a buffer, and in one direction
// through a buffer, from one or four senders to as many receivers.
#include "samples.hpp"

#include <weft/weft.hpp>

#include <vector>

namespace {

void round_trips(std::size_t count) {
  const weft::channel<int> there(0);
  const weft::channel<int> back(0);
  weft::fiber<> echo = weft::spawn([&] {
    for (const int value : there) back.send(value);
  });
  for (std::size_t i = 0; i < count; ++i) {
    there.send(1);
    static_cast<void>(back.receive());
  }
  there.close();
  echo.join();
}

void pass(std::size_t count, std::size_t on_each_side) {
  const weft::channel<int> through(64);
  std::vector<weft::fiber<>> senders;
  std::vector<weft::fiber<>> receivers;
  for (std::size_t i = 0; i < on_each_side; ++i) {
    receivers.push_back(weft::spawn([&] {
      while (through.receive()) {
      }
    }));
    senders.push_back(weft::spawn([&] {
      for (std::size_t k = 0; k < count / on_each_side; ++k) through.send(1);
    }));
  }
  for (auto& each : senders) each.join();
  through.close();
  for (auto& each : receivers) each.join();
}

void one_round(const bench::side& weft_side) {
  weft_side.measure("channel, unbuffered, round trip", 100'000, round_trips);
  weft_side.measure("channel of 64, 1 to 1", 400'000, [](std::size_t n) { pass(n, 1); });
  weft_side.measure("channel of 64, 4 to 4", 400'000, [](std::size_t n) { pass(n, 4); });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of a value through a channel; see bench/run.",
                                                  bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) one_round(weft_side);
      },
      on);
}
