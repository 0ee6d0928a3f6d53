#include <weft/once.hpp>

#include "stoppable_wait.hpp"

#include <mutex>

namespace weft::inline v0 {

bool once_flag::begin() {
  for (;;) {
    if (sched::stop_requested()) throw_canceled("call once");
    guard_.lock();
    const state now = state_.load(std::memory_order_relaxed);
    if (now != state::active) {
      if (now == state::fresh) state_.store(state::active, std::memory_order_relaxed);
      guard_.unlock();
      return now == state::fresh;
    }
    sched::lone_node n;
    queue_.push(n);
    // Whatever the verdict: it is looked at again.
    static_cast<void>(sched::wait_in(queue_, n, guard_, {sched::wait_reason::once, this}));
  }
}

void once_flag::end(bool done) noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(guard_);
    state_.store(done ? state::done : state::fresh, std::memory_order_release);
    while (sched::wait_node* const n = queue_.claim()) wake.add(*n, sched::verdict::again);
  }
  wake.deliver();
}

}  // namespace weft::inline v0
