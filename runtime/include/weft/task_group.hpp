// task_group: fibers that are started together, end together and fail together.
#pragma once

#include <weft/detail/fiber_body.hpp>
#include <weft/detail/group_state.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_local.hpp>
#include <weft/scope.hpp>

#include <cstddef>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft::inline v0 {

struct task_group_options {
  explicit task_group_options() = default;
  explicit task_group_options(std::size_t most_running) : limit(most_running) {}

  std::size_t limit = 0;  // tasks that run at the same time; 0: any number
};

namespace detail {

template <class R, class F, class... Args>
concept task_of =
    spawnable<F, Args...> && (std::is_void_v<R> || std::is_convertible_v<result_of<F, Args...>, R>);

}  // namespace detail

// task_group<R> runs tasks, each on a fiber of its own, and does not end before them.
//
//     weft::task_group<> group;                        // or task_group<int>: join gives the results
//     for (auto& url : urls) group.spawn(fetch, url);
//     group.join();                                    // waits; rethrows the first failure
//
// The first task that throws stops the others: the blocking calls that they are in, or begin, throw canceled_error,
// which is no failure then. Tasks inherit the scopes and values of whoever spawns them, and what they spawn is
// stopped with them. A task may spawn further tasks into its own group; at the limit only by try_spawn, since it
// would wait for a place while it has one.
//
// Destruction waits for the tasks, and never throws; unwinding, or with a stop of its owner, it stops them first. A
// failure that nobody joined for is dropped. Not movable: the tasks know its address. spawn and request_stop: any
// fiber, and any thread that may spawn (runtime::enter()); join and destruction: its owner, which is no task of it.
template <class R = void>
class task_group : private detail::group_state {
  static_assert(std::is_void_v<R> || std::is_object_v<R>, "the results are collected: no references");

 public:
  task_group() : task_group(task_group_options()) {}
  // Throws std::bad_alloc.
  explicit task_group(const task_group_options& options) : group_state(options.limit) {}
  ~task_group() {
    settle();
    results_.clear();
  }
  task_group(const task_group&) = delete;
  task_group& operator=(const task_group&) = delete;

  // spawn starts f(args...), copied and destroyed as by weft::spawn. At the limit it waits until a task has ended. Once
  // the group is stopped, tasks start with their stop standing. Throws canceled_error if a stop of the caller stands
  // while it has to wait, and what weft::spawn throws.
  template <class F, class... Args>
    requires detail::task_of<R, F, Args...>
  WEFT_AT_CALLER void spawn(F&& f, Args&&... args) {
    spawn(spawn_options(), std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::task_of<R, F, Args...>
  WEFT_AT_CALLER void spawn(const spawn_options& options, F&& f, Args&&... args) {
    admit();
    start(options, std::forward<F>(f), std::forward<Args>(args)...);
  }
  // try_spawn likewise, if that needs no wait; false at the limit.
  template <class F, class... Args>
    requires detail::task_of<R, F, Args...>
  [[nodiscard]] WEFT_AT_CALLER bool try_spawn(F&& f, Args&&... args) {
    if (!try_admit()) return false;
    start(spawn_options(), std::forward<F>(f), std::forward<Args>(args)...);
    return true;
  }

  // join waits until no task is left, and rethrows the first failure; else it returns the results of the tasks spawned
  // since the last join, in the order of their spawning (task_group<>: nothing); tasks that answered a request_stop
  // have none. Throws canceled_error if a stop of the caller stands; the tasks go on then. A group that has failed
  // stays stopped, and each join says why.
  auto join() {
    wait_or_throw();
    if constexpr (std::is_void_v<R>) {
      rethrow_failure();
    } else {
      results all = results_.take();
      rethrow_failure();
      return all.values();
    }
  }

  // request_stop stops the tasks, those to come included. get_stop_token's token reports that, and a failure: for
  // whoever is no task, but wants to end with them. get_stop_source lets somebody stop them who has not the group.
  using detail::group_state::request_stop;
  using detail::group_state::get_stop_source;
  using detail::group_state::get_stop_token;

  // The tasks that have not ended, at some moment during the call.
  using detail::group_state::size;

 private:
  using results = detail::group_results<R>;

  // task is one task, between its start and its end.
  template <class Call>
  struct task {
    template <class... From>
    task(task_group& g, typename results::slot* s, From&&... from)
        : group(g), result(s), call(std::in_place, std::in_place, std::forward<From>(from)...) {}

    void operator()() noexcept {
      {
        const stop_scope with_the_group(group.get_stop_token());
        try {
          if constexpr (std::is_void_v<R>) {
            static_cast<void>((*call)());
          } else {
            result->fill((*call)());
          }
        } catch (...) {
          group.fail();
        }
        call.reset();  // on its fiber, and before a join returns
      }
      detail::dispose_locals();
      group.leave();
    }

    task_group& group;
    typename results::slot* result;
    std::optional<Call> call;
  };

  template <class F, class... Args>
  WEFT_AT_CALLER void start(const spawn_options& options, F&& f, Args&&... args) {
    using call = detail::call_of<F, Args...>;
    detail::group_state::entry in(*this);
    typename results::slot* const place = results_.add();
    detail::starter::go_in_place<task<call>>(nullptr, options, detail::takes::scopes_and_values, *this, place,
                                             std::forward<F>(f), std::forward<Args>(args)...);
    in.started();
  }

  results results_;
};

task_group(const task_group_options&) -> task_group<void>;

}  // namespace weft::inline v0
