// selection: one wait that several may end, and exactly one does.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
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
// States     parked_  0 to be found, but not parked yet | waiter* | taken
//                     set: publish (0 -> waiter*)   left: claim, a stop's take_out, both to taken
//            verdict_ pending | the rest            set: decide, by whoever claimed
// Ownership  who takes waiter* out of parked_ owns that waiter; it decides, and then passes the waiter to ready(). Who
//            claims before there is one decides alone: the publish fails, and the waiter goes on by itself.
// Invariants I1 at most one claim or take_out succeeds
//            I2 the verdict is the last access of whoever claimed: the waiter's memory may end once it is seen
// Orderings  O1 decide releases, decided acquires: what the claimer handed over is visible
//            O2 of stop_word's O1: publish is a read-modify-write, then the stop is looked for
// Not here   the queues that it can be found in; the waiter takes itself out of those that it was not claimed from
template <template <class> class Atomic = atomic>
class selection_word {
 public:
  static constexpr std::uintptr_t taken = 2;

  // publish is the waiter's commit; false if the wait is over already.
  [[nodiscard]] bool publish(std::uintptr_t self) noexcept {
    std::uintptr_t found = 0;
    return parked_.compare_exchange_strong(found, self, std::memory_order_seq_cst);  // O2
  }
  // claim makes the caller the one who decides, and the owner of `who` if there is one; false if somebody else is.
  [[nodiscard]] bool claim(std::uintptr_t& who) noexcept {
    who = parked_.load(std::memory_order_relaxed);
    while (who != taken) {
      if (parked_.compare_exchange_weak(who, taken, std::memory_order_seq_cst, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  [[nodiscard]] bool take_out(std::uintptr_t who) noexcept {
    return parked_.compare_exchange_strong(who, taken, std::memory_order_seq_cst);
  }
  bool is_taken() const noexcept { return parked_.load(std::memory_order_acquire) == taken; }

  void decide(verdict v) noexcept { verdict_.store(v, std::memory_order_release); }      // O1
  verdict decided() const noexcept { return verdict_.load(std::memory_order_acquire); }  // O1
  // await_decision is for when somebody has claimed, and is about to decide.
  verdict await_decision() const noexcept {
    return await(verdict_, std::memory_order_acquire, [](verdict v) { return v != verdict::pending; });  // O1
  }

 private:
  Atomic<std::uintptr_t> parked_{0};
  Atomic<verdict> verdict_{verdict::pending};
};

// selection is one wait of a fiber or plain thread for things that announce themselves through queues, each with a lock
// of its own. Lives on the waiter's stack, for one wait. How it is used:
//     lock the queues; nothing has happened: enter them; then wait(), which unlocks; then, if the verdict came from one
//     of several or is canceled, lock the queues again and leave those where it still is.
// The queues may be unlocked before wait(): it can be claimed from then on.
class WEFT_API selection : private cancel_site {
 public:
  explicit selection(ended_by stops = ended_by::any_stop) noexcept
      : cancel_site{&taken_out}, stops_(stops) {}
  selection(const selection&) = delete;
  selection& operator=(const selection&) = delete;

  // wait parks until somebody decides. unlock(locks) is called when the caller can be found, by the queues it entered;
  // also if a stop stands already, which is not waited out. The caller enters none of the locks meanwhile.
  verdict wait(void (*unlock)(void* locks) noexcept, void* locks, wait_target what) noexcept;

  // abandon ends the wait, in place of wait or after it; nobody decides any more when it returns. False if it was over.
  bool abandon() noexcept;

  // claim is called with the lock held of a queue that the selection is in. False if the wait is over; else the caller
  // decides, unlocks, and passes the waiter, if there is one already, to ready().
  [[nodiscard]] bool claim(waiter& who) noexcept {
    std::uintptr_t bits = 0;
    const bool claimed = word_.claim(bits);
    who = waiter::from_bits(bits);
    return claimed;
  }
  // decide is the claimer's last access. `winner` is for the waiter to know what it was.
  void decide(verdict v, void* winner) noexcept {
    winner_ = winner;
    word_.decide(v);
  }
  void* winner() const noexcept { return winner_; }

 private:
  static void taken_out(cancel_site& site, waiter who) noexcept;

  selection_word<> word_;
  const ended_by stops_;
  void (*unlock_)(void*) noexcept = nullptr;
  void* locks_ = nullptr;
  void* winner_ = nullptr;
};

}  // namespace weft::inline v0::sched
