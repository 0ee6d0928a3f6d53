// fiber_local: a variable of which every fiber has its own.
#pragma once

#include <weft/detail/variable_id.hpp>
#include <weft/export.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

namespace detail {

// find_local returns the caller's value of that variable, made by `make` at its first use. Throws std::bad_alloc, and
// what making it throws.
WEFT_API void* find_local(std::uint64_t id, const void* variable, void* (*make)(const void* variable),
                          void (*destroy)(void* value) noexcept);
WEFT_API void* look_for_local(std::uint64_t id) noexcept;
// dispose_locals destroys the caller's values, as the end of the fiber does.
WEFT_API void dispose_locals() noexcept;

}  // namespace detail

// fiber_local<T> is what thread_local is to threads: each fiber that uses it has a T of its own, which stays with it
// wherever it runs; so has each plain thread. (A thread_local variable is the worker's: a fiber may find another one
// after any call that waits.) The value is made at the first use, and destroyed on its fiber when that ends, the last
// one made first, before anybody who joins goes on.
//
//     weft::fiber_local<std::mt19937> dice;                        // T()
//     weft::fiber_local<parser> p([] { return parser(limits); });  // or what a function returns
//
// A variable with static storage, as a rule: its values are not destroyed with it, but with their fibers. Each use is a
// search among those that the fiber has, which should be few.
template <class T>
class fiber_local {
 public:
  constexpr fiber_local() noexcept
    requires std::is_default_constructible_v<T>
      : make_([] { return new T(); }) {}
  // `initial` is a function without state of its own.
  explicit constexpr fiber_local(T (*initial)()) noexcept : initial_(initial), make_(nullptr) {}
  fiber_local(const fiber_local&) = delete;
  fiber_local& operator=(const fiber_local&) = delete;

  // Of the caller; made if need be. They throw std::bad_alloc, and what making the value throws.
  T& get() const {
    constexpr auto destroy = [](void* value) noexcept { delete static_cast<T*>(value); };
    return *static_cast<T*>(detail::find_local(id_.get(), this, &make, destroy));
  }
  T& operator*() const { return get(); }
  T* operator->() const { return &get(); }

  // get_if returns the caller's value if it has been made, else null.
  T* get_if() const noexcept { return static_cast<T*>(detail::look_for_local(id_.get())); }

 private:
  static void* make(const void* variable) {
    const auto& self = *static_cast<const fiber_local*>(variable);
    return self.make_ != nullptr ? self.make_() : new T(self.initial_());
  }

  detail::variable_id id_;
  T (*initial_)() = nullptr;
  T* (*make_)();
};

}  // namespace weft::inline v0
