#include "lock_queue.hpp"

namespace weft::inline v0::poll {

bool lock_queue::acquire(stoppable s, sched::wait_reason why) noexcept {
  for (;;) {
    if (s == stoppable::yes && !sched::announce(*this)) return false;
    node mine;
    mine.who = sched::current_waiter();
    lock_.lock();
    const bool at_once = grants_ > 0;
    if (at_once) {
      --grants_;
    } else {
      (tail_ != nullptr ? tail_->next : head_) = &mine;
      tail_ = &mine;
    }
    lock_.unlock();
    if (at_once) {
      if (s == stoppable::yes) sched::withdraw();
      return true;
    }
    // A stop between announce and here looked for the node before it was linked; this is the second look. After it,
    // remove finds the node.
    if (s == stoppable::yes && sched::stop_requested()) remove(*this, mine.who);
    node::state end;
    do {
      // A node that was unlinked already refuses the commit.
      sched::park({&lock_queue::park_commit, this, reinterpret_cast<std::uintptr_t>(&mine)}, {why, this});
      lock_.lock();  // orders the read behind whoever unlinked the node
      end = mine.now;
      lock_.unlock();
    } while (end != node::state::granted && end != node::state::stopped);  // a thread's park may end for no reason
    if (s == stoppable::yes) sched::withdraw();
    if (end == node::state::granted) return true;
    // A stop that does not count, of a link from before an unwinding: in line again.
    if (sched::stop_requested()) return false;
  }
}

// The node is on the stack of the waiter that has just departed; it is the owner's until the lock is dropped.
bool lock_queue::park_commit(sched::waiter, void* object, std::uintptr_t word) noexcept {
  auto& queue = *static_cast<lock_queue*>(object);
  auto& mine = *reinterpret_cast<node*>(word);
  queue.lock_.lock();
  const bool stay = mine.now == node::state::announced || mine.now == node::state::parked;
  if (stay) mine.now = node::state::parked;
  queue.lock_.unlock();
  return stay;
}

sched::waiter lock_queue::unlink_locked(node* before, node& n, node::state end) noexcept {
  (before != nullptr ? before->next : head_) = n.next;
  if (tail_ == &n) tail_ = before;
  const sched::waiter parked = n.now == node::state::parked ? n.who : sched::waiter{};
  n.now = end;
  return parked;
}

void lock_queue::release(std::uint32_t n) noexcept {
  for (; n > 0; --n) {
    sched::waiter w;
    lock_.lock();
    if (head_ != nullptr) {
      w = unlink_locked(nullptr, *head_, node::state::granted);
    } else {
      ++grants_;
    }
    lock_.unlock();
    if (w) sched::ready(w);
  }
}

void lock_queue::remove(sched::cancel_site& site, sched::waiter w) noexcept {
  auto& queue = static_cast<lock_queue&>(site);
  sched::waiter mine;
  queue.lock_.lock();
  node* before = nullptr;
  for (node* n = queue.head_; n != nullptr; before = n, n = n->next) {
    if (n->who != w) continue;
    mine = queue.unlink_locked(before, *n, node::state::stopped);
    break;
  }
  queue.lock_.unlock();
  if (mine) sched::ready(mine);
}

bool lock_queue::idle() noexcept {
  lock_.lock();
  const bool result = head_ == nullptr && grants_ == 0;
  lock_.unlock();
  return result;
}

}  // namespace weft::inline v0::poll
