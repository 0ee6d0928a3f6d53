// channel_base: a channel apart from its elements. Included by channel.hpp.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <mutex>

namespace weft::inline v0::detail {

// channel_base is what a channel is apart from its elements. Shared by its handles, and by whoever waits at it.
//
// Who keeps it
// States     references_  handles, and selects that wait    set: refer, let_go
//            waiting_     sends and receives that are parked here, or come back to try again; under the lock
//                         set: wait_locked    left: whoever claims with done or closed, on behalf of the waiter, which then
//                         keeps away; else the waiter (stop_waiting)
//            abandoned_   there are no references any more; under the lock
// Ownership  who finds no references and nobody waiting destroys it: the last reference, or the last one to stop waiting
// Not here   whoever is inside of a call without being parked: a reference of the caller keeps it
class channel_base {
 public:
  channel_base(const channel_base&) = delete;
  channel_base& operator=(const channel_base&) = delete;

  void refer() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  // let_go and stop_waiting are true for the last one, who destroys the channel.
  [[nodiscard]] bool let_go() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return false;
    const std::lock_guard guard(lock);
    abandoned_ = true;
    return waiting_ == 0;
  }
  void wait_locked() noexcept { ++waiting_; }
  [[nodiscard]] bool stop_waiting() noexcept {
    const std::lock_guard guard(lock);
    return --waiting_ == 0 && abandoned_;
  }

  // shut marks the channel closed and wakes all who wait; false if it was closed before.
  WEFT_API bool shut() noexcept;

  sched::spin_lock lock;
  sched::wait_queue senders;    // guarded by lock
  sched::wait_queue receivers;  // guarded by lock
  bool closed = false;   // guarded by lock

 protected:
  channel_base() noexcept = default;
  ~channel_base() = default;

  // finish_locked ends the wait of n, which has been claimed, for good.
  void finish_locked(sched::wait_node& n, sched::wake_list& wake, sched::verdict v) noexcept {
    if (n.of == nullptr) --waiting_;
    wake.add(n, v);
  }

 private:
  sched::atomic<std::size_t> references_{1};
  std::size_t waiting_ = 0;
  bool abandoned_ = false;
};

// wait_for_a_stop is the wait at a channel that is null. Returns when a stop of the caller stands.
WEFT_API void wait_for_a_stop(sched::wait_reason why) noexcept;

// Throws what a channel's operation failed with: errc::closed, a stop, or a null channel's std::errc::invalid_argument.
[[noreturn]] WEFT_API void throw_channel_failure(const char* operation, sched::verdict v);
[[noreturn]] WEFT_API void throw_null_channel(const char* operation);
[[noreturn]] WEFT_API void throw_channel_too_large(std::size_t capacity);

}  // namespace weft::inline v0::detail
