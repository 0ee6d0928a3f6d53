// Timers and tickers: times that come, once or again and again, and can be selected among other things.
#pragma once

#include <weft/detail/channel_base.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/fiber.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>
#include <weft/scope.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

namespace detail {

struct clock_access;

// clock_state is when the next tick of a timer or ticker is due. Nothing runs in between: whoever waits does so until
// that time, and takes the tick if it is still there. So a clock that nobody waits for costs nothing, and no tick can
// be out of date. Thread-safe.
class WEFT_API clock_state : public channel_base {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  // next is when it is due, at some moment during the call.
  sched::nanotime next() noexcept;

  // take takes the tick if it is due; next_locked likewise. REQUIRES: lock is held.
  std::optional<time_point> take_locked() noexcept;
  sched::nanotime next_locked() const noexcept { return due_; }

  // set makes the next tick due at `when` (never: stopped) and further ones each `period` later (0: none). True if
  // there was one that nobody had taken: that one is gone.
  bool set(sched::nanotime when, sched::nanotime period) noexcept;

  time_point wait();
  time_point wait(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return wait();
  }
  std::optional<time_point> try_wait() noexcept;

 protected:
  clock_state(sched::nanotime when, sched::nanotime period) noexcept : due_(when), period_(period) {}
  ~clock_state() = default;

  std::optional<time_point> wait_unless_stopped() noexcept;

 private:
  sched::nanotime due_;     // guarded by lock
  sched::nanotime period_;  // likewise
};

// When a tick is due: at a steady time point, or after a duration.
template <class Duration>
sched::nanotime due_at(const std::chrono::time_point<std::chrono::steady_clock, Duration>& when) {
  return to_nanotime(when);
}
template <class Rep, class Period>
sched::nanotime due_at(const std::chrono::duration<Rep, Period>& time) {
  return sched::after(saturated(time));
}

template <class When>
concept moment = requires(const When& when) { due_at(when); };

// Throws std::errc::invalid_argument unless it is positive.
WEFT_API sched::nanotime checked_period(sched::nanotime period);

}  // namespace detail

class delayed_call;

// timer gives one tick, at a time or after a duration. Like Go's: a tick carries the time when it was due; once stop or
// reset has returned, no tick of before can be received. Waited for by any number of fibers and plain threads, of whom
// one gets the tick; in a select by on_tick. Not movable; not destroyed while somebody waits.
class timer : private detail::clock_state {
 public:
  using detail::clock_state::time_point;

  // Stopped at first; or set. A time without end, time_point::max(), is that of a timer that is stopped.
  timer() noexcept : clock_state(sched::never, 0) {}
  template <class When>
    requires detail::moment<When>
  explicit timer(const When& when) noexcept : clock_state(detail::due_at(when), 0) {}

  // stop, reset: true if that took back a tick that nobody had received yet, whether it was due or not. Whoever waits
  // waits on, for the next one. Neither waits or throws.
  bool stop() noexcept { return set(sched::never, 0); }
  template <class When>
  bool reset(const When& when) noexcept {
    return set(detail::due_at(when), 0);
  }

  // wait waits for the tick and returns when it was due; for ever while the timer is stopped. Throws canceled_error
  // if a stop of the caller stands, or one of the token. try_wait takes a tick that is due already.
  using detail::clock_state::try_wait;
  using detail::clock_state::wait;

 private:
  friend struct detail::clock_access;
  friend class delayed_call;
};

// ticker gives a tick each period, from one period after its beginning on. Who comes late gets one tick, the first of
// those that he missed, and then the next that is due: none is made up for. Else as timer.
class ticker : private detail::clock_state {
 public:
  using detail::clock_state::time_point;

  // Throws std::errc::invalid_argument unless the period is positive.
  template <class Rep, class Period>
  explicit ticker(const std::chrono::duration<Rep, Period>& period)
      : ticker(detail::checked_period(detail::saturated(period))) {}

  void stop() noexcept { set(sched::never, 0); }
  // reset begins anew, with another period. Throws as the constructor does.
  template <class Rep, class Period>
  void reset(const std::chrono::duration<Rep, Period>& period) {
    const sched::nanotime ns = detail::checked_period(detail::saturated(period));
    set(sched::after(ns), ns);
  }

  using detail::clock_state::try_wait;
  using detail::clock_state::wait;

 private:
  friend struct detail::clock_access;
  explicit ticker(sched::nanotime period) noexcept : clock_state(sched::after(period), period) {}
};

// after(time) is a timer that is set.
template <class When>
[[nodiscard]] timer after(const When& when) {
  return timer(when);
}

// delayed_call calls a function on a fiber of its own at a time, whatever scope it was made in. Destruction stops it,
// and waits for a call under way, which it stops as the destruction of a fiber does; so the call itself must not
// destroy it. An exception that escapes a call goes the way of go's.
class delayed_call {
 public:
  template <class When, class F>
    requires std::is_invocable_v<std::decay_t<F>&>
  delayed_call(const When& when, F&& f) : timer_(when), fiber_(start(std::forward<F>(f))) {}

  // stop: true if that prevented a call. reset makes it be called then (again), one call after the other; true if that
  // took the place of a call that had not begun. Neither waits or throws.
  bool stop() noexcept { return timer_.stop(); }
  template <class When>
  bool reset(const When& when) noexcept {
    return timer_.reset(when);
  }

 private:
  template <class F>
  fiber<> start(F&& f) {
    const shield of_no_scope;  // it may outlive those
    return spawn([this, call = std::decay_t<F>(std::forward<F>(f))]() mutable noexcept {
      while (timer_.wait_unless_stopped()) {
        try {
          std::invoke(call);
        } catch (...) {
          detail::unhandled();
        }
      }
    });
  }

  timer timer_;
  fiber<> fiber_;
};

// after(time, f) calls f() then, on a fiber, unless the result is destroyed or stopped before. Throws as spawn does.
template <class When, class F>
  requires std::is_invocable_v<std::decay_t<F>&>
[[nodiscard]] delayed_call after(const When& when, F&& f) {
  return delayed_call(when, std::forward<F>(f));
}

namespace detail {

struct clock_access {
  static clock_state& state(timer& t) noexcept { return t; }
  static clock_state& state(ticker& t) noexcept { return t; }
};

}  // namespace detail

}  // namespace weft::inline v0
