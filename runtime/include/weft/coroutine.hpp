// Between fibers and C++20 coroutines.
#pragma once

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/sched/park.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace weft::inline v0 {

namespace detail {

// given is the result of a call that another party waits for: a value, a reference, nothing, or an exception.
template <class R>
class given {
 public:
  template <class Call>
  void fill(Call&& call) noexcept {
    try {
      if constexpr (std::is_void_v<R>) {
        call();
        result_.template emplace<1>();
      } else if constexpr (std::is_reference_v<R>) {
        auto&& referred = call();
        result_.template emplace<1>(std::addressof(referred));
      } else {
        result_.template emplace<1>(call());
      }
    } catch (...) {
      result_.template emplace<2>(std::current_exception());
    }
  }
  template <class... Args>
  void set(Args&&... args) {
    result_.template emplace<1>(std::forward<Args>(args)...);
  }
  void fail() noexcept { result_.template emplace<2>(std::current_exception()); }

  R take() {
    if (result_.index() == 2) std::rethrow_exception(std::get<2>(result_));
    if constexpr (std::is_reference_v<R>) {
      return static_cast<R>(*std::get<1>(result_));
    } else if constexpr (!std::is_void_v<R>) {
      return std::move(std::get<1>(result_));
    }
  }

 private:
  using stored = std::conditional_t<std::is_void_v<R>, std::monostate,
                                    std::conditional_t<std::is_reference_v<R>, std::add_pointer_t<R>, R>>;
  std::variant<std::monostate, stored, std::exception_ptr> result_;
};

template <class A>
decltype(auto) awaiter_of(A&& a) {
  if constexpr (requires { std::forward<A>(a).operator co_await(); }) {
    return std::forward<A>(a).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<A>(a)); }) {
    return operator co_await(std::forward<A>(a));
  } else {
    return std::forward<A>(a);
  }
}

template <class A>
using await_result = decltype(awaiter_of(std::declval<A>()).await_resume());

// awaiting is the coroutine that awaits on a fiber's behalf. It is destroyed by that fiber once it has set the event,
// which is its last act: then it is suspended for good.
template <class R>
struct awaiting {
  struct promise_type {
    given<R>* result;
    event* over;

    template <class A>
    promise_type(A&, given<R>& to, event& done) noexcept : result(&to), over(&done) {}
    awaiting get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct tells {
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> self) const noexcept { self.promise().over->set(); }
        void await_resume() const noexcept {}
      };
      return tells{};
    }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { result->fail(); }
  };

  std::coroutine_handle<promise_type> handle;
};

template <class R, class A>
awaiting<R> await_into(std::remove_reference_t<A>& a, given<R>& result, event&) {
  if constexpr (std::is_void_v<R>) {
    co_await static_cast<A&&>(a);
    result.set();
  } else if constexpr (std::is_reference_v<R>) {
    auto&& referred = co_await static_cast<A&&>(a);
    result.set(std::addressof(referred));
  } else {
    result.set(co_await static_cast<A&&>(a));
  }
}

}  // namespace detail

// What can be awaited in a coroutine whose promise has no say in it: a task, a timer, a socket's operation.
template <class A>
concept awaitable = requires(A&& a) { detail::awaiter_of(std::forward<A>(a)).await_ready(); };

// await suspends the calling fiber (or blocks the plain thread) until `a` has completed, and gives its result or
// throws its exception. The coroutine runs where it resumes: on the caller's stack at first, later on that of whoever
// completes what it awaits. A coroutine cannot be abandoned half-way, so no stop of the caller ends this.
template <awaitable A>
detail::await_result<A> await(A&& a) {
  using result_type = detail::await_result<A>;
  detail::given<result_type> result;
  event over;
  struct owner {
    detail::awaiting<result_type> of;
    ~owner() { of.handle.destroy(); }
  } const running{detail::await_into<result_type, A>(a, result, over)};
  running.of.handle.resume();
  {
    const sched::uninterrupted to_the_end;
    over.wait();
  }
  return result.take();
}

// on_fiber is for coroutines: co_await on_fiber(f) calls f() on a new fiber, where it may block, and gives its result
// or throws what it threw. The coroutine goes on upon that fiber; it is its executor's business to move it elsewhere.
// The fiber is one of go's, in the caller's runtime: it inherits no scopes. Throws what go throws.
template <class F>
  requires std::is_invocable_v<F&>
class [[nodiscard]] on_fiber {
 public:
  explicit on_fiber(F f) : call_(std::move(f)) {}
  on_fiber(const on_fiber&) = delete;
  on_fiber& operator=(const on_fiber&) = delete;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> awaits) {
    go([this, awaits]() noexcept {
      result_.fill(call_);
      awaits.resume();  // this awaiter may be gone now
    });
  }
  std::invoke_result_t<F&> await_resume() { return result_.take(); }

 private:
  F call_;
  detail::given<std::invoke_result_t<F&>> result_;
};

}  // namespace weft::inline v0
