// runtime: the threads that run fibers, and their poller, as one object.
#pragma once

#include <weft/export.hpp>
#include <weft/fiber.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

namespace sched {
class scheduler;
}

// unhandled_exception describes what escaped a fiber that go had started.
struct unhandled_exception {
  std::uint64_t fiber = 0;  // its id
  std::string_view name;
  std::exception_ptr error;
};

struct runtime_options {
  explicit runtime_options() = default;

  // Fibers that run at the same time. 0: the number in the environment variable WEFT_WORKERS, else as many as the CPUs
  // this process may use.
  unsigned workers = 0;
  // Usable bytes of a fiber's stack, where spawn_options don't say. 0: 256 KiB.
  std::size_t stack_size = 0;
  // Calls of blocking() that run at the same time. 0: 256.
  unsigned blocking_threads = 0;
  // Called on a fiber whose exception nobody will take; it may block. What it throws terminates the process.
  // Empty: the fiber is named on standard error, and the process terminates.
  std::function<void(const unhandled_exception&)> on_unhandled;
};

struct runtime_stats {
  unsigned workers = 0;
  unsigned threads = 0;                   // those in blocking() included
  std::uint64_t spawned = 0;              // fibers ever started
  std::uint64_t live = 0;                 // of those, not ended
  std::uint64_t dispatches = 0;           // times a fiber was given a worker
  std::uint64_t steals = 0;               // of those, from another worker's queue
  std::uint64_t polls = 0;
  std::uint64_t wakes = 0;                // workers woken from their sleep
  std::uint64_t unjoined_exceptions = 0;  // exceptions of fibers whose handle went without a join
};

// runtime runs fibers beside an application that has threads of its own. A program that is fibers alone uses run().
// Any number may exist, and locks, connections and handles of fibers work across them and from plain threads.
// Members may be called from any thread or fiber; stop and the destructor not from a fiber of this very runtime
// (fatal).
class WEFT_API runtime {
 public:
  using options = runtime_options;

  // Starts the workers. Throws std::system_error: invalid_argument for a bad option or a WEFT_WORKERS that is no number
  // from 1 to max_workers; else what the system refused.
  runtime();
  explicit runtime(const options& o);
  ~runtime();  // stop()
  runtime(const runtime&) = delete;
  runtime& operator=(const runtime&) = delete;

  static constexpr unsigned max_workers = 1024;

  // spawn and go as the functions of these names, but always here. Once stop() was called, they throw errc::no_runtime
  // to all but the runtime's own fibers; what those start has its stop standing from the beginning.
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  [[nodiscard]] fiber<detail::result_of<F, Args...>> spawn(F&& f, Args&&... args) {
    return detail::starter::spawn(state_.get(), spawn_options(), std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  [[nodiscard]] fiber<detail::result_of<F, Args...>> spawn(const spawn_options& o, F&& f, Args&&... args) {
    return detail::starter::spawn(state_.get(), o, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  void go(F&& f, Args&&... args) {
    detail::starter::go(state_.get(), spawn_options(), detail::takes::values, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  void go(const spawn_options& o, F&& f, Args&&... args) {
    detail::starter::go(state_.get(), o, detail::takes::values, std::forward<F>(f), std::forward<Args>(args)...);
  }

  // stop ends the runtime: it requests a stop of every fiber, detached ones too, and waits until the last has ended;
  // meanwhile timers and descriptors work on. Then it joins the threads and closes the poller. No fiber is killed or
  // unwound from outside: one that never ends keeps stop() waiting, and after 10 s is named on standard error.
  // With a deadline, stop returns false if fibers are left by then; they go on, and stop can be called again.
  // Idempotent; calls at the same time wait for one another.
  void stop();
  [[nodiscard]] bool stop(std::chrono::steady_clock::time_point deadline);
  template <class Rep, class Period>
  [[nodiscard]] bool stop(std::chrono::duration<Rep, Period> time) {
    return stop_by(sched::after(detail::saturated(time)));
  }

  // stats counts since the start; after the end, the last figures.
  runtime_stats stats() const;

  // entered makes the runtime current for a plain thread while it exists.
  class WEFT_API entered {
   public:
    ~entered();
    entered(const entered&) = delete;
    entered& operator=(const entered&) = delete;

   private:
    friend class runtime;
    explicit entered(std::shared_ptr<detail::runtime_state> state);

    std::shared_ptr<detail::runtime_state> state_;
    sched::scheduler* previous_;
  };

  // enter lets the calling thread use go, spawn, listen and dial as if it were a fiber, until the result is destroyed
  // by the same thread. Nests. Fatal on a fiber. Throws errc::no_runtime once stop() was called; from then on the
  // calls of threads that are inside fail with it too, and the threads of the runtime end with the last guard.
  [[nodiscard]] entered enter();

 private:
  bool stop_by(sched::nanotime deadline);

  std::shared_ptr<detail::runtime_state> state_;
};

namespace detail {

WEFT_API int run_main(const runtime_options& options, int (*call)(void* main), void* main);

template <class Main>
int call_main(void* main) {
  Main& f = *static_cast<Main*>(main);
  if constexpr (std::is_void_v<std::invoke_result_t<Main&>>) {
    std::invoke(f);
    return 0;
  } else {
    return std::invoke(f);
  }
}

}  // namespace detail

// run calls main() as the first fiber of a new runtime; when that returns, it stops the runtime and returns main's int,
// or 0 for void, or rethrows main's exception. The calling thread waits meanwhile. Fatal on a fiber.
// Throws what the constructor of runtime throws.
template <class Main>
  requires(std::is_void_v<std::invoke_result_t<std::remove_reference_t<Main>&>> ||
           std::is_convertible_v<std::invoke_result_t<std::remove_reference_t<Main>&>, int>)
int run(Main&& main, const runtime_options& options = runtime_options()) {
  using function = std::remove_reference_t<Main>;
  if constexpr (std::is_function_v<function>) {
    auto* pointer = &main;
    return detail::run_main(options, &detail::call_main<function*>, &pointer);
  } else {
    return detail::run_main(options, &detail::call_main<function>,
                            const_cast<void*>(static_cast<const void*>(std::addressof(main))));
  }
}

}  // namespace weft::inline v0
