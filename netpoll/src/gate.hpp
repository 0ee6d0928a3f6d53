// gate: one direction of a descriptor, as a word on which at most one waiter blocks. Shape of Go's pollDesc.rg and wg.
#pragma once

#include <weft/sched/fatal.hpp>
#include <weft/sched/waiter.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::poll {

inline constexpr std::uintptr_t pdNil = 0;
inline constexpr std::uintptr_t pdReady = 1;
inline constexpr std::uintptr_t pdWait = 2;

enum class unblock : std::uint8_t {
  edge,    // the system reported the direction ready
  cancel,  // close, a passed deadline, a stop: look again
};

// basic_gate is the protocol by which one waiter blocks until an edge or a cancel, with no lock on either side.
// Thread-safe. Atomic is std::atomic, or a stepped stand-in under the model tests. Lifetime: its poll_desc's.
//
// Blocking on a direction
// States     pdNil    no edge pending, nobody waits
//            pdReady  an edge came that nobody has used      set: netpollunblock(edge)   left: netpollblock, reset
//            pdWait   somebody announced itself, still runs  set: netpollblock           left: commit, any unblock, the
//                                                                                          withdraw, the announcer's
//                                                                                          last exchange
//            waiter   that one is parked, its context saved  set: netpollblockcommit     left: any unblock, withdraw
//            edge leads to pdReady from everywhere; cancel leads from pdWait and waiter to pdNil, and leaves pdNil and
//            pdReady alone, so that data that came before a timeout is still found
// Ownership  The holder of the direction's lock alone calls reset and netpollblock; a second blocker is fatal. Whoever
//            takes `waiter` out of the word owns it, and hands it to ready() exactly once; nothing else ends its park.
// Invariants I1 after pdWait is set, an edge either makes the commit fail or gets the waiter: none is lost
//            I2 successful commits == removals of a waiter
//            I3 once a cancel's reason is published, nobody stays parked here without a later look at the reason
//            I4 netpollblock leaves the word at pdNil or, for an edge after its last exchange, at pdReady
// Orderings  O1 netpollblock: CAS to pdWait, then load the reason || closer: store the reason, then load the word.
//               Both sides store, then load: seq_cst on all four. With acquire and release alone each may read
//               the other's old value, and the waiter sleeps for ever.
//            O2 the commit's CAS releases, the removal acquires: who wakes the fiber sees its saved context
//            O3 an edge's CAS releases, consuming it acquires: what the poller noted of the event is seen with it
// Not here   why a cancel happened (summary), who may block (fd_mutex), reuse of the slot (fdseq)
template <template <class> class Atomic = std::atomic>
class basic_gate {
 public:
  // netpollblock waits for an edge: true, and the edge is used up; false, something was canceled or not clean.
  // `clean()` is asked once between announcing and parking, and must be true to go on; `park()` suspends the caller
  // with netpollblockcommit as its commit. Fatal if somebody waits here already.
  // REQUIRES: the direction's lock is held.
  template <class Clean, class Park>
  [[nodiscard]] bool netpollblock(Clean clean, Park park) noexcept {
    std::uintptr_t old = word_.load(std::memory_order_relaxed);  // corrected by the CAS
    for (;;) {
      if (old == pdReady) {
        // O3
        if (word_.compare_exchange_weak(old, pdNil, std::memory_order_seq_cst, std::memory_order_relaxed)) return true;
        continue;
      }
      if (old == pdNil) {
        // O1: pairs with the load in netpollunblock(cancel)
        if (word_.compare_exchange_weak(old, pdWait, std::memory_order_seq_cst, std::memory_order_relaxed)) break;
      } else {
        sched::fatal("double wait: a second waiter on one direction of a descriptor (the gate holds %#lx)",
                     static_cast<unsigned long>(old));
      }
    }
    if (clean()) [[likely]] park();
    // One exchange ends all cases: an edge that came meanwhile is consumed, an announcement that nobody has answered is
    // taken back. seq_cst for O3 and for a place in the order of O1.
    old = word_.exchange(pdNil, std::memory_order_seq_cst);
    if (old > pdWait) [[unlikely]] {
      sched::fatal("netpollblock: woken, though the gate still holds a waiter (%#lx)", static_cast<unsigned long>(old));
    }
    return old == pdReady;
  }

  // netpollblockcommit publishes the parked waiter. False: the announcement was answered meanwhile, it must not stay
  // parked. After true the waiter may be running elsewhere: touch nothing of it, nor of what its descriptor keeps
  // alive.
  [[nodiscard]] bool netpollblockcommit(sched::waiter self) noexcept {
    std::uintptr_t expected = pdWait;
    // O2, release; failing needs nothing, the caller's exchange looks again
    return word_.compare_exchange_strong(expected, self.bits(), std::memory_order_seq_cst, std::memory_order_relaxed);
  }

  // netpollunblock answers whoever blocks here. The waiter returned, if any, is the caller's to wake.
  [[nodiscard]] sched::waiter netpollunblock(unblock why) noexcept {
    const std::uintptr_t next = why == unblock::edge ? pdReady : pdNil;
    std::uintptr_t old = word_.load(std::memory_order_seq_cst);  // O1: pairs with the CAS to pdWait in netpollblock
    for (;;) {
      if (old == pdReady || (old == pdNil && why == unblock::cancel)) return {};
      // O2 acquires the waiter's context, O3 releases the event's notes
      if (word_.compare_exchange_weak(old, next, std::memory_order_seq_cst, std::memory_order_seq_cst)) {
        return old > pdWait ? sched::waiter::from_bits(old) : sched::waiter{};
      }
    }
  }

  // withdraw is the cancel of a stop request: it is meant for `w` alone, and does nothing to another parked waiter.
  // True: the caller owns w now. An announcement doesn't tell whose it is, so it is answered too; its announcer looks
  // again.
  [[nodiscard]] bool withdraw(sched::waiter w) noexcept {
    std::uintptr_t old = word_.load(std::memory_order_seq_cst);  // O1: the reason is the stop's flag here
    while (old == w.bits() || old == pdWait) {
      if (word_.compare_exchange_weak(old, pdNil, std::memory_order_seq_cst, std::memory_order_seq_cst)) {  // O2
        return old != pdWait;
      }
    }
    return false;
  }

  // reset forgets an edge. Only before a system call that would find what the edge announced; never between EAGAIN and
  // netpollblock. REQUIRES: the direction's lock is held.
  void reset() noexcept {
    const std::uintptr_t old = word_.load(std::memory_order_seq_cst);  // O3
    if (old == pdNil) return;  // the usual case costs no store
    if (old != pdReady) {
      sched::fatal("reset of a direction that somebody waits on (the gate holds %#lx)",
                   static_cast<unsigned long>(old));
    }
    // Not a CAS: a second edge in between is redundant like the first. seq_cst: what that edge noted before it found
    // pdReady is seen by the caller's next look at the summary.
    word_.store(pdNil, std::memory_order_seq_cst);
  }

  // renew makes the gate of a recycled slot empty. False: somebody waits here, which cannot be. REQUIRES: no user yet.
  [[nodiscard]] bool renew() noexcept { return word_.exchange(pdNil, std::memory_order_seq_cst) <= pdReady; }

  std::uintptr_t peek() const noexcept { return word_.load(std::memory_order_seq_cst); }

 private:
  Atomic<std::uintptr_t> word_{pdNil};
};

using gate = basic_gate<>;

}  // namespace weft::inline v0::poll
