// The words behind the scheduler's own waits: a stop, the end of a fiber, a sleep.
//
// Templates over the atomic, so that tests run every interleaving of them. Waiters are their bits (waiter::bits).
#pragma once

#include <weft/sched/atomic.hpp>
#include <weft/sched/park.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

// stop_word is what stops a fiber's waits (or a plain thread's): flags that stand, and a site that says where it is
// parked.
// States     flags   stop: stands for the rest of the fiber's life           set: anybody who holds the handle
//                    linked: some wait_link of it has fired                  set: that link; cleared: the fiber, which
//                                                                            then asks the links that are left
//            site    null | where the fiber is about to park, or is parked   set, cleared: the fiber
//            who, links_only   as which waiter it parks there (in a blocking region, its thread), and whether only
//                    the links may end that           set: the fiber, before site
//            cancelling  how many stoppers are between reading the site and the end of its cancel()
// Invariants I1 a fiber whose stop stands is not left parked at an announced site
//            I2 after withdraw and await_cancels, nobody uses the site that was announced
// Orderings  O1 announce: store site; commit: publish the waiter, then load the flags (missed) || request, stop_all: store a
//               flag, then load site and take the waiter out
//               Store-load on both sides: either the fiber sees the stop, or the stopper finds the site and the waiter in
//               it. On the fiber's side the fence is the commit's own read-modify-write (fence_behind_locked), by which
//               it publishes the waiter or unlocks what the stopper needs.
//            O2 withdraw: clear site, then load cancelling || enter_cancel: raise cancelling, then load site
//               Likewise: either the stopper finds no site, or the fiber waits for it.
//            O3 unlink: store linked = false, then load what other links say || link: store its own flag, then linked
//               = true. Likewise: either the fiber sees the link's flag, or linked stays true.
// Not here   `everybody`, the scheduler's flag that stops all its fibers; which wait a late cancel was for (park.hpp)
template <template <class> class Atomic = atomic>
class stop_word {
 public:
  // begin is for a fresh fiber on the same memory.
  void begin() noexcept {
    flags_.store(0, std::memory_order_relaxed);
    site_.store(nullptr, std::memory_order_relaxed);
  }
  // requested: of the fiber as a whole, whatever its links say.
  bool requested(const Atomic<bool>& everybody) const noexcept {
    return (flags_.load(std::memory_order_seq_cst) & stop) != 0 || everybody.load(std::memory_order_seq_cst);
  }
  // links_only: of the links, whatever else was asked to stop.
  bool stands(const Atomic<bool>& everybody, bool links_only = false) const noexcept {
    const std::uint8_t flags = flags_.load(std::memory_order_seq_cst);
    if (links_only) return (flags & linked) != 0;
    return flags != 0 || everybody.load(std::memory_order_seq_cst);
  }
  // publish says that `as` (a waiter's bits) is going to park at s. A stop that stands is found after the commit (O1).
  void publish(cancel_site* s, std::uintptr_t as, bool links_only = false) noexcept {
    who_.store(as, std::memory_order_relaxed);                 // ordered by site
    links_only_.store(links_only, std::memory_order_relaxed);  // likewise
    site_.store(s, std::memory_order_release);                 // O1
  }
  // announce is publish for who need not go on: false, and nothing is published, if a stop stands already.
  [[nodiscard]] bool announce(cancel_site* s, std::uintptr_t as, const Atomic<bool>& everybody,
                              bool links_only = false) noexcept {
    publish(s, as, links_only);
    if (!stands(everybody, links_only)) return true;
    withdraw();
    return false;
  }
  void withdraw() noexcept { site_.store(nullptr, std::memory_order_seq_cst); }  // O2
  // await_cancels returns when whoever has read the site before the withdrawal is through with its cancel().
  void await_cancels() const noexcept {
    await(cancelling_, std::memory_order_seq_cst, [](std::uint32_t n) { return n == 0; });  // O2
  }
  bool announced() const noexcept { return site_.load(std::memory_order_relaxed) != nullptr; }

  void request() noexcept { flags_.fetch_or(stop, std::memory_order_seq_cst); }  // O1
  void set_linked(bool b) noexcept {                                             // O1, O3
    if (b) {
      flags_.fetch_or(linked, std::memory_order_seq_cst);
    } else {
      flags_.fetch_and(static_cast<std::uint8_t>(~linked), std::memory_order_seq_cst);
    }
  }
  cancel_site* site() const noexcept { return site_.load(std::memory_order_seq_cst); }  // O1

  // enter_cancel returns where a stop, whose flag is set already, has to cancel; or null. leave_cancel follows in any
  // case.
  cancel_site* enter_cancel() noexcept {
    cancelling_.fetch_add(1, std::memory_order_seq_cst);  // O2
    return site();
  }
  void leave_cancel() noexcept { cancelling_.fetch_sub(1, std::memory_order_release); }
  // Who is to be taken out of the site that enter_cancel returned, and whether by links alone.
  std::uintptr_t who() const noexcept { return who_.load(std::memory_order_relaxed); }
  bool links_only() const noexcept { return links_only_.load(std::memory_order_relaxed); }

  // missed is where the one who has run a fiber's commit has to cancel: a stop that came between announce and the
  // commit found nobody to take out. The fiber may have gone on since, and another may be on the same type-stable
  // memory: so cancel_announced asks again. REQUIRES: the caller's last step was the commit.
  cancel_site* missed(const Atomic<bool>& everybody) const noexcept {
    fence_behind_locked();  // O1
    return stands(everybody) ? site() : nullptr;
  }

 private:
  static constexpr std::uint8_t stop = 1;
  static constexpr std::uint8_t linked = 2;

