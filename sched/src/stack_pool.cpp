#include "stack_pool.hpp"

#include "scheduler.hpp"

#include <weft/sched/sys.hpp>

#include <algorithm>
#include <mutex>

#include <sys/mman.h>

namespace weft::inline v0::sched {

namespace {

constexpr std::size_t largest_slab = 2048;  // stacks; 640 MiB of address space at the default size

}  // namespace

stack_pool::stack_pool(scheduler& home, std::size_t stack_size, guard_kind strongest) noexcept
    : home_(home), layout_(stack_layout::for_size(stack_size)), strongest_(strongest) {}

fiber* stack_pool::carve_locked() noexcept {
  if (slabs_ != nullptr) {
    if (fiber* f = slabs_->carve(strongest_)) return f;
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
  return slabs_->carve(strongest_);
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
    } else if (cold_ != nullptr) {
      f = cold_;
      cold_ = f->link;
      --cold_count_;
    } else if (first == nullptr || i < 2) {
      // Carving costs a page fault and a system call: a batch of stock is not worth it, what is needed now is.
      f = carve_locked();
      if (f == nullptr) break;
      f->pool = this;
      f->home = &home_;
      if (home_.stack_marks != nullptr) f->checks |= depth_check;
    } else {
      break;
    }
    f->link = first;
    first = f;
  }
  return first;
}

void stack_pool::give(fiber* first, fiber* last, std::size_t count) noexcept {
  std::lock_guard guard(lock_);
  last->link = warm_;
  warm_ = first;
  warm_count_ += count;
}

bool stack_pool::trim(std::size_t keep, std::size_t batch) noexcept {
  fiber* taken = nullptr;
  bool more = false;
  {
    std::lock_guard guard(lock_);
    for (std::size_t i = 0; i < batch && warm_count_ > keep; ++i) {
      fiber* f = warm_;
      warm_ = f->link;
      --warm_count_;
      f->link = taken;
      taken = f;
    }
    more = warm_count_ > keep;
  }
  if (taken == nullptr) return false;
  fiber* last = nullptr;
  std::size_t count = 0;
  for (fiber* f = taken; f != nullptr; f = f->link) {
    last = f;
    ++count;
    // The top page holds the control block, whose memory stays; a canary's page is rewritten below.
    auto top_page = reinterpret_cast<std::uintptr_t>(f) / 4096 * 4096;
    auto bottom = reinterpret_cast<std::uintptr_t>(f->stack_bottom);
    sys_call(::madvise, static_cast<void*>(f->stack_bottom), top_page - bottom, MADV_DONTNEED);
    if (f->canary != nullptr) *reinterpret_cast<std::uint64_t*>(f->stack_bottom) = canary_value;
  }
  std::lock_guard guard(lock_);
  last->link = cold_;
  cold_ = taken;
  cold_count_ += count;
  return more;
}

stack_pool::figures stack_pool::count() const noexcept {
  std::lock_guard guard(lock_);
  figures f;
  for (const stack_slab* s = slabs_.get(); s != nullptr; s = s->older.get()) {
    f.stacks += s->carved();
    f.bytes += s->bytes();
  }
  f.free = warm_count_ + cold_count_;
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
