#include "poll_desc.hpp"

#include "poll_cache.hpp"

#include <weft/netpoll/poller.hpp>
#include <weft/netpoll/waits.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/idle_stack.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <mutex>

namespace weft::inline v0::poll {

namespace {

// A stop request takes its fiber out of the gate. Woken, the fiber waits in sched::withdraw until this has returned,
// so the descriptor and its poller, whose count is lowered last, are still there.
template <mode M>
void stop_waiter(sched::cancel_site& site, sched::waiter w) noexcept {
  poll_desc& pd = static_cast<stop_site&>(site).pd;
  if (!pd.gate_of(M).withdraw(w)) return;
  sched::ready(w);
  pd.home.lower_waiters(1);
}

// has_come tells whether it is `when` already. Asked of every time that the caller made up: that the alarm is armed
// for an earlier time says nothing, it may be overdue while all workers compute. The coarse clock costs a fifth, and
// settles it for a time that is further ahead than it lags: a tick, which is 10 ms at most.
bool has_come(sched::nanotime when) noexcept {
  constexpr sched::nanotime most_lag = 20'000'000;
  return when <= 0 || (when - most_lag <= sched::coarse_now() && when <= sched::now());
}

}  // namespace

stop_site::stop_site(poll_desc& d, mode m) noexcept
    : sched::cancel_site{m == mode::read ? &stop_waiter<mode::read> : &stop_waiter<mode::write>}, pd(d) {}

// netpollblockcommit parks: the announcement becomes the waiter. Counting first errs on the safe side, and after the
// gate has the waiter nothing here may be touched, the count included: the waiter may have closed all of it.
template <mode M>
bool poll_desc::netpollblockcommit(sched::waiter self, void* object, std::uintptr_t) noexcept {
  auto& pd = *static_cast<poll_desc*>(object);
  pd.home.raise_waiters();
  if (pd.gate_of(M).netpollblockcommit(self)) [[likely]] return true;
  pd.home.lower_waiters(1);
  return false;
}

template <mode M>
int poll_desc::wait_for() noexcept {
  using sched::idle_stack;
  static constexpr bool reads = M == mode::read;
  static constexpr auto why = reads ? sched::wait_reason::read : sched::wait_reason::write;
  static constexpr sched::wait_form first{&netpollblockcommit<M>, why, reads ? idle_stack::given_back : idle_stack::kept};
  static constexpr sched::wait_form later{&netpollblockcommit<M>, why, idle_stack::kept};
  for (const sched::wait_form* form = &first;;) {
    if (const int error = netpollcheckerr(M); error != ok) return error;
    const bool ready = gate_of(M).netpollblock(
        // The look that closes the race with close and deadline: each first states its reason, then asks the gate. A stop that
        // stands is found by park_at.
        [this]() noexcept { return netpollcheckerr(M) == ok; },
        [this, form]() noexcept { sched::park_at(reads ? rstop : wstop, this, *form); });
    if (ready) [[likely]] return ok;
    // Look before going round: the deadline that woke us may have been moved meanwhile, then we wait on.
    if (const int error = netpollcheckerr(M); error != ok) return error;
    if (sched::stop_requested()) return canceled;
    if (reads && sched::give_back_idle_stack()) form = &later;
  }
}

template int poll_desc::wait_for<mode::read>() noexcept;
template int poll_desc::wait_for<mode::write>() noexcept;

void poll_desc::publish_locked() noexcept {
  info.publish(
      (closing ? summary::closing : 0) | (rd < 0 ? summary::read_expired : 0) | (wd < 0 ? summary::write_expired : 0),
      fdseq.load(std::memory_order_relaxed));  // written under the same lock
}

void poll_desc::claim_watchers_locked(sched::wake_list& wake, bool readers, bool writers) noexcept {
  watcher* next = nullptr;
  for (watcher* w = watchers.load(std::memory_order_relaxed); w != nullptr; w = next) {  // written under lock
    next = w->next_;
    if (!(w->mode_ == mode::read ? readers : writers)) continue;
    drop_watcher_locked(*w);
    if (w->node_.of->claim(w->node_.who)) wake.add(w->node_, sched::verdict::done);
  }
}

void poll_desc::drop_watcher_locked(watcher& w) noexcept {
  w.node_.queued = false;
  if (w.next_ != nullptr) w.next_->previous_ = w.previous_;
  if (w.previous_ != nullptr) {
    w.previous_->next_ = w.next_;
  } else {
    watchers.store(w.next_, std::memory_order_relaxed);
  }
}

void poll_desc::watch(watcher& w) noexcept {
  const std::lock_guard guard(lock);
  watcher* const first = watchers.load(std::memory_order_relaxed);
  w.node_.queued = true;
  w.previous_ = nullptr;
  w.next_ = first;
  if (first != nullptr) first->previous_ = &w;
  watchers.store(&w, std::memory_order_seq_cst);
}

void poll_desc::unwatch(watcher& w) noexcept {
  const std::lock_guard guard(lock);
  if (w.node_.queued) drop_watcher_locked(w);
}

void poll_desc::tell_watchers(bool readers, bool writers) noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(lock);
    claim_watchers_locked(wake, readers, writers);
  }
  wake.deliver();
}

