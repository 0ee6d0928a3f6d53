// bench/channel.cpp with Boost.Fiber, on one thread. A buffered_channel of 64 holds 63.
#include "samples.hpp"

#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/unbuffered_channel.hpp>

#include <cstddef>
#include <vector>

namespace {

void round_trips(std::size_t count) {
  boost::fibers::unbuffered_channel<int> there;
  boost::fibers::unbuffered_channel<int> back;
  boost::fibers::fiber echo([&] {
    for (const int value : there) back.push(value);
  });
  int value = 1;
  for (std::size_t i = 0; i < count; ++i) {
    there.push(value);
    back.pop(value);
  }
  there.close();
  echo.join();
}

void pass(std::size_t count, std::size_t on_each_side) {
  boost::fibers::buffered_channel<int> through(64);
  std::vector<boost::fibers::fiber> senders;
  std::vector<boost::fibers::fiber> receivers;
  for (std::size_t i = 0; i < on_each_side; ++i) {
    receivers.emplace_back([&] {
      int value = 0;
      while (through.pop(value) == boost::fibers::channel_op_status::success) {
      }
    });
    senders.emplace_back([&] {
      for (std::size_t k = 0; k < count / on_each_side; ++k) through.push(1);
    });
  }
  for (auto& each : senders) each.join();
  through.close();
  for (auto& each : receivers) each.join();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told = bench::options_from(argc, argv, "Time of a value through a channel of Boost.Fiber.");
  const bench::side boost_side(told, "boost");
  for (int i = 0; i < told.rounds; ++i) {
    boost_side.measure("channel, unbuffered, round trip", 100'000, round_trips);
    boost_side.measure("channel of 64, 1 to 1", 400'000, [](std::size_t n) { pass(n, 1); });
    boost_side.measure("channel of 64, 4 to 4", 400'000, [](std::size_t n) { pass(n, 4); });
  }
}
