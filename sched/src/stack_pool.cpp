#include "stack_pool.hpp"

#include "scheduler.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

namespace weft::inline v0::sched {

namespace {

constexpr std::size_t largest_slab = 2048;  // stacks; 640 MiB of address space at the default size

}  // namespace

stack_pool::stack_pool(scheduler& home, std::size_t stack_size, guard_kind strongest) noexcept
    : home_(home), layout_(stack_layout::for_size(stack_size)), strongest_(strongest) {}

fiber* stack_pool::carve_locked() noexcept {
  for (; roomy_ != nullptr; unlist_locked(*roomy_)) {
    if (fiber* f = roomy_->carve(strongest_)) return built_locked(f);
  }
  // Where address space is short (ulimit -v), smaller slabs may still fit.
  std::unique_ptr<stack_slab> slab;
  for (std::size_t capacity = next_capacity_; capacity != 0 && slab == nullptr; capacity /= 4) {
    slab = stack_slab::map(layout_, capacity);
  }
  if (slab == nullptr) return nullptr;
  next_capacity_ = std::min(next_capacity_ * 2, largest_slab);
  slab->older = std::move(slabs_);
  slabs_ = std::move(slab);
  newest_.store(slabs_.get(), std::memory_order_release);  // pairs with for_each_in_use
  list_locked(*slabs_);
  return built_locked(slabs_->carve(strongest_));
}

fiber* stack_pool::built_locked(fiber* f) noexcept {
  f->pool = this;
  f->home = &home_;
  if (home_.stack_marks != nullptr) f->checks |= depth_check;
  most_built_ = std::max(most_built_, ++built_);
  return f;
}

void stack_pool::list_locked(stack_slab& slab) noexcept {
  if (slab.listed) return;
  slab.listed = true;
  slab.next_roomy = roomy_;
  roomy_ = &slab;
}

void stack_pool::unlist_locked(stack_slab& slab) noexcept {
  if (!slab.listed) return;
  slab.listed = false;
  stack_slab** to = &roomy_;
  while (*to != &slab) to = &(*to)->next_roomy;
  *to = slab.next_roomy;
}

fiber* stack_pool::take(std::size_t wanted) noexcept {
  std::lock_guard guard(lock_);
  fiber* first = nullptr;
  for (std::size_t i = 0; i < wanted; ++i) {
    fiber* f = nullptr;
    if (warm_ != nullptr) {
      f = warm_;
      warm_ = f->link;
      --warm_count_;
    } else if (first == nullptr || i < 2) {
      // Carving costs a page fault and maybe a system call: a batch of stock is not worth it, what is needed now is.
      f = carve_locked();
      if (f == nullptr) break;
    } else {
      break;
    }
    f->link = first;
    first = f;
  }
  fewest_warm_ = std::min(fewest_warm_, warm_count_);
  return first;
}

void stack_pool::give(fiber* first, fiber* last, std::size_t count) noexcept {
  std::lock_guard guard(lock_);
  last->link = warm_;
  warm_ = first;
  warm_count_ += count;
}

bool stack_pool::begin_span(std::size_t keep) noexcept {
  std::lock_guard guard(lock_);
  surplus_ = fewest_warm_ > keep ? fewest_warm_ - keep : 0;
  fewest_warm_ = warm_count_;
  return surplus_ != 0 || warm_count_ > keep;
}

std::size_t stack_pool::set_aside(std::size_t most) noexcept {
  std::lock_guard guard(lock_);
  // Those that were used last; to find the others, memory would have to be touched that may be cold.
  const std::size_t n = std::min({most, surplus_, warm_count_});
  for (std::size_t i = 0; i < n; ++i) {
    fiber* f = warm_;
    warm_ = f->link;
    f->link = aside_;
    aside_ = f;
  }
  warm_count_ -= n;
  fewest_warm_ -= std::min(fewest_warm_, n);
  surplus_ -= n;
  aside_count_ += n;
  return surplus_;
}

std::size_t stack_pool::give_back() noexcept {
  struct stripped {
    stack_slab* slab;
    const void* place;
  };
  std::array<stripped, 64> some;
  std::size_t kept = 0;
  fiber* left = aside_;
  while (left != nullptr) {
    std::size_t count = 0;
    std::size_t seen = 0;
    fiber* keep = nullptr;
    for (; left != nullptr && count < some.size(); ++seen) {
      fiber* f = std::exchange(left, left->link);
      if (f->sleep.alarm.in_heap()) {  // stopped, but its memory is still in use
        f->link = keep;
        keep = f;
        ++kept;
        continue;
      }
      some[count++] = {f->slab, f};
      stack_slab::strip(f);
    }
    stack_slab* bare = nullptr;
    {
      std::lock_guard guard(lock_);
      aside_count_ -= seen;
      while (keep != nullptr) {
        fiber* f = std::exchange(keep, keep->link);
        f->link = warm_;
        warm_ = f;
        ++warm_count_;
      }
      for (std::size_t i = 0; i < count; ++i) {
        stack_slab& slab = *some[i].slab;
        slab.put_back(some[i].place);
        --built_;
        list_locked(slab);
        if (!slab.bare()) continue;
        unlist_locked(slab);
        slab.next_roomy = bare;
        bare = &slab;
      }
    }
    while (bare != nullptr) {
      stack_slab* slab = std::exchange(bare, bare->next_roomy);
      if (!slab->scour()) continue;
      std::lock_guard guard(lock_);
      list_locked(*slab);
    }
  }
  aside_ = nullptr;
  return kept;
}

stack_pool::figures stack_pool::count() const noexcept {
  std::lock_guard guard(lock_);
  figures f;
  f.warm = warm_count_ + aside_count_;
  f.stacks = most_built_;
  f.free = f.warm + (most_built_ - built_);
  for (const stack_slab* s = slabs_.get(); s != nullptr; s = s->older.get()) f.bytes += s->bytes();
  return f;
}

void stack_cache::spill(std::size_t n) noexcept {
  if (n == 0 || count_ == 0) return;
  // The newest stay, since their pages are in the CPU's caches: walk past them.
  n = std::min(n, count_);
  fiber* first = first_;
  fiber** cut = &first_;
  for (std::size_t i = count_ - n; i != 0; --i) {
    cut = &first->link;
    first = first->link;
  }
  *cut = nullptr;
  fiber* last = first;
  while (last->link != nullptr) last = last->link;
  count_ -= n;
  first->pool->give(first, last, n);
}

}  // namespace weft::inline v0::sched
