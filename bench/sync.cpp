// What it costs to wait for one another: a mutex that is free (against two locked operations on one line, the least
// that any lock is made of) and one that is not, a condition variable, a wait_group.
#include "samples.hpp"

#include <weft/weft.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace {

void two_locked_operations(std::size_t count) {
  static std::atomic<std::uint32_t> word{0};
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t expected = 0;
    word.compare_exchange_strong(expected, 1, std::memory_order_acquire, std::memory_order_relaxed);
    word.exchange(0, std::memory_order_release);
  }
}

void lock_and_unlock(std::size_t count) {
  static weft::mutex free;
  for (std::size_t i = 0; i < count; ++i) {
    free.lock();
    free.unlock();
  }
}

template <class Section>
void contend(std::size_t count, std::size_t fibers, Section section) {
  weft::mutex m;
  std::vector<weft::fiber<>> all;
  for (std::size_t i = 0; i < fibers; ++i) {
    all.push_back(weft::spawn([&] {
      for (std::size_t k = 0; k < count / fibers; ++k) {
        const std::lock_guard guard(m);
        section();
      }
    }));
  }
  for (auto& each : all) each.join();
}

void ping_pong(std::size_t count) {
  weft::mutex m;
  weft::condition_variable changed;
  bool ping = true;
  const auto play = [&](bool mine) {
    for (std::size_t i = 0; i < count; ++i) {
      std::unique_lock lock(m);
      changed.wait(lock, [&] { return ping == mine; });
      ping = !mine;
      changed.notify_one();
    }
  };
  weft::fiber<> other = weft::spawn(play, false);
  play(true);
  other.join();
}

void count_down(std::size_t count, std::size_t at_a_time) {
  for (std::size_t i = 0; i < count; i += at_a_time) {
    weft::wait_group under_way;
    for (std::size_t k = 0; k < at_a_time; ++k) {
      under_way.add();
      weft::go([&under_way] { under_way.done(); });
    }
    under_way.wait();
  }
}

// One worker meets a mutex that is held only where the holder lets others run.
void contend_on_one_worker(const bench::side& weft_side) {
  constexpr auto yield = [] { weft::this_fiber::yield(); };
  weft_side.measure("mutex, 2 fibers, held across a yield", 100'000, [&](std::size_t n) { contend(n, 2, yield); });
  weft_side.measure("mutex, 8 fibers, held across a yield", 100'000, [&](std::size_t n) { contend(n, 8, yield); });
}

void contend_on_several(const bench::side& weft_side) {
  std::size_t counter = 0;
  const auto add = [&counter] { ++counter; };
  weft_side.measure("mutex, 2 fibers", 400'000, [&](std::size_t n) { contend(n, 2, add); });
  weft_side.measure("mutex, 8 fibers", 400'000, [&](std::size_t n) { contend(n, 8, add); });
}

void one_round(const bench::side& bare_side, const bench::side& weft_side) {
  if (weft_side.workers() == 1) {
    bare_side.measure("mutex, free", 1'000'000, two_locked_operations);
    weft_side.measure("mutex, free", 1'000'000, lock_and_unlock);
    contend_on_one_worker(weft_side);
    weft_side.measure("wait_group, 1 fiber", 100'000, [](std::size_t n) { count_down(n, 1); });
  } else {
    contend_on_several(weft_side);
  }
  weft_side.measure("wait_group, 1000 fibers, each", 100'000, [](std::size_t n) { count_down(n, 1000); });
  weft_side.measure("condition_variable, round trip", 100'000, ping_pong);
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of locks and of waiting; see bench/run.", bench::meant_for::any_workers);
  weft::runtime_options on;
  on.workers = told.workers;
  return weft::run(
      [&told] {
        const bench::side bare_side(told, "bare");
        const bench::side weft_side(told, "weft");
        for (int i = 0; i < told.rounds; ++i) one_round(bare_side, weft_side);
      },
      on);
}
