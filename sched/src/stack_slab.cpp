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

}  // namespace

stack_layout stack_layout::for_size(std::size_t requested) noexcept {
  constexpr std::size_t smallest = 4 * page;
  std::size_t usable = (requested + page - 1) / page * page;
  if (usable < smallest) usable = smallest;
  std::size_t stride = usable + guard_size;
  if ((stride & (stride - 1)) == 0) stride += page;
  return {usable, stride};
}

namespace {

constexpr int protection = PROT_READ | PROT_WRITE;
constexpr int mapping_flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;

// A huge page would commit several stacks at the first touch of one.
void without_huge_pages(void* memory, std::size_t size) noexcept { sys_call(::madvise, memory, size, MADV_NOHUGEPAGE); }

}  // namespace

std::unique_ptr<stack_slab> stack_slab::map(stack_layout layout, std::size_t capacity) noexcept {
  std::unique_ptr<std::atomic<std::uint64_t>[]> words(new (std::nothrow) std::atomic<std::uint64_t>[capacity]());
  std::unique_ptr<slot[]> slots(new (std::nothrow) slot[capacity]());
  if (words == nullptr || slots == nullptr) return nullptr;
  const std::size_t size = layout.stride * capacity;
  void* memory = ::mmap(nullptr, size, protection, mapping_flags, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  without_huge_pages(memory, size);
  auto* slab = new (std::nothrow)
      stack_slab(layout, capacity, static_cast<std::byte*>(memory), std::move(words), std::move(slots));
  if (slab == nullptr) sys_call(::munmap, memory, size);
  return std::unique_ptr<stack_slab>(slab);
}

stack_slab::stack_slab(stack_layout layout, std::size_t capacity, std::byte* memory,
                       std::unique_ptr<std::atomic<std::uint64_t>[]> words, std::unique_ptr<slot[]> slots) noexcept
    : layout_(layout), capacity_(capacity), memory_(memory), words_(std::move(words)), slots_(std::move(slots)) {}

stack_slab::~stack_slab() {
  const std::size_t n = carved_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < n; ++i) {
    if (slots_[i].built) control_block(i)->~fiber();
    forget_guard(slots_[i].guard);
  }
  if (lost_) return;
  if (sys_call(::munmap, static_cast<void*>(memory_), layout_.stride * capacity_) != 0) fatal("munmap of stacks failed");
}

fiber* stack_slab::control_block(std::size_t i) noexcept {
  static_assert(sizeof(fiber) + colours * colour_step <= page / 2, "the top page keeps room for a body and a first frame");
  std::byte* top = memory_ + (i + 1) * layout_.stride;
  return reinterpret_cast<fiber*>(top - sizeof(fiber) - (i % colours) * colour_step);
}

fiber* stack_slab::carve(guard_kind strongest) noexcept {
  const std::size_t carved = carved_.load(std::memory_order_relaxed);
  const std::size_t i = first_bare_ != none ? first_bare_ : carved;
  if (i == capacity_) return nullptr;
  std::byte* bottom = memory_ + (i + 1) * layout_.stride - layout_.usable;
  if (i == carved) {
    slots_[i].guard = install_guard(bottom - guard_size, strongest);
  } else {
    first_bare_ = slots_[i].next_bare;
  }

  auto* f = new (control_block(i)) fiber;
  f->slab = this;
  f->stack_bottom = bottom;
  f->slot = &words_[i];
  if (slots_[i].guard == guard_kind::canary) {
    auto* canary = reinterpret_cast<std::uint64_t*>(bottom);
    *canary = canary_value;
    f->canary = canary;
    f->checks |= canary_check;
  }
  if (held_locks_known()) f->checks |= held_locks_check;
#if defined(VALGRIND_STACK_REGISTER)
  if (i == carved) {
    [[maybe_unused]] auto id = VALGRIND_STACK_REGISTER(bottom, bottom + layout_.usable);
  }
#endif
  slots_[i].built = true;
  ++built_;
  // Pairs with for_each_in_use: the control block is constructed.
  if (i == carved) carved_.store(i + 1, std::memory_order_release);
  return f;
}

void stack_slab::strip(fiber* f) noexcept {
  const stack_slab& slab = *f->slab;
  std::byte* const bottom = f->stack_bottom;
  f->~fiber();
  // MADV_FREE would cost two thirds as much, but the memory would stay ours, and count as ours, until others press for it.
  // Marked guards stay.
  sys_call(::madvise, static_cast<void*>(bottom), slab.layout_.usable, MADV_DONTNEED);
}

void stack_slab::put_back(const void* place) noexcept {
  const std::size_t i = index_of(place);
  slots_[i].built = false;
  slots_[i].next_bare = first_bare_;
  first_bare_ = static_cast<std::uint32_t>(i);
  --built_;
}

bool stack_slab::scour() noexcept {
  // In place: nobody else can get the address meanwhile.
  const std::size_t size = layout_.stride * capacity_;
  if (::mmap(memory_, size, protection, mapping_flags | MAP_FIXED, -1, 0) == MAP_FAILED) {
    // Older kernels may have unmapped before they refuse. MS_ASYNC does nothing but look whether all of it is there.
    lost_ = sys_call(::msync, static_cast<void*>(memory_), size, MS_ASYNC) != 0;
    return !lost_;
  }
  without_huge_pages(memory_, size);
  const std::size_t n = carved_.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < n; ++i) forget_guard(slots_[i].guard);
  first_bare_ = none;
  carved_.store(0, std::memory_order_relaxed);  // the walks find none of them in use as it is
  return true;
}

}  // namespace weft::inline v0::sched
