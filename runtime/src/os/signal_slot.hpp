// signal_slot: what a signal's handler may touch.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::inline v0::os::detail {

// signal_slot is one signal_set as the handler sees it. Slots are static: the handler may run on any thread at any
// time, and finds what it touches always there.
//
// The slot's words
// States     wanted   the signals of the set, bit n - 1 for signal n; 0: free, or about to be   set, cleared: the set
//            pending  those that came and were not taken                 set: the handler    left: take
//            fd       the pipe that the handler writes to                constant while wanted != 0
//            A closed set has wanted 0 and keeps its slot, which calls may still look at.
//            busy     handlers between their look at wanted and their last use of fd
// Invariants I1 a signal that finds its bit in wanted sets its bit in pending, then makes fd readable
//            I2 after release has seen busy == 0, no handler uses fd
// Orderings  O1 handler: raise busy, then load wanted || release: store wanted = 0, then load busy. Store-load on both
//               sides, so seq_cst: either the handler sees 0, or the set waits for it.
//            O2 handler: pending, then write(fd) || waiter: read(fd), then pending; ordered by the kernel
// Not here   who owns a slot, and the count of sets per signal (guarded by the registry's mutex)
struct signal_slot {
  std::atomic<std::uint64_t> wanted{0};
  std::atomic<std::uint64_t> pending{0};
  std::atomic<int> fd{-1};
  std::atomic<std::uint32_t> busy{0};

  // note is the handler's part: true if the slot wants the signal and fd has to be written to; done() follows.
  bool note(std::uint64_t bit) noexcept {
    busy.fetch_add(1, std::memory_order_seq_cst);  // O1
    if ((wanted.load(std::memory_order_seq_cst) & bit) == 0) return false;
    pending.fetch_or(bit, std::memory_order_seq_cst);  // O2
    return true;
  }
  void done() noexcept { busy.fetch_sub(1, std::memory_order_seq_cst); }

  // take removes one pending signal and returns its number; 0 if there is none.
  int take() noexcept {
    std::uint64_t bits = pending.load(std::memory_order_seq_cst);
    while (bits != 0) {
      const std::uint64_t lowest = bits & (~bits + 1);
      if (pending.compare_exchange_weak(bits, bits & ~lowest, std::memory_order_seq_cst)) {
        return __builtin_ctzll(lowest) + 1;
      }
    }
    return 0;
  }
};

}  // namespace weft::inline v0::os::detail
