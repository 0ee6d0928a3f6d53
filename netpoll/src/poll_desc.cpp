#include "poll_desc.hpp"

#include "poll_cache.hpp"

#include <weft/netpoll/poller.hpp>

namespace weft::inline v0::poll {

namespace {

// A stop request takes its fiber out of the gate. Woken, the fiber waits in sched::withdraw until this has returned, so the
// descriptor and its poller, whose count is lowered last, are still there.
void stop_waiter(sched::cancel_site& site, sched::waiter w) noexcept {
  auto& at = static_cast<stop_site&>(site);
  if (!at.pd.gate_of(at.m).withdraw(w)) return;
  sched::ready(w);
  at.pd.home.lower_waiters(1);
}

}  // namespace

stop_site::stop_site(poll_desc& d, mode of) noexcept : sched::cancel_site{&stop_waiter}, pd(d), m(of) {}

int poll_desc::netpollcheckerr(mode m) const noexcept {
  const std::uint64_t now = info.load();  // the gate's O1: pairs with publish_locked before cancel_and_unlock
  if ((now & summary::closing) != 0) return closed;
  if ((now & (m == mode::read ? summary::read_expired : summary::write_expired)) != 0) return timed_out;
  // A write finds out by itself, with a better error.
  if (m == mode::read && (now & summary::event_error) != 0) return not_pollable;
  return ok;
}

int poll_desc::reset(mode m) noexcept {
  const int error = netpollcheckerr(m);
  if (error == ok) gate_of(m).reset();
  return error;
}

// netpollblockcommit parks: the announcement becomes the waiter. Counting first errs on the safe side, and after the
// gate has the waiter nothing here may be touched, the count included: the waiter may have closed all of it.
bool poll_desc::netpollblockcommit(sched::waiter self, void* object, std::uintptr_t word) noexcept {
  auto& pd = *static_cast<poll_desc*>(object);
  pd.home.raise_waiters();
  if (pd.gate_of(static_cast<mode>(word)).netpollblockcommit(self)) return true;
  pd.home.lower_waiters(1);
  return false;
}

int poll_desc::wait(mode m) noexcept {
  const auto why = m == mode::read ? sched::wait_reason::read : sched::wait_reason::write;
  for (;;) {
    if (const int error = netpollcheckerr(m); error != ok) return error;
    if (!sched::announce(stop_of(m))) return canceled;
    const bool ready = gate_of(m).netpollblock(
        // The look that closes the race with close, deadline and stop: each first states its reason, then asks the
        // gate.
        [&]() noexcept { return netpollcheckerr(m) == ok && !sched::stop_requested(); },
        [&]() noexcept {
          sched::park({&poll_desc::netpollblockcommit, this, static_cast<std::uintptr_t>(m)}, why);
        });
    sched::withdraw();
    if (ready) return ok;
    // Look before going round: the deadline that woke us may have been moved meanwhile, then we wait on.
    if (const int error = netpollcheckerr(m); error != ok) return error;
    if (sched::stop_requested()) return canceled;
  }
}

void poll_desc::publish_locked() noexcept {
  info.publish(
      (closing ? summary::closing : 0) | (rd < 0 ? summary::read_expired : 0) | (wd < 0 ? summary::write_expired : 0),
      fdseq.load(std::memory_order_relaxed));  // written under the same lock
}

void poll_desc::cancel_and_unlock(bool readers, bool writers) noexcept {
  const sched::waiter reader = readers ? rg.netpollunblock(unblock::cancel) : sched::waiter{};
  const sched::waiter writer = writers ? wg.netpollunblock(unblock::cancel) : sched::waiter{};
  lock.unlock();
  if (reader) sched::ready(reader);
  if (writer) sched::ready(writer);
  const std::size_t woken = std::size_t{bool(reader)} + std::size_t{bool(writer)};
  if (woken != 0) home.lower_waiters(woken);
}

void poll_desc::evict() noexcept {
  lock.lock();
  if (closing) {
    lock.unlock();
    return;
  }
  closing = true;
  ++rseq;
  ++wseq;
  if (rrun) rt.stop();
  if (wrun) wt.stop();
  rrun = wrun = false;
  publish_locked();  // before the gates are asked: the gate's O1
  cancel_and_unlock(true, true);
}

void netpollready(sched::ready_list& out, poll_desc& pd, bool readable, bool writable) noexcept {
  if (readable) {
    if (const sched::waiter w = pd.rg.netpollunblock(unblock::edge)) out.push(w);
  }
  if (writable) {
    if (const sched::waiter w = pd.wg.netpollunblock(unblock::edge)) out.push(w);
  }
}

}  // namespace weft::inline v0::poll
