// What times cost: a timer, a delayed call and a bound on calls that are given up before their time, as most are, and
// sleeps and timers whose time comes, a thousand at once.
#include "samples.hpp"

#include <weft/weft.hpp>

#include <chrono>
#include <deque>
#include <vector>

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t batch = 1000;
constexpr milliseconds apart(4);  // longer than a batch takes to wake and to sleep again

void make_and_stop_timers(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    weft::timer one(hours(1));
    one.stop();
  }
}

void prevent_calls(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    weft::delayed_call one = weft::after(hours(1), [] {});
    one.stop();
  }
}

void leave_scopes_in_time(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const weft::timeout_scope one{hours(1)};
  }
}

// Until a few times, one after the other.
void sleep_together(std::size_t count) {
  const auto begin = steady_clock::now() + apart;
  std::vector<weft::fiber<>> all;
  for (std::size_t i = 0; i < batch; ++i) {
    all.push_back(weft::spawn([=] {
      for (std::size_t k = 0; k < count / batch; ++k) weft::this_fiber::sleep_until(begin + k * apart);
    }));
  }
  for (auto& each : all) each.join();
}

void wait_for_timers(std::size_t count) {
  for (std::size_t i = 0; i < count; i += batch) {
    std::deque<weft::timer> all;
    const auto due = steady_clock::now() + apart;
    for (std::size_t k = 0; k < batch; ++k) all.emplace_back(due);
    for (auto& each : all) each.wait();
  }
}

void one_round(const bench::side& weft_side) {
  weft_side.measure("timer, made and stopped", 100'000, make_and_stop_timers);
  weft_side.measure("delayed call, prevented", 20'000, prevent_calls);
  weft_side.measure("timeout, left in time", 100'000, leave_scopes_in_time);
  weft_side.measure("sleep, 1000 until one time, each", 10'000, sleep_together);
  weft_side.measure("timer, 1000 due at one time, each", 10'000, wait_for_timers);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of timers, sleeps and timeouts; see bench/run.");
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [&told] {
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) one_round(weft_side);
      },
      one_worker);
}
