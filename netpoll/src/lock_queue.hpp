// lock_queue: those who wait for one direction of an fd_mutex, first come, first woken.
#pragma once

#include <weft/sched/park.hpp>
#include <weft/sched/spin_lock.hpp>

#include <cstdint>

namespace weft::inline v0::poll {

// Whether a stop of the calling fiber ends the wait.
enum class stoppable : std::uint8_t { no, yes };

// lock_queue counts grants: release makes one, acquire waits for one and uses it up. It is a semaphore, not a hand-over
// of the lock: who got a grant tries the lock again.
// Thread-safe. Lifetime: type-stable, part of a poll_desc, since a late stop request may still ask it for a waiter that
// is gone.
class lock_queue : public sched::cancel_site {
 public:
  lock_queue() noexcept : sched::cancel_site{&lock_queue::remove} {}
  lock_queue(const lock_queue&) = delete;
  lock_queue& operator=(const lock_queue&) = delete;

  // acquire parks until there is a grant for the caller and returns true. False: a stop stands, no grant was used.
  [[nodiscard]] bool acquire(stoppable s, sched::wait_reason why) noexcept;

  // release makes n grants and wakes as many. Any thread.
  void release(std::uint32_t n) noexcept;

  // idle tells that nobody waits and no grant is left over.
  bool idle() noexcept;

 private:
  // A waiter's place in the queue, on its own stack. All fields are guarded by lock_. Linked while announced or parked;
  // whoever unlinks it says why, and touches it no more once the lock is dropped.
  struct node {
    enum class state : std::uint8_t { announced, parked, granted, stopped };
    sched::waiter who;
    state now = state::announced;
    node* next = nullptr;
  };

  static bool park_commit(sched::waiter self, void* object, std::uintptr_t word) noexcept;
  static void remove(sched::cancel_site& site, sched::waiter w) noexcept;
  // The waiter that the caller must wake after unlocking; null if it isn't parked yet.
  sched::waiter unlink_locked(node* before, node& n, node::state end) noexcept;

  sched::spin_lock lock_;
  std::uint32_t grants_ = 0;  // guarded by lock_; 0 while anybody is linked
  node* head_ = nullptr;      // guarded by lock_
  node* tail_ = nullptr;      // guarded by lock_
};

}  // namespace weft::inline v0::poll
