// spin_lock: the small mutual exclusion of the library's own structures.
#pragma once

#include <weft/export.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

// spin_lock guards a few instructions: one word, no system call unless a holder lost its CPU. Unlike a std::mutex it
// belongs to nobody, so that a park's commit may unlock what the departed fiber locked. Whoever holds one does not
// park and calls no foreign code. Satisfies Lockable.
//
// The lock word
// States     0 free | 1 held | 2 held, and somebody may sleep on the word
//            lock: 0 -> 1, or any -> 2 after spinning    unlock: any -> 0, waking one sleeper if it was 2
// Invariants I1 a sleeper has put 2, and whoever wins after spinning puts 2 again: no sleeper is forgotten
// Orderings  O1 lock acquires, unlock releases
//            O2 unlock is a read-modify-write: others put fence_behind_locked after it (lone_wait)
// Not here   fairness, ownership
class spin_lock {
 public:
  void lock() noexcept {
    if (!try_lock()) lock_slow();
  }
  bool try_lock() noexcept {
    std::uint32_t expected = 0;
    return word_.compare_exchange_strong(expected, 1, std::memory_order_acquire, std::memory_order_relaxed);
  }
  void unlock() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) wake_one();
  }

 private:
  WEFT_API void lock_slow() noexcept;
  WEFT_API void wake_one() noexcept;

  std::atomic<std::uint32_t> word_{0};
};

}  // namespace weft::inline v0::sched
