// whole_lock: a mutex held by code that does not end in the middle.
#pragma once

#include <weft/mutex.hpp>
#include <weft/sched/park.hpp>

namespace weft::inline v0 {

// whole_lock holds a mutex until its end; no stop of the caller keeps it from locking.
class whole_lock {
 public:
  explicit whole_lock(mutex& m) noexcept : mutex_(m) { lock(); }
  ~whole_lock() {
    if (held_) unlock();
  }
  whole_lock(const whole_lock&) = delete;
  whole_lock& operator=(const whole_lock&) = delete;

  void lock() noexcept {
    const sched::uninterrupted to_the_end;
    mutex_.lock();
    held_ = true;
  }
  void unlock() noexcept {
    held_ = false;
    mutex_.unlock();
  }

 private:
  mutex& mutex_;
  bool held_ = false;
};

}  // namespace weft::inline v0
