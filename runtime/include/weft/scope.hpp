// Scopes: bounds on everything that is called, and started, inside them.
#pragma once

#include <weft/detail/scope_frame.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/error.hpp>
#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

namespace detail {

// Throws what ended a call whose own time limit has passed.
[[noreturn]] WEFT_API void throw_expired();
[[noreturn]] WEFT_API void fatal_foreign_stop() noexcept;

}  // namespace detail

// A scope lives on the stack of one fiber or plain thread, and ends every blocking call of this library that its owner
// makes meanwhile: sockets, channels, locks, sleeps, joins, lookups. They throw canceled_error, or report
// std::errc::operation_canceled, those that wait already and those to come; what they did before is told, and nothing
// is lost: bytes not read are still there, an element not sent is still the caller's, a lock not taken is free.
//
//     weft::timeout_scope scope(200ms);
//     try {
//       reply = ask(server);         // any number of calls
//     } catch (const weft::canceled_error&) {
//       if (!scope.expired()) throw;  // somebody else's stop
//       reply = fallback;
//     }
// or, where a timeout is a failure as others: reply = weft::with_timeout(200ms, [&] { return ask(server); });
//
// Scopes nest, and each counts: the earliest ends the calls. Fibers that spawn or a task_group starts inside inherit
// the scopes that they are started in, for the rest of their lives, until they are detached; those of go don't.
// Destructors of this library, unlock, done, notify and close are never ended, nor is anything while the caller
// unwinds but for scopes made since. There is no way out of noexcept functions: a call in one that is to survive uses
// a shield, or a form that reports.

// deadline_scope ends the calls at a time; one that has come ends them at once.
// On a fiber or inside runtime::enter() it costs a timer. No memory for one is fatal, as it is for a sleep.
class deadline_scope {
 public:
  template <class Duration>
  [[nodiscard]] explicit deadline_scope(const std::chrono::time_point<std::chrono::steady_clock, Duration>& when)
      : deadline_scope(detail::to_nanotime(when)) {}

  // expired tells whether the time has come.
  bool expired() const noexcept { return link_.passed() || frame_.deadline() <= sched::now(); }

 protected:
  explicit deadline_scope(sched::nanotime when) noexcept : frame_(when), link_(when) {}

 private:
  detail::scope_frame frame_;
  sched::deadline_link link_;
};

// timeout_scope ends the calls after a time, counted from its beginning; one of zero or less at once.
class timeout_scope : public deadline_scope {
 public:
  template <class Rep, class Period>
  [[nodiscard]] explicit timeout_scope(const std::chrono::duration<Rep, Period>& time) : deadline_scope(detail::to_nanotime(time)) {}
};

// stop_scope ends the calls when a stop is requested: of the token, or, made without one, by request_stop.
class stop_scope {
 public:
  // Throws std::bad_alloc.
  [[nodiscard]] stop_scope() : source_(std::in_place), frame_(source_->get_token()), link_(frame_.token()) {}
  [[nodiscard]] explicit stop_scope(std::stop_token token) : frame_(std::move(token)), link_(frame_.token()) {}

  // request_stop: any fiber, any thread. Fatal if the scope was made with a token, whose source is elsewhere.
  void request_stop() noexcept {
    if (!source_) detail::fatal_foreign_stop();
    std::stop_source outlives_the_scope(*source_);  // whose owner may go on, and end it, before this returns
    outlives_the_scope.request_stop();
  }
  bool stop_requested() const noexcept { return frame_.token().stop_requested(); }
  std::stop_token get_token() const noexcept { return frame_.token(); }

 private:
  std::optional<std::stop_source> source_;
  detail::scope_frame frame_;
  sched::stop_link link_;
};

// shield keeps the stops from its owner that come from outside: of the fiber, of its runtime's end, of the scopes
// around it. Scopes made inside count. For what has to be finished: a farewell to the peer, a transaction's
// roll-back; give it a bound of its own. What is started inside inherits scopes made inside alone.
class shield {
 public:
  [[nodiscard]] shield() noexcept : frame_(detail::scope_frame::shield) {}

 private:
  detail::scope_frame frame_;
  sched::shielded shielded_;
};

// with_timeout calls f() within a timeout_scope and gives its result. If it is that scope that ends the call, the
// error is std::errc::timed_out; a stop from elsewhere is still a canceled_error.
template <class Rep, class Period, class F>
  requires std::is_invocable_v<F>
std::invoke_result_t<F> with_timeout(const std::chrono::duration<Rep, Period>& time, F&& f) {
  {
    const timeout_scope scope(time);
    try {
      return std::invoke(std::forward<F>(f));
    } catch (const canceled_error&) {
      if (!scope.expired()) throw;
    }
  }
  detail::throw_expired();
}

namespace this_fiber {

// stop_requested tells whether a stop of the fiber, or of a scope around, stands, and no shield is in between: a
// blocking call would be ended. For loops that compute; it looks at the clock, which such a loop keeps from being
// noticed. On plain threads too.
WEFT_API bool stop_requested() noexcept;

// deadline is the earliest of the scopes that bound the caller; time_point::max() if none has one.
WEFT_API std::chrono::steady_clock::time_point deadline() noexcept;

}  // namespace this_fiber

}  // namespace weft::inline v0
