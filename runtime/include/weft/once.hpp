// call_once: something that is done once, by whoever comes first.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

namespace weft::inline v0 {

// once_flag tells whether it has been done.
class WEFT_API once_flag {
 public:
  constexpr once_flag() noexcept = default;
  once_flag(const once_flag&) = delete;
  once_flag& operator=(const once_flag&) = delete;

 private:
  template <class F, class... Args>
  friend void call_once(once_flag& flag, F&& f, Args&&... args);

  enum class state : std::uint8_t { fresh, active, done };

  // begin is true for whoever has to make the call, which end follows; false once it has been made.
  bool begin();
  void end(bool done) noexcept;

  sched::atomic<state> state_{state::fresh};  // written under guard_
  sched::spin_lock guard_;
  sched::wait_queue queue_;  // guarded by guard_
};

// call_once calls f(args...) if nobody has done so for the flag; others wait meanwhile, and see what it did. If f
// throws, the exception goes to its caller, and the next one tries. f may suspend. Throws canceled_error if a stop of
// the caller ends its wait. A call for the same flag inside of f waits for ever.
template <class F, class... Args>
void call_once(once_flag& flag, F&& f, Args&&... args) {
  if (flag.state_.load(std::memory_order_acquire) == once_flag::state::done || !flag.begin()) return;
  struct ending {
    ~ending() { flag.end(done); }
    once_flag& flag;
    bool done = false;
  } e{flag};
  std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
  e.done = true;
}

}  // namespace weft::inline v0
