// dice: a small generator of numbers, one for each processor and each waiting thread.
#pragma once

#include <cstdint>

namespace weft::inline v0::sched {

// dice is xorshift with 32 bits of state. Used by one thread at a time.
class dice {
 public:
  explicit dice(std::uint32_t seed = 1) noexcept : state_(seed != 0 ? seed : 1) {}
  // roll returns a number from 1 to 2^32 - 1.
  std::uint32_t roll() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    state_ ^= state_ << 5;
    return state_;
  }

 private:
  std::uint32_t state_;
};

}  // namespace weft::inline v0::sched
