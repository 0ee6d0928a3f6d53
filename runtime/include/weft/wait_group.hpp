// wait_group: wait until a number of things are done.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/spin_lock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::inline v0 {

// wait_group counts things that are under way; wait() waits until there are none. As in Go: add before starting what
// calls done. Any number of fibers and plain threads may wait. Not ended by stop requests.
// Whoever returned from wait() may destroy it at once, though the last done() is still returning.
//
// The count word
// States     2 * count, plus 1 while somebody waits
// Ownership  head_, tail_ and the nodes (on the stacks of the waiters) belong to guard_.
// Invariants I1 the bit `waiting` is set exactly while the list is not empty (outside guard_)
//            I2 with the bit set, the count reaches 0 only under guard_, by the done() that empties the list
//            I3 without the bit, the exchange that takes the count to 0 is the last access of that done()
// Orderings  O1 every done() releases, wait() acquires: what was done before is visible after
//            O2 a waiter reads its node under guard_ only: so the last done() is out of it when the waiter goes on
// Not here   what is counted
class WEFT_API wait_group {
 public:
  constexpr wait_group() noexcept = default;
  wait_group(const wait_group&) = delete;
  wait_group& operator=(const wait_group&) = delete;

  // add changes the count by n; done takes one away. A count below zero is fatal.
  void add(std::ptrdiff_t n = 1) noexcept;
  void done() noexcept { add(-1); }

  // wait returns when the count is zero, or was since the call began.
  void wait() noexcept;

 private:
  struct node;
  static constexpr std::int64_t waiting = 1;

  std::atomic<std::int64_t> word_{0};
  sched::spin_lock guard_;
  node* head_ = nullptr;
  node* tail_ = nullptr;
};

}  // namespace weft::inline v0
