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
#include <vector>

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

// hog describes a fiber that has run for long without letting others go first.
struct hog {
  std::uint64_t fiber = 0;  // its id
  std::string_view name;
  std::chrono::nanoseconds runs{0};
  std::string_view backtrace;  // a line for each frame, innermost first; empty if there is none to be had
};

// The status that a process exits with when its fibers can never go on.
inline constexpr int deadlock_exit_status = 35;

struct runtime_options {
  explicit runtime_options() = default;

  // Fibers that run at the same time. 0: the number in the environment variable WEFT_WORKERS, else as many as the CPUs
  // this process may use.
  unsigned workers = 0;
  // Usable bytes of a fiber's stack, where spawn_options don't say. 0: 256 KiB.
  std::size_t stack_size = 0;
  // Calls of blocking() that run at the same time. 0: 256.
  unsigned blocking_threads = 0;
  // SIGSEGV and SIGBUS are handled while the runtime exists: the overflow of a fiber's stack is reported; then, and at any
  // other fault, the disposition from before decides. Also what shows where a running fiber is. Off: neither.
  bool handle_faults = true;
  // A fiber that runs so long without letting others go first is reported: with its name and backtrace, then again after
  // twice the time, and so on, at most one report a second. 0: none is.
  std::chrono::nanoseconds hog_threshold = std::chrono::seconds(1);
  // Called for it, on a thread of the library's; must not block for long. Empty: it is reported on standard error.
  std::function<void(const hog&)> on_hog;
  // When fibers are left and nothing in the process can ever make one runnable again - no timer, no descriptor waited for,
  // no call of blocking(), no other thread that is not itself waiting for one of them -, their dump is written to
  // standard error, cycles of fibers that wait for one another are named, and the process exits with
  // deadlock_exit_status. Looked for when nothing has run for a second.
  bool detect_deadlock = true;
  // A signal that makes the process write a dump (debug/dump.hpp) to standard error and go on; its disposition is
  // put back at the end. 0: none.
  int dump_signal = 0;
  // Fibers that are older than this when main of run() has returned are reported on standard error: what nobody waits for
  // may have been forgotten. 0: none is.
  std::chrono::nanoseconds leak_threshold{0};
  // How deep the stacks of fibers become is measured, for debug::stack_marks (debug/stacks.hpp). Each end of a fiber then
  // costs a look through its stack.
  bool measure_stacks = false;
  // Called on a fiber whose exception nobody will take; it may block. What it throws terminates the process.
  // Empty: the fiber is named on standard error, and the process terminates.
  std::function<void(const unhandled_exception&)> on_unhandled;
};

// processor_stats counts what one of the processors, as many as workers, has done since the start.
struct processor_stats {
  std::uint64_t spawned = 0;
  std::uint64_t dispatches = 0;
  std::uint64_t steals = 0;
  std::uint64_t polls = 0;
  std::chrono::nanoseconds in_poll{0};  // asleep until a descriptor, a timer or a wake-up
  std::size_t queued = 0;               // fibers in its queue, just now
  struct parks {
    std::string_view why;  // "read", "lock", "receive", ...
    std::uint64_t count = 0;
  };
  std::vector<parks> parked;
  // How long fibers were runnable before they ran, of a sample of one in 64: counts of those below 1 us, 2 us, 4 us and so on,
  // and not below the one before.
  std::vector<std::uint64_t> run_waits;
  std::chrono::nanoseconds run_wait_sum{0};  // of all these
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
  std::size_t queued = 0;                 // runnable fibers that no worker has, just now; more are in the processors' queues
  unsigned blocking = 0;                  // calls of blocking(), just now
  std::size_t stacks = 0;                 // the most that there ever were
  std::size_t stack_bytes = 0;            // of address space; memory is used as far as stacks were touched
  std::size_t free_stacks = 0;            // of the stacks, in the pools; a few more are with the processors
  std::size_t warm_stacks = 0;            // of the free ones, those whose memory has not gone back to the system
  std::vector<processor_stats> processors;
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
  [[nodiscard]] WEFT_AT_CALLER fiber<detail::result_of<F, Args...>> spawn(F&& f, Args&&... args) {
    return detail::starter::spawn(state_.get(), spawn_options(), std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  [[nodiscard]] WEFT_AT_CALLER fiber<detail::result_of<F, Args...>> spawn(const spawn_options& o, F&& f,
                                                                          Args&&... args) {
    return detail::starter::spawn(state_.get(), o, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  WEFT_AT_CALLER void go(F&& f, Args&&... args) {
    detail::starter::go(state_.get(), spawn_options(), detail::takes::values, std::forward<F>(f), std::forward<Args>(args)...);
  }
  template <class F, class... Args>
    requires detail::spawnable<F, Args...>
  WEFT_AT_CALLER void go(const spawn_options& o, F&& f, Args&&... args) {
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

  // stats counts since the start; after the end, the last figures. Throws std::bad_alloc.
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
