#include "timer_heap.hpp"

#include <mutex>
#include <new>

namespace weft::inline v0::sched {

void timer_heap::abandon() noexcept {
  std::lock_guard guard(lock_);
  for (timer* t : heap_) t->heap_.store(nullptr, std::memory_order_release);  // O2
  heap_.clear();
}

void timer_heap::place_locked(std::size_t i, timer* t) noexcept {
  heap_[i] = t;
  t->index_ = i;
}

void timer_heap::sift_up_locked(std::size_t i) noexcept {
  timer* t = heap_[i];
  while (i != 0) {
    std::size_t parent = (i - 1) / arity;
    if (heap_[parent]->position_ <= t->position_) break;
    place_locked(i, heap_[parent]);
    i = parent;
  }
  place_locked(i, t);
}

void timer_heap::sift_down_locked(std::size_t i) noexcept {
  timer* t = heap_[i];
  for (;;) {
    std::size_t first = i * arity + 1;
    if (first >= heap_.size()) break;
    std::size_t least = first;
    std::size_t end = first + arity < heap_.size() ? first + arity : heap_.size();
    for (std::size_t child = first + 1; child < end; ++child) {
      if (heap_[child]->position_ < heap_[least]->position_) least = child;
    }
    if (t->position_ <= heap_[least]->position_) break;
    place_locked(i, heap_[least]);
    i = least;
  }
  place_locked(i, t);
}

void timer_heap::remove_locked(std::size_t i) noexcept {
  timer* t = heap_[i];
  timer* last = heap_.back();
  heap_.pop_back();
  if (last != t) {
    place_locked(i, last);
    sift_up_locked(i);
    sift_down_locked(last->index_);
  }
  t->heap_.store(nullptr, std::memory_order_release);  // O2: the fields are the owner's again
}

void timer_heap::purge_locked() noexcept {
  std::size_t kept = 0;
  for (timer* t : heap_) {
    if (t->due_.load(std::memory_order_relaxed) == 0) {
      t->heap_.store(nullptr, std::memory_order_release);  // O2
    } else {
      place_locked(kept++, t);
    }
  }
  heap_.resize(kept);
  for (std::size_t i = kept / arity + 1; i-- > 0;) {
    if (i < kept) sift_down_locked(i);
  }
  stopped_.store(0, std::memory_order_relaxed);
}

void timer_heap::publish_locked() noexcept {
  next_.store(heap_.empty() ? never : heap_[0]->position_, std::memory_order_seq_cst);
}

bool timer_heap::insert(timer& t, nanotime when, timer::callback call, void* object, std::uint32_t sequence) noexcept {
  std::lock_guard guard(lock_);
  if (stopped_.load(std::memory_order_relaxed) > heap_.size() / 4) purge_locked();
  try {
    heap_.push_back(&t);
  } catch (const std::bad_alloc&) {
    return false;
  }
  t.callback_ = call;
  t.object_ = object;
  t.sequence_ = sequence;
  t.position_ = when;
  t.heap_.store(this, std::memory_order_relaxed);
  t.due_.store(when, std::memory_order_release);  // O1
  sift_up_locked(heap_.size() - 1);
  publish_locked();
  return true;
}

bool timer_heap::move(timer& t, nanotime when, timer::callback call, void* object, std::uint32_t sequence) noexcept {
  std::lock_guard guard(lock_);
  if (t.heap_.load(std::memory_order_relaxed) != this) return false;
  t.callback_ = call;
  t.object_ = object;
  t.sequence_ = sequence;
  t.position_ = when;
  t.due_.store(when, std::memory_order_release);  // O1
  sift_up_locked(t.index_);
  sift_down_locked(t.index_);
  publish_locked();
  return true;
}

std::size_t timer_heap::run_due(nanotime at) noexcept {
  std::size_t fired = 0;
  std::unique_lock guard(lock_);
  while (!heap_.empty() && heap_[0]->position_ <= at) {
    timer* t = heap_[0];
    nanotime due = t->due_.load(std::memory_order_acquire);
    if (due > t->position_) {  // moved later; others may be due before it
      t->position_ = due;
      sift_down_locked(0);
      continue;
    }
    // The licence to fire. It fails if the owner stops or postpones meanwhile: look again.
    if (due != 0 && !t->due_.compare_exchange_strong(due, 0, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    timer::callback call = t->callback_;
    void* object = t->object_;
    std::uint32_t sequence = t->sequence_;
    remove_locked(0);
    if (due == 0) continue;  // was stopped
    publish_locked();
    guard.unlock();
    call(object, sequence);
    ++fired;
    guard.lock();
  }
  publish_locked();
  return fired;
}

void timer_heap::purge() noexcept {
  std::lock_guard guard(lock_);
  purge_locked();
  publish_locked();
}

bool timer::postpone(nanotime when) noexcept {
  nanotime due = due_.load(std::memory_order_relaxed);
  while (due != 0 && when >= due) {
    if (due_.compare_exchange_weak(due, when, std::memory_order_release, std::memory_order_relaxed)) return true;
  }
  return false;
}

bool timer::stop() noexcept {
  if (due_.exchange(0, std::memory_order_acq_rel) == 0) return false;
  // It may leave the heap on its own just now; then the count is one too high, and a purge comes a little early.
  if (timer_heap* heap = heap_.load(std::memory_order_acquire)) heap->count_stopped();
  return true;
}

}  // namespace weft::inline v0::sched
