// Fibers: start them, wait for their results, stop them.
#pragma once

#include <weft/blocking.hpp>
#include <weft/detail/fiber_body.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/error.hpp>
#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/fiber.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stop_token>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

// spawn_options are what go and spawn take before the function, where the defaults don't do.
struct spawn_options {
  explicit spawn_options() = default;
  explicit spawn_options(std::string_view fiber_name, std::size_t usable_stack = 0)
      : name(fiber_name), stack_size(usable_stack) {}

  std::string_view name{};     // shown in messages; copied, cut to 31 bytes
  std::size_t stack_size = 0;  // usable bytes; 0: the runtime's default
};

namespace detail {

WEFT_API void sleep_until(sched::nanotime when);

}  // namespace detail

// fiber<R> is the handle of a fiber that will return R (void, a reference and move-only types included).
//
// A joinable handle ends in one of three ways. join() waits and gives the result or rethrows. detach() lets the fiber
// go on by itself. Destruction, and assignment over it, request a stop and then wait; they never throw: an exception
// that nobody joined for is counted in the runtime's stats (and printed by debug builds of the library).
//
// Move-only; as with std::thread, one thread at a time may use a handle. It may outlive its runtime, whose end has
// ended the fiber: join() then returns at once.
template <class R = void>
class [[nodiscard]] fiber {
 public:
  using result_type = R;

  fiber() noexcept = default;
  fiber(fiber&& other) noexcept : fiber_(std::exchange(other.fiber_, nullptr)) {}
  fiber& operator=(fiber&& other) noexcept {
    if (this != &other) {
      end();
      fiber_ = std::exchange(other.fiber_, nullptr);
    }
    return *this;
  }
  ~fiber() { end(); }

  bool joinable() const noexcept { return fiber_ != nullptr; }
  explicit operator bool() const noexcept { return joinable(); }

  // join waits for the fiber's end and returns its result, or rethrows what it threw; the handle is empty afterwards.
  // Throws canceled_error if a stop of the caller stands; the handle is still joinable then. Throws
  // std::errc::invalid_argument if it is empty. A fiber that joins itself is fatal. From fibers and plain threads.
  R join() {
    detail::wait_for(fiber_);
    const owner joined{std::exchange(fiber_, nullptr)};
    return joined.result().take();
  }

  // request_stop makes the fiber's stop stand: the blocking calls it is in, or begins, throw canceled_error.
  // Does nothing on an empty handle.
  void request_stop() noexcept {
    if (fiber_ != nullptr) sched::request_stop(*fiber_);
  }

  // detach gives the handle up; the fiber runs on, and its result is destroyed when it ends. Scopes that it was started
  // in do not stop it any more, but for those that have already.
  // Throws std::errc::invalid_argument if the handle is empty.
  void detach() {
    if (fiber_ == nullptr) detail::throw_not_joinable();
    sched::detach(*std::exchange(fiber_, nullptr), &detail::dispose<R>);
  }

  // get_id returns 0 for an empty handle.
  std::uint64_t get_id() const noexcept { return fiber_ != nullptr ? sched::id_of(*fiber_) : 0; }

  void swap(fiber& other) noexcept { std::swap(fiber_, other.fiber_); }
  friend void swap(fiber& a, fiber& b) noexcept { a.swap(b); }

 private:
  friend struct detail::starter;

  // owner frees the result and the fiber after the end of the latter.
  struct owner {
    explicit owner(sched::fiber* f) noexcept : ended(f) {}
    ~owner() {
      std::destroy_at(&result());
      sched::release(*ended);
    }
    owner(const owner&) = delete;
    owner& operator=(const owner&) = delete;

    detail::outcome<R>& result() const noexcept { return *static_cast<detail::outcome<R>*>(sched::body_of(*ended)); }

    sched::fiber* ended;
  };

  explicit fiber(sched::fiber* f) noexcept : fiber_(f) {}

  void end() noexcept {
    if (fiber_ == nullptr) return;
    detail::stop_and_wait(*fiber_);
    const owner ended{std::exchange(fiber_, nullptr)};
    ended.result().give_up();
  }

  sched::fiber* fiber_ = nullptr;
};

namespace detail {

// starter is what spawn and go are made of; `state` null means the caller's runtime.
struct starter {
  template <class F, class... Args>
  WEFT_AT_CALLER static fiber<result_of<F, Args...>> spawn(runtime_state* state, const spawn_options& options, F&& f,
                                            Args&&... args) {
    using call_type = call_of<F, Args...>;
    using body = joinable_body<call_type>;
    reservation made(state, options, body::size, body::align, &body::run, sched::handle::one,
                     takes::scopes_and_values);
    void* const place = static_cast<std::byte*>(made.body()) + body::call_offset;
    ::new (place) call_type(std::in_place, std::forward<F>(f), std::forward<Args>(args)...);
    ::new (made.body()) typename body::outcome_type(made.fiber());
    fiber<result_of<F, Args...>> handle(made.fiber());
    made.start();
    return handle;
  }

