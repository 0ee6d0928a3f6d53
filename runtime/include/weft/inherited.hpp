// inherited: values that a fiber passes on to the fibers it starts.
#pragma once

#include <weft/detail/scope_frame.hpp>
#include <weft/detail/variable_id.hpp>

#include <memory>
#include <utility>

namespace weft::inline v0 {

template <class T>
class binding;

// inherited<T> is a place for values that belong to a piece of work, whoever does it: a request's id, its user, its
// trace. A binding gives it a value for as long as it exists, seen by its owner and by every fiber that is started
// meanwhile (go, spawn, task_group), for all of that fiber's life; it shares the value, which does not change.
//
//     inline const weft::inherited<std::string> request_id;
//     ...
//     weft::binding bound(request_id, std::string("r-17"));
//     group.spawn([] { log(*request_id.get()); });
//
// Usually a constant with static storage. A plain thread has its own bindings. Cheap to pass on: one reference is
// counted for each fiber, whatever it inherits.
template <class T>
class inherited {
 public:
  constexpr inherited() noexcept = default;
  inherited(const inherited&) = delete;
  inherited& operator=(const inherited&) = delete;

  // get returns the caller's value; null where none is bound.
  const T* get() const noexcept { return static_cast<const T*>(detail::scope_frame::find(id_.get())); }

 private:
  template <class U>
  friend class binding;

  detail::variable_id id_;
};

// binding gives an inherited its value; it lives on the stack of one fiber or thread. The innermost counts.
template <class T>
class binding {
 public:
  // Throws std::bad_alloc, and what T's constructor throws.
  template <class U>
  [[nodiscard]] binding(const inherited<T>& name, U&& value)
      : frame_(name.id_.get(), std::make_shared<const T>(std::forward<U>(value))) {}

 private:
  detail::scope_frame frame_;
};

template <class T, class U>
binding(const inherited<T>&, U&&) -> binding<T>;

}  // namespace weft::inline v0
