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

// stack_slab is one mapping of `capacity` slots. It lives as long as its pool. A slot is virgin, or has a guard; with a guard
// it has a control block (built), or no memory at all (bare). carve builds, strip makes bare, and scour makes virgin again,
// which gives the page tables back as well.
// Not thread-safe but for the walks: carve and put_back exclude each other by the pool's lock, strip and scour run on slots,
// or on a slab, that nobody else is given meanwhile.
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

  // carve constructs a control block in a bare slot, or guards a virgin one first; null when all are built.
  fiber* carve(guard_kind strongest) noexcept;

  // strip destroys the control block of a free stack and returns the memory of the slot to the system. put_back follows.
  // REQUIRES: nobody holds its address.
  static void strip(fiber* f) noexcept;
  // put_back makes a stripped slot one that carve may take. `place` is where the control block was.
  void put_back(const void* place) noexcept;
  // bare tells that no slot is built, though some were; scour then makes all virgin, or leaves them if the system refuses.
  // False: it refused, and took the mapping away all the same. Then nothing can be carved any more.
  bool bare() const noexcept { return built_ == 0 && carved_.load(std::memory_order_relaxed) != 0; }
  bool scour() noexcept;

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
    const std::size_t i = index_of(address);
    if (i >= carved_.load(std::memory_order_acquire)) return nullptr;
    return (words_[i].load(std::memory_order_acquire) & 1) != 0 ? control_block(i) : nullptr;
  }

  std::size_t built() const noexcept { return built_; }
  std::size_t bytes() const noexcept { return layout_.stride * capacity_; }

  std::unique_ptr<stack_slab> older;  // the slab mapped before this one
  // Of the pool, guarded by its lock: the list of those that may have a slot to carve.
  stack_slab* next_roomy = nullptr;
  bool listed = false;

 private:
  friend struct debugger_access;

  // Tops are coloured: the hottest lines of all fibers would else have equal page offsets, and share the same cache sets.
  static constexpr std::size_t colours = 16;
  static constexpr std::size_t colour_step = 64;
  struct slot {
    guard_kind guard;
    bool built;
    std::uint32_t next_bare;  // of a bare slot: the next one, or none
  };
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  stack_slab(stack_layout layout, std::size_t capacity, std::byte* memory,
             std::unique_ptr<std::atomic<std::uint64_t>[]> words, std::unique_ptr<slot[]> slots) noexcept;
  fiber* control_block(std::size_t i) noexcept;
  std::size_t index_of(const void* address) const noexcept {
    return static_cast<std::size_t>(static_cast<const std::byte*>(address) - memory_) / layout_.stride;
  }

  const stack_layout layout_;
  const std::size_t capacity_;
  std::byte* const memory_;
  const std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
  const std::unique_ptr<slot[]> slots_;
  std::uint32_t first_bare_ = none;
  std::size_t built_ = 0;
  bool lost_ = false;
  std::atomic<std::size_t> carved_{0};  // slots from the lowest on that are not virgin
};

}  // namespace weft::inline v0::sched