  template <class F, class... Args>
  WEFT_AT_CALLER static void go(runtime_state* state, const spawn_options& options, takes along, F&& f,
                                Args&&... args) {
    go_in_place<call_of<F, Args...>>(state, options, along, std::in_place, std::forward<F>(f),
                                     std::forward<Args>(args)...);
  }

  // go_in_place runs a Call that is made of `parts`, where it stays until its fiber ends.
  template <class Call, class... Parts>
  WEFT_AT_CALLER static void go_in_place(runtime_state* state, const spawn_options& options, takes along, Parts&&... parts) {
    reservation made(state, options, sizeof(Call), alignof(Call), &run_detached<Call>, sched::handle::none, along);
    ::new (made.body()) Call(std::forward<Parts>(parts)...);
    made.start();
  }
};

}  // namespace detail

// spawn runs f(args...) on a new fiber of the caller's runtime and returns its handle. f and args are copied or moved
// by the caller, as by std::thread (std::ref passes references), and destroyed on the fiber before a join returns.
// Throws std::system_error: not_enough_memory without a stack, errc::no_runtime on a plain thread outside
// runtime::enter(); and what copying throws. In all these cases nothing was started.
template <class F, class... Args>
  requires detail::spawnable<F, Args...>
[[nodiscard]] WEFT_AT_CALLER fiber<detail::result_of<F, Args...>> spawn(F&& f, Args&&... args) {
  return detail::starter::spawn(nullptr, spawn_options(), std::forward<F>(f), std::forward<Args>(args)...);
}
template <class F, class... Args>
  requires detail::spawnable<F, Args...>
[[nodiscard]] WEFT_AT_CALLER fiber<detail::result_of<F, Args...>> spawn(const spawn_options& options, F&& f,
                                                                        Args&&... args) {
  return detail::starter::spawn(nullptr, options, std::forward<F>(f), std::forward<Args>(args)...);
}

// go likewise, for a fiber that nobody will join. An exception that escapes it goes to runtime_options::on_unhandled,
// by default the end of the process; a canceled_error after a stop was requested just ends the fiber.
template <class F, class... Args>
  requires detail::spawnable<F, Args...>
WEFT_AT_CALLER void go(F&& f, Args&&... args) {
  detail::starter::go(nullptr, spawn_options(), detail::takes::values, std::forward<F>(f), std::forward<Args>(args)...);
}
template <class F, class... Args>
  requires detail::spawnable<F, Args...>
WEFT_AT_CALLER void go(const spawn_options& options, F&& f, Args&&... args) {
  detail::starter::go(nullptr, options, detail::takes::values, std::forward<F>(f), std::forward<Args>(args)...);
}

// The calling fiber. On a plain thread: sleeps block the thread, yield yields it, the rest is as said.
namespace this_fiber {

// yield lets the other runnable fibers go first. Never throws.
WEFT_API void yield() noexcept;

// checkpoint is for loops that compute for long: it lets others go first if the caller has run for 10 ms or more, and
// costs some loads otherwise. Never throws.
WEFT_API void checkpoint() noexcept;

// sleep_until and sleep_for suspend the caller until the time has come, never for less; a time that has passed returns
// at once. Throw canceled_error if a stop of the fiber stands.
template <class Clock, class Duration>
void sleep_until(const std::chrono::time_point<Clock, Duration>& when) {
  if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
    detail::sleep_until(detail::saturated(when.time_since_epoch()));
  } else {  // a clock that may be set: look at it again
    for (auto now = Clock::now(); now < when; now = Clock::now()) {
      detail::sleep_until(sched::after(detail::saturated(when - now)));
    }
  }
}
template <class Rep, class Period>
void sleep_for(const std::chrono::duration<Rep, Period>& time) {
  detail::sleep_until(sched::after(detail::saturated(time)));
}

// get_id names the fiber: not 0, and never used again within the process. 0 on a plain thread.
WEFT_API std::uint64_t get_id() noexcept;

// set_name sets what messages call the fiber; cut to 31 bytes.
WEFT_API void set_name(std::string_view name) noexcept;

// get_stop_token gives a token that reports stop requests to this fiber, its runtime's shutdown included. An empty one
// on a plain thread. Throws std::bad_alloc.
WEFT_API std::stop_token get_stop_token();

}  // namespace this_fiber

}  // namespace weft::inline v0
