// shared_mutex: one writer, or many readers.
#pragma once

#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <chrono>
#include <cstddef>

namespace weft::inline v0 {

// shared_mutex is held by one fiber or plain thread alone, or shared by any number. Meets std's SharedTimedLockable:
// use it with std::unique_lock and std::shared_lock.
//
// Fairness: who waits is served in the order of arrival, and nobody overtakes: a reader that comes while a writer
// waits, waits behind it. So neither kind starves. The price: readers don't join while somebody waits, and a reader
// that locks twice may wait for itself. Waits end as mutex's do: with an explicit bound of the caller alone. May be
// destroyed as soon as nobody holds it.
class WEFT_API shared_mutex {
 public:
  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  void lock();
  [[nodiscard]] bool try_lock() noexcept;
  // unlock of one that nobody holds alone is fatal.
  void unlock() noexcept;

  void lock_shared();
  [[nodiscard]] bool try_lock_shared() noexcept;
  // unlock_shared of one that nobody shares is fatal.
  void unlock_shared() noexcept;

  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& time) {
    return lock_until(kind::alone, detail::to_nanotime(time));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& when) {
    return lock_until(kind::alone, detail::to_nanotime(when));
  }
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& time) {
    return lock_until(kind::shared, detail::to_nanotime(time));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& when) {
    return lock_until(kind::shared, detail::to_nanotime(when));
  }

 private:
  enum class kind : unsigned char { alone, shared };
  struct node;

  bool take_locked(kind k) noexcept;
  bool lock_slow(kind k) noexcept;  // false: a link of the caller has fired
  bool lock_until(kind k, sched::nanotime until);
  void serve_locked(sched::wake_list& wake) noexcept;

  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_
  std::size_t readers_ = 0;   // guarded by guard_
  bool writer_ = false;       // guarded by guard_
};

using shared_timed_mutex = shared_mutex;

}  // namespace weft::inline v0
