// stack_mark_table: the marks of one scheduler.
#pragma once

#include "control_block.hpp"

#include <weft/sched/inspect.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/stack_marks.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace weft::inline v0::sched {

// touched counts the bytes from the lowest page of [bottom, top) in memory to the top. A page that was swapped out doesn't
// count.
std::size_t touched(const std::byte* bottom, const std::byte* top) noexcept;

// stack_mark_table keeps a mark for each place and size. Memory that no fiber has used since it was clean is zero: what is
// not tells how deep a stack was, so those who measure clean up. Thread-safe.
class stack_mark_table {
 public:
  // note_end counts f, which has ended and left its stack, and cleans that but for the body.
  void note_end(fiber& f) noexcept;
  // note_live looks at the stack of a fiber that is suspended.
  void note_live(const fiber_view& v) noexcept;

  template <class Visit>
  void for_each(Visit&& visit) noexcept {
    for (std::size_t i = 0; i <= marks_.size(); ++i) {
      stack_mark mark;
      {
        const std::lock_guard guard(lock_);
        mark = i < marks_.size() ? marks_[i] : others_;
      }
      if (mark.stack_size != 0) visit(mark);
    }
  }

 private:
  void note(const void* site, std::size_t size, std::size_t depth, std::uint64_t ended) noexcept;

  spin_lock lock_;
  // Guarded by lock_. Open addressing; when it is full, the rest share one mark.
  std::array<stack_mark, 1024> marks_{};
  stack_mark others_;
};

}  // namespace weft::inline v0::sched
