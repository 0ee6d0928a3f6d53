// poll_desc: what the poller knows of one registered descriptor, and where its reader and its writer block.
#pragma once

#include "gate.hpp"
#include "lock_queue.hpp"
#include "summary.hpp"

#include <weft/netpoll/descriptor.hpp>
#include <weft/netpoll/watcher.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/netpoller.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/timer.hpp>
#include <weft/sched/wait_queue.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::poll {

class poll_cache;
struct poll_desc;

// stop_site is how a stop request finds the gate that the stopped fiber may be parked on.
struct stop_site : sched::cancel_site {
  stop_site(poll_desc& d, mode m) noexcept;
  poll_desc& pd;
};

// poll_desc is one slot of a poll_cache. Thread-safe as each group of fields says.
// Lifetime: type-stable for as long as its poller lives; in use from poll_cache::open to poll_cache::close, and told
// apart from earlier and later uses by fdseq.
struct alignas(64) poll_desc {
  poll_desc(poll_cache& cache, std::uint32_t slot) noexcept
      : home(cache), index(slot), rstop(*this, mode::read), wstop(*this, mode::write) {}
  poll_desc(const poll_desc&) = delete;
  poll_desc& operator=(const poll_desc&) = delete;

  // netpollcheckerr tells why the direction is of no use: closed, timed_out, not_pollable (reads only), or ok. That
  // order is the precedence. Takes no lock.
  int netpollcheckerr(mode m) const noexcept {
    const std::uint64_t now = info.load();  // the gate's O1: pairs with publish_locked before cancel_and_unlock
    const std::uint64_t expired = m == mode::read ? summary::read_expired : summary::write_expired;
    if ((now & (summary::closing | summary::event_error | expired)) == 0) [[likely]] return ok;
    if ((now & summary::closing) != 0) return closed;
    if ((now & expired) != 0) return timed_out;
    // A write finds out by itself, with a better error.
    return m == mode::read ? int{not_pollable} : int{ok};
  }

  // reset begins an I/O call: forgets an old edge, unless there is an error to report.
  // REQUIRES: the direction's lock is held, and a system call follows before wait.
  int reset(mode m) noexcept {
    const int error = netpollcheckerr(m);
    if (error == ok) gate_of(m).reset();
    return error;
  }

  // wait parks until the direction is ready: ok, or why not: an error of netpollcheckerr, or canceled. An edge that has
  // come wins over all of them. REQUIRES: the direction's lock is held.
  int wait(mode m) noexcept { return m == mode::read ? wait_for<mode::read>() : wait_for<mode::write>(); }

  // evict is the poller's half of closing: waits end with `closed` and new ones don't begin. Idempotent. Any thread.
  void evict() noexcept;

  // set_deadline makes both or one of the directions time out at `when`: `never` clears the deadline, a time that has
  // come (0 always has) ends the waits at once; `ahead` says that it has not. Returns ok; closed, also if fdseq is not
  // `generation` any more; ENOMEM, and nothing has changed; not_pollable without a scheduler's timers. Any thread;
  // doesn't suspend.
  enum class time_is : std::uint8_t { any, ahead };
  int set_deadline(std::uint32_t generation, side of, sched::nanotime when, time_is known = time_is::any) noexcept;

  // publish_locked mirrors the locked fields into info. REQUIRES: lock is held.
  void publish_locked() noexcept;

  // cancel_and_unlock answers the waiters of the given directions, drops the lock, and wakes them.
  void cancel_and_unlock(bool readers, bool writers) noexcept;

  gate& gate_of(mode m) noexcept { return m == mode::read ? rg : wg; }
  lock_queue& queue_of(mode m) noexcept { return m == mode::read ? rqueue : wqueue; }
  // watch lets w be told when its direction may be ready, until unwatch. Any thread; w's descriptor is pinned.
  void watch(watcher& w) noexcept;
  void unwatch(watcher& w) noexcept;
  // tell_watchers ends the selections that watch the given directions.
  void tell_watchers(bool readers, bool writers) noexcept;
  bool unusual() const noexcept { return (info.load() & summary::unusual) != 0; }

  // Constant
  poll_cache& home;
  const std::uint32_t index;

  // Constant while in use
  int fd = -1;

  // Guarded by home's lock
  poll_desc* link = nullptr;  // next free slot, while this one is free

  // Atomic, each with its protocol
  summary info;
  gate rg;
  gate wg;
  // Selections that wait for readiness too, as a list that is changed under lock.
  // Orderings  watch stores the head, then its caller asks the system || an event happens, then netpollready loads the
  //            head: seq_cst on both, so that one of them sees the other
  std::atomic<watcher*> watchers{nullptr};
  std::atomic<std::uint32_t> fdseq{1};  // generation; written under lock, never 0. Events carry a copy

  // Guarded by lock
  sched::spin_lock lock;
  bool in_use = false;
  bool closing = true;
  std::uint32_t alarm_seq = 0;  // of the last arming: a shot with an older one is void
  sched::nanotime rd = 0;       // 0: no deadline; positive: its time; negative: it has passed
  sched::nanotime wd = 0;
  // One alarm serves both deadlines. Whenever one is set, the alarm is armed for no later than the earlier of them;
  // when it rings, what is due expires, and the alarm is set again for what is left. So moving a deadline later, and
  // clearing it, is a store.
  sched::nanotime alarm_at = 0;  // 0: not armed, or rung and about to look
  sched::timer alarm;

  // Here, not in the descriptor, because late stop requests demand type-stable memory
  stop_site rstop;
  stop_site wstop;
  lock_queue rqueue;  // who queues for the descriptor's read lock
  lock_queue wqueue;

 private:
  void drop_watcher_locked(watcher& w) noexcept;
  void claim_watchers_locked(sched::wake_list& wake, bool readers, bool writers) noexcept;
  int arm_locked(sched::nanotime when) noexcept;
  static void deadline_passed(void* object, std::uint32_t sequence) noexcept;
  template <mode M>
  int wait_for() noexcept;
  template <mode M>
  static bool netpollblockcommit(sched::waiter self, void* object, std::uintptr_t) noexcept;
};

// netpollready tells the descriptor of an event: who waits on the directions is appended to `out`, the reader first.
// The caller has compared fdseq; a slot that was recycled since gets a spurious edge, which its user survives.
void netpollready(sched::ready_list& out, poll_desc& pd, bool readable, bool writable) noexcept;

}  // namespace weft::inline v0::poll
