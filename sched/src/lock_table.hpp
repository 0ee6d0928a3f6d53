// lock_table: the locks that one thread holds for the fiber that runs on it.
#pragma once

#include "held_locks.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

namespace weft::inline v0::sched {

// lock_table has room for a number of locks; those that are taken beyond it are not known. Owned by its thread. Allocates
// nothing: an allocator's own locks are among those that are entered.
class lock_table {
 public:
  static constexpr std::size_t capacity = 16;

  bool empty() const noexcept { return count_ == 0; }
  std::span<const held_lock> held() const noexcept { return {items_.data(), count_}; }

  bool has(const void* lock) const noexcept { return find(lock) != count_; }

  // add enters a lock, or that it is held once more: then of `l` the address alone counts.
  void add(const held_lock& l) noexcept {
    if (const std::size_t i = find(l.address); i != count_) {
      ++items_[i].times;
    } else if (count_ != capacity) {
      items_[count_++] = l;
    }
  }

  // remove enters that a lock is held once less. One that is not known was taken by nobody of interest.
  void remove(const void* lock) noexcept {
    const std::size_t i = find(lock);
    if (i == count_ || --items_[i].times != 0) return;
    std::copy(items_.begin() + i + 1, items_.begin() + count_, items_.begin() + i);
    --count_;
  }

 private:
  // The latest first: locks are given back in the reverse order, as a rule.
  std::size_t find(const void* lock) const noexcept {
    for (std::size_t i = count_; i != 0; --i) {
      if (items_[i - 1].address == lock) return i - 1;
    }
    return count_;
  }

  std::size_t count_ = 0;
  std::array<held_lock, capacity> items_{};
};

}  // namespace weft::inline v0::sched
