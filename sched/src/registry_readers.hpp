// registry_readers: who reads control blocks without a handle.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

// registry_readers counts those who go from the slots to the control blocks of the fibers in use, any of which may end
// meanwhile.
//
// The count
// States     how many there are    raised: reading's beginning    lowered: its end
// Ownership  while it is not 0, no memory of a stack is given back that one of them may have found in use
// Invariants I1 whoever finds a slot in use while reading can read its control block until it ends reading
// Orderings  O1 reading: raise the count, then load slot words || none: (a slot word was cleared, and the stack set aside
//               after that), then load the count. A store-load race: fences on both sides. Either the reader finds the slot
//               not in use, or none() finds the reader.
//            O2 the end releases, none() acquires: all that was read was read before
// Not here   whether the fiber still is the one that was found; workers, which pass by stacks without a slot (stack_trim)
class registry_readers {
 public:
  class reading {
   public:
    explicit reading(registry_readers& of) noexcept : of_(of) {
      of_.count_.fetch_add(1, std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_seq_cst);  // O1
    }
    ~reading() { of_.count_.fetch_sub(1, std::memory_order_release); }  // O2
    reading(const reading&) = delete;
    reading& operator=(const reading&) = delete;

   private:
    registry_readers& of_;
  };

  bool none() const noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // O1
    return count_.load(std::memory_order_acquire) == 0;   // O2
  }

 private:
  std::atomic<std::uint32_t> count_{0};
};

}  // namespace weft::inline v0::sched
