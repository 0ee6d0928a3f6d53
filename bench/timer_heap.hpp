// The usual timers: a 4-ary heap of times under a mutex, with the place of each, so that any one can be moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace bench {

class timer_heap {
 public:
  explicit timer_heap(std::size_t timers) : place_(timers, none) {}

  void set(std::size_t timer, std::int64_t when) {
    const std::lock_guard guard(mutex_);
    if (place_[timer] == none) {
      place_[timer] = heap_.size();
      heap_.push_back({when, timer});
    } else {
      heap_[place_[timer]].when = when;
    }
    down(up(place_[timer]));
  }

  void clear(std::size_t timer) {
    const std::lock_guard guard(mutex_);
    const std::size_t i = place_[timer];
    if (i == none) return;
    place_[timer] = none;
    const entry last = heap_.back();
    heap_.pop_back();
    if (last.timer == timer) return;
    put(i, last);
    down(up(i));
  }

 private:
  static constexpr std::size_t none = ~std::size_t{0};
  static constexpr std::size_t arity = 4;
  struct entry {
    std::int64_t when;
    std::size_t timer;
  };

  void put(std::size_t i, entry e) {
    heap_[i] = e;
    place_[e.timer] = i;
  }
  std::size_t up(std::size_t i) {
    const entry e = heap_[i];
    while (i != 0 && heap_[(i - 1) / arity].when > e.when) {
      put(i, heap_[(i - 1) / arity]);
      i = (i - 1) / arity;
    }
    put(i, e);
    return i;
  }
  void down(std::size_t i) {
    const entry e = heap_[i];
    for (;;) {
      std::size_t least = i * arity + 1;
      if (least >= heap_.size()) break;
      for (std::size_t child = least + 1; child < heap_.size() && child <= i * arity + arity; ++child) {
        if (heap_[child].when < heap_[least].when) least = child;
      }
      if (heap_[least].when >= e.when) break;
      put(i, heap_[least]);
      i = least;
    }
    put(i, e);
  }

  std::mutex mutex_;
  std::vector<entry> heap_;
  std::vector<std::size_t> place_;
};

}  // namespace bench
