#include <weft/detail/wait_queue.hpp>

#include <utility>

namespace weft::inline v0::detail {

void wake_list::deliver_all() noexcept {
  wait_node* next = std::exchange(first_, nullptr);
  last_ = nullptr;
  while (next != nullptr) {
    wait_node& n = *std::exchange(next, next->next);
    const sched::waiter who = n.who;
    n.of->decide(n.outcome, &n);  // n may be gone
    if (who) sched::ready(who);
  }
}

sched::verdict wait_in(wait_queue& queue, wait_node& n, sched::spin_lock& held, sched::wait_reason why,
                       sched::ended_by stops) noexcept {
  sched::selection waiting(stops);
  n.of = &waiting;
  constexpr auto unlock = [](void* lock) noexcept { static_cast<sched::spin_lock*>(lock)->unlock(); };
  const sched::verdict v = waiting.wait(unlock, &held, why);
  if (v == sched::verdict::canceled) {
    held.lock();
    queue.leave(n);
    held.unlock();
  }
  return v;
}

}  // namespace weft::inline v0::detail
