#include "stack_slab.hpp"

#include "held_locks.hpp"

#include <weft/sched/sys.hpp>

#include <new>

#include <sys/mman.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif

namespace weft::inline v0::sched {

namespace {

constexpr std::size_t page = 4096;

// Tops are coloured: the hottest lines of all fibers would else have equal page offsets, and share the same cache sets.
constexpr std::size_t colours = 16;
constexpr std::size_t colour_step = 64;
static_assert(sizeof(fiber) + colours * colour_step <= page / 2, "the top page keeps room for a body and a first frame");

}  // namespace

stack_layout stack_layout::for_size(std::size_t requested) noexcept {
  constexpr std::size_t smallest = 4 * page;
  std::size_t usable = (requested + page - 1) / page * page;
  if (usable < smallest) usable = smallest;
  std::size_t stride = usable + guard_size;
  if ((stride & (stride - 1)) == 0) stride += page;
  return {usable, stride};
}

std::unique_ptr<stack_slab> stack_slab::map(stack_layout layout, std::size_t capacity) noexcept {
  std::unique_ptr<std::atomic<std::uint64_t>[]> words(new (std::nothrow) std::atomic<std::uint64_t>[capacity]());
  std::unique_ptr<guard_kind[]> guards(new (std::nothrow) guard_kind[capacity]());
  if (words == nullptr || guards == nullptr) return nullptr;
  void* memory = ::mmap(nullptr, layout.stride * capacity, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // A huge page would commit several stacks at the first touch of one.
  sys_call(::madvise, memory, layout.stride * capacity, MADV_NOHUGEPAGE);
  auto* slab = new (std::nothrow)
      stack_slab(layout, capacity, static_cast<std::byte*>(memory), std::move(words), std::move(guards));
  if (slab == nullptr) sys_call(::munmap, memory, layout.stride * capacity);
  return std::unique_ptr<stack_slab>(slab);
}

stack_slab::stack_slab(stack_layout layout, std::size_t capacity, std::byte* memory,
                       std::unique_ptr<std::atomic<std::uint64_t>[]> words,
                       std::unique_ptr<guard_kind[]> guards) noexcept
    : layout_(layout), capacity_(capacity), memory_(memory), words_(std::move(words)), guards_(std::move(guards)) {}

stack_slab::~stack_slab() {
  std::size_t n = carved_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < n; ++i) {
    control_block(i)->~fiber();
    forget_guard(guards_[i]);
  }
  if (sys_call(::munmap, static_cast<void*>(memory_), layout_.stride * capacity_) != 0) fatal("munmap of stacks failed");
}

fiber* stack_slab::control_block(std::size_t i) noexcept {
  std::byte* top = memory_ + (i + 1) * layout_.stride;
  return reinterpret_cast<fiber*>(top - sizeof(fiber) - (i % colours) * colour_step);
}

fiber* stack_slab::carve(guard_kind strongest) noexcept {
  std::size_t i = carved_.load(std::memory_order_relaxed);
  if (i == capacity_) return nullptr;
  std::byte* slot = memory_ + i * layout_.stride;
  std::byte* bottom = slot + layout_.stride - layout_.usable;
  guards_[i] = install_guard(bottom - guard_size, strongest);

  auto* f = new (control_block(i)) fiber;
  f->stack_bottom = bottom;
  f->slot = &words_[i];
  if (guards_[i] == guard_kind::canary) {
    auto* canary = reinterpret_cast<std::uint64_t*>(bottom);
    *canary = canary_value;
    f->canary = canary;
    f->checks |= canary_check;
  }
  if (held_locks_known()) f->checks |= held_locks_check;
#if defined(VALGRIND_STACK_REGISTER)
  [[maybe_unused]] auto id = VALGRIND_STACK_REGISTER(bottom, bottom + layout_.usable);
#endif
  carved_.store(i + 1, std::memory_order_release);  // pairs with for_each_in_use: the control block is constructed
  return f;
}

}  // namespace weft::inline v0::sched
