// selection: one wait that several may end, and exactly one does.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/waiter.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

// How a wait came to its end, in the words of whoever ended it.
enum class verdict : std::uint8_t {
  pending,   // nobody has yet
  done,      // what was waited for has happened
  closed,    // it will not happen any more
  again,     // it may, but the caller has to try by itself
  canceled,  // a stop of the caller stands
};

// selection_word decides who ends a wait.
//
// States     parked_  0 not parked yet, or claimed | waiter*   set: publish    left: claim, and take_out by a stop
//            verdict_ pending | the rest                       set: decide, by whoever claimed
// Ownership  who takes waiter* out of parked_ owns that waiter; it decides, and then passes the waiter to ready()
// Invariants I1 at most one claim succeeds for each publish
//            I2 the verdict is the last access of whoever claimed: the waiter's memory may end once it is seen
// Orderings  O1 decide releases, verdict acquires: what the claimer handed over is visible
//            O2 of stop_word: publish is seq_cst, then the stop is looked for
// Not here   the queues that it can be found in; the waiter takes itself out of those that it was not claimed from
template <template <class> class Atomic = std::atomic>
class selection_word {
 public:
  void begin() noexcept {
    parked_.store(0, std::memory_order_relaxed);
    verdict_.store(verdict::pending, std::memory_order_relaxed);
  }
  void publish(std::uintptr_t self) noexcept { parked_.store(self, std::memory_order_seq_cst); }  // O2
  // claim returns the waiter's bits, which the caller then owns; 0 if somebody else was quicker.
  [[nodiscard]] std::uintptr_t claim() noexcept {
    std::uintptr_t who = parked_.load(std::memory_order_relaxed);
    return who != 0 && parked_.compare_exchange_strong(who, 0, std::memory_order_seq_cst) ? who : 0;
  }
  [[nodiscard]] bool take_out(std::uintptr_t who) noexcept {
    return parked_.compare_exchange_strong(who, 0, std::memory_order_seq_cst);
  }
  void decide(verdict v) noexcept { verdict_.store(v, std::memory_order_release); }                  // O1
  verdict decided() const noexcept { return verdict_.load(std::memory_order_acquire); }              // O1

 private:
  Atomic<std::uintptr_t> parked_{0};
  Atomic<verdict> verdict_{verdict::pending};
};

// selection is one wait of a fiber or plain thread for things that announce themselves through queues, each with a lock
// of its own. Lives on the waiter's stack. How it is used:
//     lock the queues; nothing has happened: enter them; then wait(), which unlocks; then, if the verdict came from one
//     of several or is canceled, lock the queues again and leave those where it still is.
class WEFT_API selection : private cancel_site {
 public:
  selection() noexcept : cancel_site{&taken_out} {}
  selection(const selection&) = delete;
  selection& operator=(const selection&) = delete;

  // wait parks until somebody decides. unlock(locks) is called when the caller can be found, by the queues it entered;
  // also if a stop stands already, which is not waited out. The caller enters none of the locks meanwhile.
  verdict wait(void (*unlock)(void* locks) noexcept, void* locks, wait_reason why) noexcept;

  // claim is called with the lock held of a queue that the selection is in. It returns nobody if the wait is over; else
  // the caller decides, unlocks, and passes the waiter to ready().
  [[nodiscard]] waiter claim() noexcept { return waiter::from_bits(word_.claim()); }
  // decide is the claimer's last access. `winner` is for the waiter to know what it was.
  void decide(verdict v, void* winner) noexcept {
    winner_ = winner;
    word_.decide(v);
  }
  void* winner() const noexcept { return winner_; }

 private:
  static void taken_out(cancel_site& site, waiter who) noexcept;

  selection_word<> word_;
  void (*unlock_)(void*) noexcept = nullptr;
  void* locks_ = nullptr;
  void* winner_ = nullptr;
};

}  // namespace weft::inline v0::sched
