#include "stack_marks.hpp"

#include "sanitizers.hpp"
#include "scheduler.hpp"

#include <weft/sched/inspect.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <mutex>

#include <sys/mman.h>

namespace weft::inline v0::sched {

namespace {

constexpr std::size_t page = 4096;

// What is read may be written meanwhile, or belong to no object any more; only whether it is zero counts.
#if defined(WEFT_ASAN) || defined(WEFT_TSAN)
__attribute__((no_sanitize("address", "thread")))
#endif
bool
is_zero(const std::byte* word) noexcept {
  return *reinterpret_cast<const volatile std::uint64_t*>(word) == 0;
}

// lowest_used returns the lowest word that is not zero. The very first may be a canary.
const std::byte* lowest_used(const std::byte* bottom, const std::byte* top) noexcept {
  const std::byte* at = top - touched(bottom, top);
  if (at == bottom) at += sizeof canary_value;
  while (at < top && is_zero(at)) at += sizeof(std::uint64_t);
  return std::min(at, top);
}

}  // namespace

std::size_t touched(const std::byte* bottom, const std::byte* top) noexcept {
  constexpr std::size_t step = 256;
  std::array<unsigned char, step> in_memory;
  const auto from = reinterpret_cast<std::uintptr_t>(bottom);
  const std::size_t pages = (reinterpret_cast<std::uintptr_t>(top) - from + page - 1) / page;
  for (std::size_t i = 0; i < pages; i += step) {
    const std::size_t n = std::min(step, pages - i);
    if (sys_call(::mincore, reinterpret_cast<void*>(from + i * page), n * page, in_memory.data()) != 0) return 0;
    for (std::size_t k = 0; k < n; ++k) {
      if ((in_memory[k] & 1) != 0) return static_cast<std::size_t>(top - (bottom + (i + k) * page));
    }
  }
  return 0;
}

void stack_mark_table::note_end(fiber& f) noexcept {
  auto* const body = static_cast<std::byte*>(f.body);
  const auto used = static_cast<std::size_t>(body - lowest_used(f.stack_bottom, body));
  note(f.spawned_at.load(std::memory_order_relaxed), f.pool->usable(),
       static_cast<std::size_t>(f.stack_bottom + f.pool->usable() - body) + used, 1);
  std::memset(body - used, 0, used);
}

void stack_mark_table::note_live(const fiber_view& v) noexcept {
  if (v.stack_used == 0) return;
  const std::byte* const top = v.stack_bottom + v.stack_size;
  note(v.spawned_at, v.stack_size, static_cast<std::size_t>(top - lowest_used(v.stack_bottom, top - v.stack_used)), 0);
}

void stack_mark_table::note(const void* site, std::size_t size, std::size_t depth, std::uint64_t ended) noexcept {
  const std::lock_guard guard(lock_);
  const std::size_t first = (std::hash<const void*>()(site) >> 2) % marks_.size();
  stack_mark* mark = &others_;
  for (std::size_t i = 0; i < marks_.size(); ++i) {
    stack_mark& each = marks_[(first + i) % marks_.size()];
    if (each.stack_size != 0 && (each.spawned_at != site || each.stack_size != size)) continue;
    mark = &each;
    break;
  }
  if (mark->stack_size == 0) *mark = {mark == &others_ ? nullptr : site, size, 0, 0};
  mark->fibers += ended;
  mark->deepest = std::max(mark->deepest, depth);
}

void for_each_stack_mark(scheduler& s, void (*visit)(void*, const stack_mark&), void* context) noexcept {
  if (s.stack_marks == nullptr) return;
  inspect_options how;
  how.frames = false;
  inspect(
      s, how, [](void* marks, const fiber_view& v) { static_cast<stack_mark_table*>(marks)->note_live(v); },
      s.stack_marks.get());
  s.stack_marks->for_each([&](const stack_mark& m) { visit(context, m); });
}

}  // namespace weft::inline v0::sched
