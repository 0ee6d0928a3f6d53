// What a select costs: of 2 and of 8 channels, one of which has a value, and as the way in which two fibers wait for
// each other.
#include "samples.hpp"

#include <weft/weft.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t ready_selects = 200'000;

// The last of `Cases` channels has the values, all of them from before.
template <std::size_t Cases>
class one_ready {
 public:
  one_ready() {
    for (std::size_t i = 1; i < Cases; ++i) channels_.emplace_back(0);
    channels_.emplace_back(ready_selects * 2);
    for (std::size_t i = 0; i < ready_selects * 2; ++i) channels_.back().send(1);
  }
  void receive(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) receive_from(std::make_index_sequence<Cases>());
  }

 private:
  template <std::size_t... I>
  void receive_from(std::index_sequence<I...>) {
    weft::select(weft::on_receive(channels_[I])...);
  }

  std::vector<weft::channel<int>> channels_;
};

void round_trips(std::size_t count) {
  const weft::channel<int> there(0);
  const weft::channel<int> back(0);
  const weft::channel<int> never(0);
  weft::fiber<> echo = weft::spawn([&] {
    for (std::size_t i = 0; i < count; ++i) {
      weft::select(weft::on_receive(there), weft::on_receive(never));
      back.send(1);
    }
  });
  for (std::size_t i = 0; i < count; ++i) {
    there.send(1);
    weft::select(weft::on_receive(back), weft::on_receive(never));
  }
  echo.join();
}

void one_round(const bench::side& weft_side) {
  weft_side.measure("select of 2, round trip", 50'000, round_trips);
  if (weft_side.workers() > 1) return;
  one_ready<2> of_2;
  weft_side.measure("select of 2, one ready", ready_selects, [&](std::size_t n) { of_2.receive(n); });
  one_ready<8> of_8;
  weft_side.measure("select of 8, one ready", ready_selects, [&](std::size_t n) { of_8.receive(n); });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of a select; see bench/run.", bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) one_round(weft_side);
      },
      on);
}
