// idle_protocol: who must wake whom, so that no work waits while a processor is free, at the fewest wakes.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

// idle_protocol counts the processors that nobody uses and the workers that search for work. It decides; who is woken
// and how is the scheduler's business. Thread-safe.
//
// Submitting and sleeping
// States     idle       processors that nobody uses: on the idle list, or lent to a blocking region
//            searching  workers (or wakes on their way) that look for work and have found none yet
// Ownership  claim_wake's caller, when true, holds one unit of `searching` and passes it to the worker it wakes, or
//            gives it back with end_search
// Invariants I1 work published before claim_wake returned false is found by a searcher, or by a worker that is still
//               busy and will search before it sleeps, or by a releaser's re-check
//            I2 at most one wake is under way for any number of submissions
// Orderings  O1 submit: publish work, then load idle and searching  || release: raise idle, then re-check the queues
//            O2 submit: publish work, then load searching           || end_search: lower searching, then re-check the queues
//               Store-load on both sides of both pairs, so seq_cst throughout: with acquire and release each side may miss
//               the other, and the work waits for ever. The submitter's publishing store is followed by a seq_cst fence
//               (in claim_wake), since a queue's own store is only a release.
// Not here   the lists of idle processors and sleeping workers (the scheduler's mutex); timers (the poller's published time)
template <template <class> class Atomic = std::atomic>
class idle_protocol {
 public:
  // claim_wake is called after publishing work. True: the caller must wake a worker now, which begins as a searcher.
  [[nodiscard]] bool claim_wake() noexcept {
    fence();  // O1, O2: the published work before the loads
    if (idle_.load(std::memory_order_seq_cst) == 0) return false;
    std::uint32_t none = 0;
    // A load first: failing to compare and swap would still take the line from a searcher.
    return searching_.load(std::memory_order_seq_cst) == 0 &&
           searching_.compare_exchange_strong(none, 1, std::memory_order_seq_cst);
  }

  // try_search asks to search, for a worker that was not woken for it. Refused while as many search as half of the busy
  // ones: they would only get into each other's way.
  [[nodiscard]] bool try_search(std::uint32_t processors) noexcept {
    std::uint32_t idle = idle_.load(std::memory_order_relaxed);
    std::uint32_t busy = processors > idle ? processors - idle : 0;
    if (2 * searching_.load(std::memory_order_relaxed) >= busy) return false;
    searching_.fetch_add(1, std::memory_order_seq_cst);
    return true;
  }

  // begin_search is try_search without asking, for a worker that knows of work.
  void begin_search() noexcept { searching_.fetch_add(1, std::memory_order_seq_cst); }

  // end_search: the caller searches no longer. True: it was the last searcher. Then, if it has found work, it must call
  // claim_wake (there may be more than one can do); if it found none, it re-checks every source before it sleeps.
  [[nodiscard]] bool end_search() noexcept {
    return searching_.fetch_sub(1, std::memory_order_seq_cst) == 1;  // O2
  }

  // processor_released and processor_taken go with every change of who uses a processor. After a release the caller
  // re-checks every source of work.
  void processor_released() noexcept { idle_.fetch_add(1, std::memory_order_seq_cst); }  // O1
  void processor_taken() noexcept { idle_.fetch_sub(1, std::memory_order_seq_cst); }  // then whether the monitor sleeps

  std::uint32_t idle() const noexcept { return idle_.load(std::memory_order_relaxed); }
  std::uint32_t searching() const noexcept { return searching_.load(std::memory_order_relaxed); }

 private:
  static void fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }

  alignas(64) Atomic<std::uint32_t> idle_{0};
  Atomic<std::uint32_t> searching_{0};
};

}  // namespace weft::inline v0::sched