  // In this order without gaps: a fiber keeps it, and what else a switch touches, in two lines (control_block.hpp).
  Atomic<cancel_site*> site_{nullptr};
  std::atomic<std::uintptr_t> who_{0};
  Atomic<std::uint32_t> cancelling_{0};
  Atomic<std::uint8_t> flags_{0};
  std::atomic<bool> links_only_{false};
};

// cancel_announced takes whoever the word belongs to out of where it is parked, if it has announced a site and a stop
// stands. That is asked once the site was read, for then its announcer waits for us in withdraw: the stop that brought
// us here may have been for an earlier wait, even for an earlier fiber on the same memory (missed).
template <template <class> class Atomic>
void cancel_announced(stop_word<Atomic>& word, const Atomic<bool>& everybody) noexcept {
  if (cancel_site* site = word.enter_cancel(); site != nullptr && word.stands(everybody, word.links_only())) {
    site->cancel(*site, waiter::from_bits(word.who()));
  }
  word.leave_cancel();
}

// join_word is where the one who joins a fiber waits, and what says who gives the fiber's stack back.
// States     0 nobody has come | waiter* parked | abandoned: there is no handle any more
//            done: the fiber has left its stack, and touches nothing of it any more
//            set: wait (0 -> waiter*), abandon (0 -> abandoned), end and end_unseen (any -> done)
//            left: end, take_out by a stop or by the fiber (waiter* -> 0)
// Ownership  who takes waiter* out owns that waiter. The stack is the handle's from done on; if end finds abandoned, the
//            fiber's
// Orderings  O1 done releases, ended and abandon acquire: the result is seen whole
//            O1 of stop_word: wait publishes by a read-modify-write
template <template <class> class Atomic = atomic>
class join_word {
 public:
  static constexpr std::uintptr_t done = 2;
  static constexpr std::uintptr_t abandoned = 4;
  enum class joining : std::uint8_t { parked, ended, occupied };

  void begin() noexcept { word_.store(0, std::memory_order_relaxed); }
  bool ended() const noexcept { return word_.load(std::memory_order_acquire) == done; }  // O1

  // wait is the joiner's commit. A thread's park may have ended for no reason: then it is still there.
  joining wait(std::uintptr_t self) noexcept {
    std::uintptr_t found = 0;
    if (word_.compare_exchange_strong(found, self, std::memory_order_seq_cst)) return joining::parked;  // O1 of stop_word
    if (found == done) return joining::ended;
    return found == self ? joining::parked : joining::occupied;
  }
  // end returns the joiner, which the caller then owns, or abandoned, or 0.
  [[nodiscard]] std::uintptr_t end() noexcept { return word_.exchange(done, std::memory_order_acq_rel); }  // O1
  // end_unseen is end for who has taken the joiner out and not let it go on: nobody else may change the word.
  void end_unseen() noexcept { word_.store(done, std::memory_order_release); }  // O1
  // abandon lets go of the handle. False: the fiber has ended, and its stack is the caller's. REQUIRES: nobody joins.
  [[nodiscard]] bool abandon() noexcept {
    std::uintptr_t found = 0;
    return word_.compare_exchange_strong(found, abandoned, std::memory_order_acq_rel, std::memory_order_acquire);  // O1
  }
  // take_out ends the wait of `who`. True: the caller owns that waiter.
  [[nodiscard]] bool take_out(std::uintptr_t who) noexcept {
    return word_.compare_exchange_strong(who, 0, std::memory_order_seq_cst);
  }
  std::uintptr_t peek() const noexcept { return word_.load(std::memory_order_relaxed); }

  static constexpr bool is_waiter(std::uintptr_t word) noexcept { return word > abandoned; }

 private:
  Atomic<std::uintptr_t> word_{0};
};

// sleep_word is where a sleeping fiber waits.
// States     0 awake, or woken | waiter* asleep | fired: the alarm rang before the fiber lay down
//            set: lie_down (0 -> waiter*), ring (0 -> fired)
//            left: ring and a stop's take_out (waiter* -> 0), get_up (fired -> 0)
// Ownership  who takes waiter* out owns that waiter
// Orderings  O1 of stop_word: lie_down publishes by a read-modify-write
// Not here   which sleep an alarm was for: a late one ends the next sleep early, and that one looks at the clock again
template <template <class> class Atomic = atomic>
class sleep_word {
 public:
  static constexpr std::uintptr_t fired = 2;

  // lie_down is the sleeper's commit; false if the alarm rang already.
  [[nodiscard]] bool lie_down(std::uintptr_t self) noexcept {
    std::uintptr_t awake = 0;
    return word_.compare_exchange_strong(awake, self, std::memory_order_seq_cst);  // O1 of stop_word
  }
  // ring returns the sleeper, which the caller then owns, or 0.
  [[nodiscard]] std::uintptr_t ring() noexcept {
    std::uintptr_t word = word_.load(std::memory_order_acquire);
    while (word != fired) {
      const std::uintptr_t to = word == 0 ? fired : 0;
      if (word_.compare_exchange_weak(word, to, std::memory_order_acq_rel, std::memory_order_acquire)) return word;
    }
    return 0;
  }
  [[nodiscard]] bool take_out(std::uintptr_t who) noexcept {
    return word_.compare_exchange_strong(who, 0, std::memory_order_seq_cst);
  }
  // get_up is for the sleeper, who is in no hurry: whoever could take it out has done so.
  void get_up() noexcept { word_.store(0, std::memory_order_relaxed); }
  std::uintptr_t peek() const noexcept { return word_.load(std::memory_order_relaxed); }

 private:
  Atomic<std::uintptr_t> word_{0};
};

}  // namespace weft::inline v0::sched
