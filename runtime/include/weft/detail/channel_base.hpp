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

namespace weft::inline v0::detail {

// channel_base is what a channel is apart from its elements. Shared by its handles, and by whoever waits at it.
class channel_base {
 public:
  channel_base(const channel_base&) = delete;
  channel_base& operator=(const channel_base&) = delete;

  void refer() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  // let_go is true for the last reference, whose owner destroys the channel.
  [[nodiscard]] bool let_go() noexcept { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  // shut marks the channel closed and wakes all who wait; false if it was closed before.
  WEFT_API bool shut() noexcept;

  sched::spin_lock lock;
  sched::wait_queue senders;    // guarded by lock
  sched::wait_queue receivers;  // guarded by lock
  bool closed = false;   // guarded by lock

 protected:
  channel_base() noexcept = default;
  ~channel_base() = default;

 private:
  sched::atomic<std::size_t> references_{1};
};

// wait_for_a_stop is the wait at a channel that is null. Returns when a stop of the caller stands.
WEFT_API void wait_for_a_stop(sched::wait_reason why) noexcept;

// Throws what a channel's operation failed with: errc::closed, a stop, or a null channel's std::errc::invalid_argument.
[[noreturn]] WEFT_API void throw_channel_failure(const char* operation, sched::verdict v);
[[noreturn]] WEFT_API void throw_null_channel(const char* operation);
[[noreturn]] WEFT_API void throw_channel_too_large(std::size_t capacity);

}  // namespace weft::inline v0::detail
