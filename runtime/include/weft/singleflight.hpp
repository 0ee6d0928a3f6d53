// singleflight: the same work, asked for by many at once, done once.
#pragma once

#include <weft/error.hpp>
#include <weft/future.hpp>
#include <weft/mutex.hpp>
#include <weft/sched/park.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

// singleflight<Key, R> keeps calls with one key from being made twice at the same time: the first caller makes it,
// those who come meanwhile wait for its result or exception, which they share. Who comes later makes it anew. For
// caches that are filled on demand. Fibers and plain threads.
template <class Key, class R, class Compare = std::less<Key>>
class singleflight {
 public:
  // call returns a copy of f()'s result; f runs on the first caller's fiber. If a stop of that one ends it, one of
  // those who wait makes the call. Throws what f threw; canceled_error if a stop of the caller stands. f must not
  // call with the same key.
  template <class F>
    requires std::is_invocable_r_v<R, F&>
  R call(const Key& key, F f) {
    for (;;) {
      promise<R> mine;
      shared_future<R> theirs;
      typename flights::iterator flight;
      {
        const std::lock_guard guard(mutex_);
        const auto [found, is_mine] = flights_.try_emplace(key);
        if (is_mine) found->second = mine.get_future().share();
        if (!is_mine) theirs = found->second;
        flight = found;
      }
      if (!theirs.valid()) return lead(mine, flight, f);
      try {
        return theirs.get();
      } catch (const canceled_error&) {
        if (sched::stop_requested()) throw;
      }
    }
  }

  // The calls under way.
  std::size_t size() {
    const std::lock_guard guard(mutex_);
    return flights_.size();
  }

 private:
  using flights = std::map<Key, shared_future<R>, Compare>;

  struct landing {
    singleflight& of;
    typename flights::iterator flight;
    ~landing() {
      const sched::uninterrupted to_the_end;
      const std::lock_guard guard(of.mutex_);
      of.flights_.erase(flight);
    }
  };

  template <class F>
  R lead(promise<R>& mine, typename flights::iterator flight, F& f) {
    try {
      const auto fly = [&]() -> R {
        const landing over{*this, flight};
        if constexpr (std::is_void_v<R>) {
          static_cast<void>(std::invoke(f));
        } else {
          return std::invoke(f);
        }
      };
      if constexpr (std::is_void_v<R>) {
        fly();
        mine.set_value();
      } else {
        R result = fly();
        mine.set_value(result);
        return result;
      }
    } catch (...) {
      mine.set_exception(std::current_exception());
      throw;
    }
  }

  mutex mutex_;
  flights flights_;  // guarded by mutex_
};

}  // namespace weft::inline v0
