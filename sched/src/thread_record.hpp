// thread_record: where a plain thread waits.
#pragma once

#include "dice.hpp"
#include "stop_state.hpp"

#include <weft/sched/atomic.hpp>
#include <weft/sched/caller_data.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

#include <atomic>
#include <cstdint>

#include <sys/types.h>

namespace weft::inline v0::sched {

class deadline_link;

// thread_record is one thread's place to wait. Type-stable: records are recycled and never freed, so that a waker may
// still hold the address of one whose thread has gone.
//
// The token word
// States     0 no token | 1 a token: the next park returns at once
// Ownership  ready() sets 1; only the record's thread takes it back to 0
// Invariants I1 a ready() after the commit is never lost: it leaves a token, or wakes the sleeper
// Orderings  O1 set releases, take acquires: the woken thread sees what the waker did
// Not here   how many wakes there were: tokens merge, and a left-over one makes a later park return for no reason
struct alignas(64) thread_record {
  atomic<std::uint32_t> token{0};
  thread_record* link = nullptr;  // in the list of free records, under its lock
  thread_record* next_made = nullptr;  // in the list of all records; constant

  // For whoever asks whether this process can go on by itself (standstill.cpp). Written by the thread; grows. Odd: the
  // thread sleeps with no time set, until somebody makes it ready.
  // Orderings  the thread: make it even, take the token || standstill: load this, then the token. Whoever finds the token
  //            taken finds the change of this when it looks again.
  std::atomic<std::uint64_t> naps{0};
  std::atomic<pid_t> tid{0};  // of the thread that has slept here last

  stop_state stops;                // the thread's wait_links; nobody stops a thread as a whole
  deadline_link* timed = nullptr;  // of its links those that no scheduler's timers serve, innermost first
  dice chance;                     // of the thread itself
  caller_data data;                // likewise
};

// acquire_record takes a free record or makes one; release_record gives it back.
thread_record* acquire_record() noexcept;
void release_record(thread_record* r) noexcept;

// park_thread blocks the calling thread, whose record is r, until its token is set. `stops` and `everybody` are what
// may end a wait that it has announced: its own, or its fiber's.
void park_thread(thread_record* r, const commit& c, stop_word<>& stops, const atomic<bool>& everybody) noexcept;

// first_record leads, by next_made, to all records that there are.
thread_record* first_record() noexcept;

// asleep_for_good marks the calling thread, while it exists, as one that sleeps with no time set.
class asleep_for_good {
 public:
  explicit asleep_for_good(thread_record* r) noexcept;
  ~asleep_for_good();
  asleep_for_good(const asleep_for_good&) = delete;
  asleep_for_good& operator=(const asleep_for_good&) = delete;

 private:
  thread_record* const record_;
};

// nap blocks the calling thread, whose record is r, until its token is set or the clock has reached `until`; false in
// the latter case.
bool nap(thread_record* r, nanotime until = never) noexcept;
void ready_thread(thread_record* r) noexcept;

}  // namespace weft::inline v0::sched
