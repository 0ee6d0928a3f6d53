// Of bench/time.cpp the sleeps, with Boost.Fiber, on one thread.
#include "samples.hpp"

#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>

#include <chrono>
#include <cstddef>
#include <vector>

namespace {

constexpr std::size_t batch = 1000;
constexpr std::chrono::milliseconds apart(4);

void sleep_together(std::size_t count) {
  const auto begin = std::chrono::steady_clock::now() + apart;
  std::vector<boost::fibers::fiber> all;
  for (std::size_t i = 0; i < batch; ++i) {
    all.emplace_back([=] {
      for (std::size_t k = 0; k < count / batch; ++k) boost::this_fiber::sleep_until(begin + k * apart);
    });
  }
  for (auto& each : all) each.join();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of sleeps of Boost.Fiber.");
  const bench::side boost_side(told, "boost");
  for (int i = 0; i < told.rounds; ++i) {
    boost_side.measure("sleep, 1000 until one time, each", 10'000, sleep_together);
  }
}
