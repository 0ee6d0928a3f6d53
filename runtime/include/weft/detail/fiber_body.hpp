// What stands at the top of a fiber's stack: the call it makes and the outcome it leaves. Included by fiber.hpp.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/fiber.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

// WEFT_AT_CALLER is for what a user calls to start a fiber: it becomes part of the caller, so that the return address of what
// it calls in the library is the place that reports name as that of the spawn.
#define WEFT_AT_CALLER [[gnu::always_inline]] inline

namespace weft::inline v0 {

struct spawn_options;

namespace detail {

class inheritance;
class runtime_state;
struct starter;

// What a new fiber takes along of its starter's surroundings: scopes and values, or the values alone.
enum class takes : unsigned char { scopes_and_values, values };

// reservation is a fiber between its allocation and its start. It keeps a runtime that is being stopped from ending
// under a caller that is no fiber of it.
class WEFT_API reservation {
 public:
  // In the runtime of `state`, or, where that is null, in the caller's. Throws std::system_error: errc::no_runtime
  // without a runtime, not_enough_memory without a stack.
  reservation(runtime_state* state, const spawn_options& options, std::size_t size, std::size_t align,
              void (*entry)(void* body) noexcept, sched::handle handle, takes along);
  ~reservation();  // gives an unstarted fiber back
  reservation(const reservation&) = delete;
  reservation& operator=(const reservation&) = delete;

  sched::fiber* fiber() const noexcept { return fiber_; }
  void* body() const noexcept { return body_; }
  // start makes the fiber run. REQUIRES: its body is constructed.
  void start() noexcept;

 private:
  runtime_state* held_ = nullptr;
  sched::fiber* fiber_ = nullptr;
  void* body_ = nullptr;
};

// Waits for the end of f. Throws invalid_argument if f is null, canceled_error if the caller's stop stands.
WEFT_API void wait_for(sched::fiber* f);
// Requests stop, then waits though a stop of the caller stands.
WEFT_API void stop_and_wait(sched::fiber& f) noexcept;
// What becomes of an exception that nobody joined for: counted, and in debug builds printed.
WEFT_API void unjoined(sched::fiber& f, const std::exception_ptr& error) noexcept;
// What becomes of the exception being handled, which escaped a fiber started by go.
WEFT_API void unhandled() noexcept;
[[noreturn]] WEFT_API void throw_not_joinable();

// outcome is what a fiber leaves for its handle: it stands at the beginning of the body.
template <class R>
class outcome {
 public:
  explicit outcome(sched::fiber* f) noexcept : fiber_(f) {}
  ~outcome() {
    if (filled_) std::destroy_at(std::addressof(value_));
  }
  outcome(const outcome&) = delete;
  outcome& operator=(const outcome&) = delete;

  template <class Call>
  void fill(Call&& call) noexcept {
    try {
      if constexpr (std::is_reference_v<R>) {
        auto&& referred = call();
        value_ = std::addressof(referred);
      } else {
        ::new (static_cast<void*>(std::addressof(value_))) stored(call());
      }
      filled_ = true;
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  R take() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    if constexpr (std::is_reference_v<R>) {
      return static_cast<R>(*value_);
    } else {
      return std::move(value_);
    }
  }

  void give_up() noexcept {
    if (error_) unjoined(*fiber_, error_);
  }

 private:
  using stored = std::conditional_t<std::is_reference_v<R>, std::add_pointer_t<R>, std::remove_cv_t<R>>;

  sched::fiber* fiber_;
  std::exception_ptr error_;
  bool filled_ = false;
  union {
    stored value_;
  };
};

template <>
class outcome<void> {
 public:
  explicit outcome(sched::fiber* f) noexcept : fiber_(f) {}
  outcome(const outcome&) = delete;
  outcome& operator=(const outcome&) = delete;

  template <class Call>
  void fill(Call&& call) noexcept {
    try {
      call();
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  void take() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  void give_up() noexcept {
    if (error_) unjoined(*fiber_, error_);
  }

 private:
  sched::fiber* fiber_;
  std::exception_ptr error_;
};

// call is a decayed function with its decayed arguments, to be invoked once.
template <class F, class... Args>
class call {
 public:
  using result = std::invoke_result_t<F, Args...>;

  template <class... From>
  explicit call(std::in_place_t, From&&... parts) : parts_(std::forward<From>(parts)...) {}

  result operator()() {
    return std::apply([](auto&... part) -> result { return std::invoke(std::move(part)...); }, parts_);
  }

 private:
  std::tuple<F, Args...> parts_;
};

template <class F, class... Args>
using call_of = call<std::decay_t<F>, std::decay_t<Args>...>;

template <class F, class... Args>
using result_of = std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>;

template <class F, class... Args>
concept spawnable = std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...> &&
                    std::is_constructible_v<std::decay_t<F>, F> &&
                    (std::is_constructible_v<std::decay_t<Args>, Args> && ...);

// The body of a detached fiber is a call alone.
template <class Call>
void run_detached(void* body) noexcept {
  Call* c = static_cast<Call*>(body);
  try {
    static_cast<void>((*c)());
  } catch (...) {
    unhandled();
  }
  std::destroy_at(c);
}

// The body of a joinable fiber is an outcome, with a call behind it.
template <class Call>
struct joinable_body {
  using outcome_type = outcome<typename Call::result>;

  static constexpr std::size_t align = alignof(Call) > alignof(outcome_type) ? alignof(Call) : alignof(outcome_type);
  static constexpr std::size_t call_offset = (sizeof(outcome_type) + alignof(Call) - 1) / alignof(Call) * alignof(Call);
  static constexpr std::size_t size = call_offset + sizeof(Call);

  static void run(void* body) noexcept {
    Call* c = static_cast<Call*>(static_cast<void*>(static_cast<std::byte*>(body) + call_offset));
    static_cast<outcome_type*>(body)->fill(*c);
    std::destroy_at(c);  // here, on the fiber, and before a joiner goes on
  }
};

template <class R>
void dispose(void* body) noexcept {
  auto* result = static_cast<outcome<R>*>(body);
  result->give_up();
  std::destroy_at(result);
}

}  // namespace detail

}  // namespace weft::inline v0
