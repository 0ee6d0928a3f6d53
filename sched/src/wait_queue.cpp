#include <weft/sched/wait_queue.hpp>

#include "parking.hpp"

#include <weft/sched/park.hpp>

#include <mutex>
#include <utility>

namespace weft::inline v0::sched {

namespace {

void await_stops(const wait_node& n) noexcept {
  if (n.of != nullptr) return;
  const auto& stopping = static_cast<const lone_node&>(n).stopping;
  fence_behind_locked();  // O3 of lone_wait
  if (stopping.load(std::memory_order_seq_cst) == 0) [[likely]] return;
  await(stopping, std::memory_order_seq_cst, [](std::uint32_t stops) { return stops == 0; });
}

void decide(wait_node& n) noexcept {
  const waiter who = n.who;
  if (n.of != nullptr) {
    n.of->decide(n.outcome, &n);
  } else {
    static_cast<lone_node&>(n).decided.store(n.outcome, std::memory_order_release);  // O1 of lone_wait
  }
  if (who) ready(who);  // n may be gone
}

}  // namespace

void wake_list::deliver_one(wait_node& n) noexcept {
  await_stops(n);
  decide(n);
}

void wake_list::deliver_all() noexcept {
  // Whoever is told may end what the others have waited in: so all stops keep away before the first is told.
  for (const wait_node* n = first_; n != nullptr; n = n->next) await_stops(*n);
  for (wait_node* next = first_; next != nullptr;) decide(*std::exchange(next, next->next));
}

namespace {

// lone_wait is a wait in one queue, which is all that can end it but for a stop. So the queue's lock decides who does, and no
// word is competed for.
//
// The node
// States     queued and not stopped: the wait goes on    left: claim (not queued), a stop (stopped), under the lock
//            claimed  false | true, which may be seen without the lock     set: claim
//            stopping how many stops are at it
//            decided  pending | the rest                  set: by whoever ended the wait, after the unlock
// Ownership  who ended the wait owns the waiter; it decides, and then passes it to ready()
// Invariants I1 nobody finds the node before the waiter is there: the lock is held from the push to the end of the commit
//            I2 the verdict is the last access of whoever claimed: node, queue and lock may end once it is seen
// Orderings  O1 decided: release || acquire: what the claimer handed over is visible
//            O2 of stop_word's O1: the commit ends with the unlock of what the stop locks
//            O3 claimer: store claimed, unlock, then load stopping || stop: raise stopping, then load claimed
//               A store-load race: either the stop keeps away from the lock, or the claimer waits until it is through; the
//               lock may be gone as soon as the claimer has decided.
// Not here   the node of a wait that was stopped: it stays until its owner takes it out, or a claimer passes it over
class lone_wait : cancel_site {
 public:
  lone_wait(lone_node& n, spin_lock& held) noexcept : cancel_site{&take_out}, node_(n), lock_(held) {}

  verdict wait(wait_target what, ended_by stops) noexcept {
    parking here;
    here.publish(*this, stops);
    constexpr auto lie_down = [](waiter who, void* object, std::uintptr_t) noexcept {
      auto* const self = static_cast<lone_wait*>(object);
      spin_lock& lock = self->lock_;
      self->node_.who = who;
      lock.unlock();
      return true;
    };
    here.park({lie_down, this}, what);
    if (decided() == verdict::pending) [[unlikely]] wait_on(what);
    here.withdraw();
    return decided();
  }

 private:
  // wait_on: a thread's park has ended for no reason, or somebody has yet to say.
  [[gnu::noinline, gnu::cold]] void wait_on(wait_target what) noexcept {
    constexpr auto stay = [](waiter, void* object, std::uintptr_t) noexcept {
      return static_cast<lone_wait*>(object)->decided() == verdict::pending;
    };
    while (decided() == verdict::pending) sched::park({stay, this}, what);
  }
  static void take_out(cancel_site& site, waiter who) noexcept {
    auto& self = static_cast<lone_wait&>(site);
    lone_node& n = self.node_;
    bool ours = false;
    n.stopping.fetch_add(1, std::memory_order_seq_cst);  // O3
    if (!n.claimed.load(std::memory_order_seq_cst)) {
      self.lock_.lock();
      ours = n.queued && !n.stopped;
      if (ours) n.stopped = true;
      self.lock_.unlock();
    }
    n.stopping.fetch_sub(1, std::memory_order_release);
    if (!ours) return;
    n.decided.store(verdict::canceled, std::memory_order_release);
    ready(who);
  }
  verdict decided() const noexcept { return node_.decided.load(std::memory_order_acquire); }  // O1

  lone_node& node_;
  spin_lock& lock_;
};

[[gnu::noinline, gnu::cold]] void leave(wait_queue& queue, wait_node& n, spin_lock& lock) noexcept {
  const std::lock_guard guard(lock);
  queue.leave(n);
}

}  // namespace

verdict wait_in(wait_queue& queue, lone_node& n, spin_lock& held, wait_target what, ended_by stops) noexcept {
  const verdict v = lone_wait(n, held).wait(what, stops);
  if (v == verdict::canceled) [[unlikely]] leave(queue, n, held);
  return v;
}

}  // namespace weft::inline v0::sched
