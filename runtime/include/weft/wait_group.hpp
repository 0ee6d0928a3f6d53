// wait_group: wait until a number of things are done.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::inline v0 {

// wait_group counts things that are under way; wait() waits until there are none. As in Go: add before starting what
// calls done. Any number of fibers and plain threads may wait.
// Whoever returned from wait() may destroy it at once, though the last done() is still returning.
//
// The count word
// States     2 * count, plus 1 while somebody waits
// Ownership  queue_ belongs to guard_; a claimed node to its claimer until it is delivered, after guard_ was unlocked
// Invariants I1 the bit `waiting` is set exactly while the queue is not empty (outside guard_)
//            I2 with the bit set, the count reaches 0 only under guard_, by the done() that empties the queue
//            I3 without the bit, the exchange that takes the count to 0 is the last access of that done()
// Orderings  O1 every done() releases, wait() acquires: what was done before is visible after
// Not here   what is counted
class WEFT_API wait_group {
 public:
  constexpr wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  // add changes the count by n; done takes one away. A count below zero is fatal.
  void add(std::ptrdiff_t n = 1) noexcept;
  void done() noexcept { add(-1); }

  // wait returns when the count is zero, or was since the call began. Throws canceled_error if it has to wait and an
  // explicit bound of the caller (a deadline, a token) ends that; a stop of the fiber does not.
  void wait();

 private:
  static constexpr std::int64_t waiting = 1;

  sched::atomic<std::int64_t> word_{0};
  sched::spin_lock guard_;
  sched::wait_queue queue_;
};

}  // namespace weft::inline v0
