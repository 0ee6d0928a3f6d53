// promise, future: one result, handed from whoever makes it to whoever waits for it.
#pragma once

#include <weft/blocking.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/event.hpp>
#include <weft/sched/atomic.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

// These are std's promise, future, shared_future and packaged_task for fibers and plain threads, with std's members,
// its std::future_error and std::future_status; the waits throw canceled_error besides, if a stop of the caller
// stands. Not here: allocators, *_at_thread_exit, and async, which spawn is. A result that comes from a fiber needs
// none of them: fiber<R>::join gives it.

template <class R>
class promise;
template <class R>
class shared_future;

namespace detail {

struct no_result {};

// promised is the state that a promise and its futures share. The event publishes the result: it is written before
// that is set, and read after.
template <class R>
class promised {
  using stored = std::conditional_t<std::is_void_v<R>, char,
                                    std::conditional_t<std::is_reference_v<R>, std::add_pointer_t<std::remove_reference_t<R>>, R>>;

 public:
  // The result can be given once.
  template <class... Args>
  void give(Args&&... args) {
    claim();
    try {
      if constexpr (std::is_reference_v<R>) {
        value_.emplace(std::addressof(args)...);
      } else {
        value_.emplace(std::forward<Args>(args)...);
      }
    } catch (...) {
      given_.store(false, std::memory_order_relaxed);  // nothing was: as if it had not been tried
      throw;
    }
    here_.set();
  }
  void fail(std::exception_ptr why) {
    claim();
    error_ = std::move(why);
    here_.set();
  }
  // What the end of a promise means that has given nothing.
  void abandon() noexcept {
    if (given_.exchange(true, std::memory_order_relaxed)) return;
    error_ = std::make_exception_ptr(std::future_error(std::future_errc::broken_promise));
    here_.set();
  }

  event& here() noexcept { return here_; }
  // REQUIRES: here() is set.
  stored& value() {
    if (error_) std::rethrow_exception(error_);
    return *value_;
  }

  bool retrieved = false;  // of the promise

 private:
  void claim() {
    if (given_.exchange(true, std::memory_order_relaxed)) {
      throw std::future_error(std::future_errc::promise_already_satisfied);
    }
  }

  sched::atomic<bool> given_{false};  // whether somebody has given it, or is about to
  std::optional<stored> value_;
  std::exception_ptr error_;
  event here_;
};

// future_waits is what both kinds of futures have.
template <class R>
class future_waits {
 public:
  bool valid() const noexcept { return state_ != nullptr; }

  // Whoever waits does so for the result; std::future_status::deferred does not occur.
  void wait() const { state().here().wait(); }
  void wait(const std::stop_token& stop) const { state().here().wait(stop); }
  template <class Rep, class Period>
  std::future_status wait_for(const std::chrono::duration<Rep, Period>& time) const {
    return state().here().wait_for(time) ? std::future_status::ready : std::future_status::timeout;
  }
  template <class Clock, class Duration>
  std::future_status wait_until(const std::chrono::time_point<Clock, Duration>& when) const {
    return state().here().wait_until(when) ? std::future_status::ready : std::future_status::timeout;
  }

 protected:
  future_waits() noexcept = default;
  explicit future_waits(std::shared_ptr<promised<R>> s) noexcept : state_(std::move(s)) {}
  ~future_waits() = default;
  future_waits(const future_waits&) = default;
  future_waits(future_waits&&) noexcept = default;
  future_waits& operator=(const future_waits&) = default;
  future_waits& operator=(future_waits&&) noexcept = default;

  promised<R>& state() const {
    if (state_ == nullptr) throw std::future_error(std::future_errc::no_state);
    return *state_;
  }

  std::shared_ptr<promised<R>> state_;
};

}  // namespace detail

template <class R>
class [[nodiscard]] future : public detail::future_waits<R> {
 public:
  future() noexcept = default;
  future(future&&) noexcept = default;
  future& operator=(future&&) noexcept = default;

  // get waits, and gives the result or throws what the promise was given instead; the future is empty then, unless the
  // wait was stopped.
  R get() {
    this->wait();
    const auto last = std::move(this->state_);
    if constexpr (std::is_void_v<R>) {
      last->value();
    } else if constexpr (std::is_reference_v<R>) {
      return static_cast<R>(*last->value());
    } else {
      return std::move(last->value());
    }
  }
  shared_future<R> share() noexcept { return shared_future<R>(std::move(*this)); }

 private:
  friend class promise<R>;
  friend class shared_future<R>;
  explicit future(std::shared_ptr<detail::promised<R>> s) noexcept : detail::future_waits<R>(std::move(s)) {}
};