void poll_desc::cancel_and_unlock(bool readers, bool writers) noexcept {
  sched::wake_list wake;
  claim_watchers_locked(wake, readers, writers);
  const sched::waiter reader = readers ? rg.netpollunblock(unblock::cancel) : sched::waiter{};
  const sched::waiter writer = writers ? wg.netpollunblock(unblock::cancel) : sched::waiter{};
  lock.unlock();
  if (reader) sched::ready(reader);
  if (writer) sched::ready(writer);
  const std::size_t woken = std::size_t{bool(reader)} + std::size_t{bool(writer)};
  if (woken != 0) home.lower_waiters(woken);
  wake.deliver();
}

void poll_desc::evict() noexcept {
  lock.lock();
  if (closing) {
    lock.unlock();
    return;
  }
  closing = true;
  ++alarm_seq;
  if (alarm_at != 0) alarm.stop();
  alarm_at = 0;
  publish_locked();  // before the gates are asked: the gate's O1
  cancel_and_unlock(true, true);
}

int poll_desc::arm_locked(sched::nanotime when) noexcept {
  sched::scheduler* const s = home.owner().scheduler();
  if (s == nullptr) return not_pollable;
  // Counted only when it is armed: without memory, a shot of the last arming that is under way stays good.
  if (!alarm.arm(*s, when, &deadline_passed, this, alarm_seq + 1)) return ENOMEM;
  ++alarm_seq;
  alarm_at = when;
  return ok;
}

int poll_desc::set_deadline(std::uint32_t generation, side of, sched::nanotime when, time_is known) noexcept {
  const bool reads = of != side::write;
  const bool writes = of != side::read;
  lock.lock();
  if (closing || fdseq.load(std::memory_order_relaxed) != generation) {  // written under the same lock
    lock.unlock();
    return closed;
  }
  sched::nanotime value = 0;
  if (when != sched::never) value = known == time_is::any && has_come(when) ? -1 : when;
  // A time at or after the alarm's needs no heap: the alarm will look at it.
  if (value > 0 && (alarm_at == 0 || value < alarm_at)) {
    if (const int error = arm_locked(value); error != ok) {
      lock.unlock();
      return error;
    }
  }
  const bool was_expired = (reads && rd < 0) || (writes && wd < 0);
  if (reads) rd = value;
  if (writes) wd = value;
  if (value >= 0) {
    if (was_expired) publish_locked();
    lock.unlock();
    return ok;
  }
  publish_locked();  // before the gates are asked: the gate's O1
  cancel_and_unlock(reads, writes);
  return ok;
}

// Whether this shot was meant for the present deadlines is not asked of the timer: it may ring for one that was moved
// or cleared. It looks at the clock and at what is set now.
void poll_desc::deadline_passed(void* object, std::uint32_t sequence) noexcept {
  auto& pd = *static_cast<poll_desc*>(object);
  pd.lock.lock();
  if (pd.closing || sequence != pd.alarm_seq) {
    pd.lock.unlock();
    return;
  }
  pd.alarm_at = 0;
  const sched::nanotime at = sched::now();
  const bool reads = pd.rd > 0 && pd.rd <= at;
  const bool writes = pd.wd > 0 && pd.wd <= at;
  if (reads) pd.rd = -1;
  if (writes) pd.wd = -1;
  sched::nanotime next = sched::never;
  if (pd.rd > 0) next = pd.rd;
  if (pd.wd > 0) next = std::min(next, pd.wd);
  // The alarm has left its heap a moment ago, so there was room for it.
  if (next != sched::never && pd.arm_locked(next) != ok) sched::fatal("no memory to keep a descriptor's deadline");
  if (reads || writes) pd.publish_locked();  // before the gates are asked: the gate's O1
  pd.cancel_and_unlock(reads, writes);
}

int number_waited_for(const void* object) noexcept { return static_cast<const poll_desc*>(object)->fd; }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winvalid-offsetof"  // laid out as if it were of standard layout
static constexpr sched::debugger_field fields[] = {{"poll_desc.fd", offsetof(poll_desc, fd)}};
#pragma GCC diagnostic pop
constinit const sched::debugger_table debugger_layout{fields, 1};

void netpollready(sched::ready_list& out, poll_desc& pd, bool readable, bool writable) noexcept {
  if (readable) {
    if (const sched::waiter w = pd.rg.netpollunblock(unblock::edge)) out.push(w);
  }
  if (writable) {
    if (const sched::waiter w = pd.wg.netpollunblock(unblock::edge)) out.push(w);
  }
  if (pd.watchers.load(std::memory_order_seq_cst) != nullptr) [[unlikely]] pd.tell_watchers(readable, writable);
}

}  // namespace weft::inline v0::poll
