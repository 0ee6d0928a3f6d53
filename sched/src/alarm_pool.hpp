// alarm_pool: timers that outlive whoever arms them.
#pragma once

#include <weft/sched/atomic.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/timer.hpp>

#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace weft::inline v0::sched {

class scheduler;
class wait_link;

// alarm is the timer of one deadline_link. Given back once it was stopped or has rung, though its timer may still stand
// in a heap: the next user arms that very timer.
//
// The rung word
// States     false not rung | true the callback is through with the link    set: ring; cleared: whoever arms it next
// Orderings  O1 ring's store releases, its reader acquires: what the callback wrote is visible, and the link may end
// Not here   whether the alarm will ring: timer::stop says that
struct alarm {
  timer clock;
  atomic<bool> rung{false};
  wait_link* link = nullptr;  // constant while armed
  scheduler* home = nullptr;  // whose pool it is of
  alarm* next = nullptr;      // guarded by the pool's lock
};

// alarm_pool keeps a scheduler's alarms. Thread-safe. Their memory goes with the pool, which outlives the timer heaps'
// use of it.
class alarm_pool {
 public:
  // take returns an alarm that isn't armed; null without memory.
  alarm* take() noexcept {
    {
      std::lock_guard guard(lock_);
      if (alarm* a = free_) {
        free_ = a->next;
        return a;
      }
    }
    try {
      auto made = std::make_unique<alarm>();
      alarm* const a = made.get();
      std::lock_guard guard(lock_);
      all_.push_back(std::move(made));
      return a;
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  // give takes one back. REQUIRES: stopped, or rung.
  void give(alarm* a) noexcept {
    std::lock_guard guard(lock_);
    a->next = free_;
    free_ = a;
  }

 private:
  spin_lock lock_;
  // Guarded by lock_.
  std::vector<std::unique_ptr<alarm>> all_;
  alarm* free_ = nullptr;
};

}  // namespace weft::inline v0::sched
