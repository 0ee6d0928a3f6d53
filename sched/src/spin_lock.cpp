#include <weft/sched/spin_lock.hpp>

#include "cpu_relax.hpp"
#include "futex.hpp"

namespace weft::inline v0::sched {

void spin_lock::lock_slow() noexcept {
  // A guess: about 2 us, several times what any holder needs unless it lost its CPU.
  constexpr int spins = 100;
  for (int i = 0; i < spins; ++i) {
    if (word_.load(std::memory_order_relaxed) == 0 && try_lock()) return;
    cpu_relax();
  }
  while (word_.exchange(2, std::memory_order_acquire) != 0) futex_wait(word_, 2);
}

void spin_lock::wake_one() noexcept { futex_wake(&word_, 1); }

}  // namespace weft::inline v0::sched
