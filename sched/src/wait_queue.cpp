#include <weft/sched/wait_queue.hpp>

#include <utility>

namespace weft::inline v0::sched {

void wake_list::deliver_all() noexcept {
  wait_node* next = std::exchange(first_, nullptr);
  last_ = nullptr;
  while (next != nullptr) {
    wait_node& n = *std::exchange(next, next->next);
    const waiter who = n.who;
    n.of->decide(n.outcome, &n);  // n may be gone
    if (who) ready(who);
  }
}

verdict wait_in(wait_queue& queue, wait_node& n, spin_lock& held, wait_target what, ended_by stops) noexcept {
  selection waiting(stops);
  n.of = &waiting;
  constexpr auto unlock = [](void* lock) noexcept { static_cast<spin_lock*>(lock)->unlock(); };
  const verdict v = waiting.wait(unlock, &held, what);
  if (v == verdict::canceled) {
    held.lock();
    queue.leave(n);
    held.unlock();
  }
  return v;
}

}  // namespace weft::inline v0::sched
