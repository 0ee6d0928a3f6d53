// fiber_look: what a fiber is doing, and the look at one that is suspended.
//
// A template over the atomic, so that a test runs every interleaving of it.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::inline v0::sched {

// What a fiber is doing, for whoever looks.
enum class fiber_phase : std::uint8_t {
  none,      // not started, or over
  runnable,  // in a queue
  running,
  parked,
  blocking,  // in a blocking region, on a thread that has no processor
};

// The look at a suspended fiber, which cannot be resumed meanwhile
// States     free       no one looks                         set: end_look    left: begin_look
//            looked_at  somebody may be reading its frames    set: begin_look  left: end_look, enter_running
//            owed       likewise, and a worker that came to run it has gone on without it: it is suspended, whatever the
//                       phase says
//                       set: enter_running  left: end_look, whose caller makes the fiber runnable
// Ownership  looked_at, owed: whoever looks, of the frames and of what the fiber waits for; it may not write there. The
//            CAS to owed passes the right to run the fiber from the worker to whoever looks.
// Invariants I1 a fiber that was found suspended after begin_look stays so until end_look
//            I2 each refusal of enter_running is followed by one end_look that returns true
// Orderings  O1 enter_running: store phase, then load the look || begin_look: store the look, then load phase.
//               A store-load race, which the worker wins without a fence: between its two accesses whoever looks makes
//               every thread of the process pass one (membarrier).
//            O2 becomes() and the CAS to owed release, phase_looked_at acquires: the registers that were saved
//            O3 end_look releases, enter_running acquires: what was read of the fiber, before it goes on
// Not here   which fiber of those that use the stack in turn: an id that was read after begin_look holds until end_look,
//            if the fiber was found suspended
enum class look_state : std::uint8_t { free, looked_at, owed };

struct debugger_access;

template <template <class> class Atomic = std::atomic>
class fiber_look {
 public:
  // --- Of whoever runs the fiber, or owns its waiter

  // becomes says what it does from now on, if that is not running.
  void becomes(fiber_phase p) noexcept { phase_.store(p, std::memory_order_release); }  // O2

  // enter_running is called by a worker that is about to switch to the fiber. False: somebody looks at it, and will make
  // it runnable afterwards; the worker does not touch it any more.
  [[nodiscard]] bool enter_running() noexcept {
    phase_.store(fiber_phase::running, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // O1
    return state_.load(std::memory_order_acquire) == look_state::free || !leave_to_look();  // O3
  }

  // goes_on ends a blocking region. The fiber has not left its thread, so nobody looks at its frames.
  void goes_on() noexcept { phase_.store(fiber_phase::running, std::memory_order_relaxed); }

  // --- Of anybody

  fiber_phase phase() const noexcept { return phase_.load(std::memory_order_relaxed); }

  // --- Of whoever looks: begin_look, then a fence in every thread, then phase_looked_at, then end_look

  // begin_look: false if somebody else looks.
  [[nodiscard]] bool begin_look() noexcept {
    look_state free = look_state::free;
    return state_.compare_exchange_strong(free, look_state::looked_at, std::memory_order_seq_cst);
  }
  fiber_phase phase_looked_at() const noexcept {
    const fiber_phase p = phase_.load(std::memory_order_seq_cst);  // O1, O2
    if (p == fiber_phase::running && state_.load(std::memory_order_acquire) == look_state::owed) {  // O2
      return fiber_phase::runnable;
    }
    return p;
  }
  // end_look: true if the caller has to make the fiber runnable.
  [[nodiscard]] bool end_look() noexcept {
    return state_.exchange(look_state::free, std::memory_order_acq_rel) == look_state::owed;  // O3
  }

 private:
  friend struct debugger_access;

  // Where it fails, that look is over; another one finds the phase, which was stored before this load too.
  [[gnu::noinline, gnu::cold]] bool leave_to_look() noexcept {
    look_state looked_at = look_state::looked_at;
    return state_.compare_exchange_strong(looked_at, look_state::owed, std::memory_order_acq_rel,  // O2
                                          std::memory_order_acquire);                              // O3
  }

  Atomic<fiber_phase> phase_{fiber_phase::none};
  Atomic<look_state> state_{look_state::free};
};

}  // namespace weft::inline v0::sched