template <class R>
class shared_future : public detail::future_waits<R> {
 public:
  shared_future() noexcept = default;
  shared_future(future<R>&& from) noexcept : detail::future_waits<R>(std::move(from.state_)) {}  // NOLINT: as std's

  // get waits, and gives the result, by const reference, as often as it is called.
  decltype(auto) get() const {
    this->wait();
    if constexpr (std::is_void_v<R>) {
      this->state_->value();
    } else if constexpr (std::is_reference_v<R>) {
      return static_cast<R>(*this->state_->value());
    } else {
      return std::as_const(this->state_->value());
    }
  }
};

template <class R>
class promise {
 public:
  promise() : state_(std::make_shared<detail::promised<R>>()) {}
  promise(promise&& other) noexcept = default;
  promise& operator=(promise&& other) noexcept {
    promise(std::move(other)).swap(*this);
    return *this;
  }
  // A promise that goes without a result leaves std::future_errc::broken_promise.
  ~promise() {
    if (state_ != nullptr) state_->abandon();
  }
  void swap(promise& other) noexcept { state_.swap(other.state_); }
  friend void swap(promise& a, promise& b) noexcept { a.swap(b); }

  // Once; throws std::future_errc::future_already_retrieved after that.
  future<R> get_future() {
    if (std::exchange(state().retrieved, true)) throw std::future_error(std::future_errc::future_already_retrieved);
    return future<R>(state_);
  }

  // The result, or an exception in its place: one of them, once; else std::future_errc::promise_already_satisfied.
  void set_value()
    requires std::is_void_v<R>
  {
    state().give();
  }
  template <class U = R>
    requires(std::is_object_v<R> && std::is_convertible_v<U &&, R>)
  void set_value(U&& value) {
    state().give(std::forward<U>(value));
  }
  void set_value(std::conditional_t<std::is_reference_v<R>, R, detail::no_result> value)
    requires std::is_reference_v<R>
  {
    state().give(value);
  }
  void set_exception(std::exception_ptr why) { state().fail(std::move(why)); }

 private:
  detail::promised<R>& state() const {
    if (state_ == nullptr) throw std::future_error(std::future_errc::no_state);
    return *state_;
  }

  std::shared_ptr<detail::promised<R>> state_;
};

// packaged_task is a function whose result goes to a future. It calls the function where it is called.
template <class Signature>
class packaged_task;
template <class R, class... Args>
class packaged_task<R(Args...)> {
 public:
  packaged_task() noexcept = default;
  template <class F>
    requires(!std::is_same_v<std::decay_t<F>, packaged_task> && std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
  explicit packaged_task(F&& f)
      : call_(std::make_unique<calling<std::decay_t<F>>>(std::forward<F>(f))), promise_(std::in_place) {}

  bool valid() const noexcept { return call_ != nullptr; }
  void swap(packaged_task& other) noexcept { std::swap(*this, other); }
  friend void swap(packaged_task& a, packaged_task& b) noexcept { a.swap(b); }
  future<R> get_future() { return made().get_future(); }
  // Once, until reset, which begins anew with another future.
  void operator()(Args... args) {
    promise<R>& p = made();
    if (std::exchange(called_, true)) throw std::future_error(std::future_errc::promise_already_satisfied);
    try {
      if constexpr (std::is_void_v<R>) {
        (*call_)(std::forward<Args>(args)...);
        p.set_value();
      } else {
        p.set_value((*call_)(std::forward<Args>(args)...));
      }
    } catch (...) {
      p.set_exception(std::current_exception());
    }
  }
  void reset() {
    made();
    promise_.emplace(promise<R>());
    called_ = false;
  }

 private:
  struct callable {
    virtual ~callable() = default;
    virtual R operator()(Args... args) = 0;
  };
  template <class F>
  struct calling final : callable {
    template <class From>
    explicit calling(From&& from) : f(std::forward<From>(from)) {}
    R operator()(Args... args) override {
      if constexpr (std::is_void_v<R>) {
        static_cast<void>(std::invoke(f, std::forward<Args>(args)...));
      } else {
        return std::invoke(f, std::forward<Args>(args)...);
      }
    }
    F f;
  };

  promise<R>& made() {
    if (call_ == nullptr) throw std::future_error(std::future_errc::no_state);
    return *promise_;
  }

  std::unique_ptr<callable> call_;
  std::optional<promise<R>> promise_;
  bool called_ = false;
};

// await gets the result of a std::future, as a rule of a library that knows threads alone, without holding up other
// fibers: in a blocking region. No stop ends it.
template <class R>
R await(std::future<R>& f) {
  return blocking([&]() -> R { return f.get(); });
}
template <class R>
R await(std::future<R>&& f) {
  return await(f);
}

}  // namespace weft::inline v0
