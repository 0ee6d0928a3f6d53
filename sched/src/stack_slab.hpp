// stack_slab: many stacks in one mapping.
#pragma once

#include "control_block.hpp"
#include "stack_guard.hpp"

#include <weft/sched/fatal.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace weft::inline v0::sched {

// stack_layout is how the slots of a slab are cut: guard below, stack above, control block at the top.
struct stack_layout {
  std::size_t usable;  // bytes of the stack, control block included; whole pages
  std::size_t stride;  // bytes of a slot; not a power of two, else equal offsets would meet in the same cache sets

  static stack_layout for_size(std::size_t requested) noexcept;
};

// stack_slab is one mapping of `capacity` slots, carved in order. The mapping lives as long as its pool: control blocks
// stay readable for stale holders of their address.
//
// The slot word, one per slot, outside of the stacks so that listing fibers touches no stack
// Bits       0      in use: from create_fiber to the return of the stack
//            1..63  generation: grows with each use
// Orderings  set and cleared with release; a reader (acquire) that finds it in use may read the atomics of the control block
// Not here   whether the fiber still runs when the reader acts: every action on it competes by compare and swap
class stack_slab {
 public:
  // map reserves a slab, or returns null. Memory is committed a page at a time when it is touched.
  static std::unique_ptr<stack_slab> map(stack_layout layout, std::size_t capacity) noexcept;
  ~stack_slab();
  stack_slab(const stack_slab&) = delete;
  stack_slab& operator=(const stack_slab&) = delete;

  // carve guards the next slot and constructs its control block; null when all are carved. One caller at a time.
  fiber* carve(guard_kind strongest) noexcept;

  // visit is called with every fiber in use. Any thread.
  template <class Visit>
  void for_each_in_use(Visit&& visit) noexcept {
    std::size_t n = carved_.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < n; ++i) {
      if ((words_[i].load(std::memory_order_acquire) & 1) != 0) visit(*control_block(i));
    }
  }

  // fiber_on returns the fiber in use in whose slot the address lies, if there is one. Any thread.
  fiber* fiber_on(const std::byte* address) noexcept {
    if (address < memory_ || address >= memory_ + layout_.stride * capacity_) return nullptr;
    const std::size_t i = static_cast<std::size_t>(address - memory_) / layout_.stride;
    if (i >= carved_.load(std::memory_order_acquire)) return nullptr;
    return (words_[i].load(std::memory_order_acquire) & 1) != 0 ? control_block(i) : nullptr;
  }

  std::size_t carved() const noexcept { return carved_.load(std::memory_order_relaxed); }
  std::size_t bytes() const noexcept { return layout_.stride * capacity_; }

  std::unique_ptr<stack_slab> older;  // the slab mapped before this one

 private:
  stack_slab(stack_layout layout, std::size_t capacity, std::byte* memory,
             std::unique_ptr<std::atomic<std::uint64_t>[]> words, std::unique_ptr<guard_kind[]> guards) noexcept;
  fiber* control_block(std::size_t i) noexcept;

  const stack_layout layout_;
  const std::size_t capacity_;
  std::byte* const memory_;
  const std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
  const std::unique_ptr<guard_kind[]> guards_;
  std::atomic<std::size_t> carved_{0};
};

}  // namespace weft::inline v0::sched
