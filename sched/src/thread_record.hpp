// thread_record: where a plain thread waits.
#pragma once

#include "dice.hpp"
#include "wait_words.hpp"

#include <weft/sched/atomic.hpp>
#include <weft/sched/caller_data.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

#include <atomic>
#include <cstdint>

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
  stop_word<> stops;              // of the thread's wait_links; nobody stops a thread as a whole
  wait_link* links = nullptr;     // innermost first; of the thread itself
  deadline_link* timed = nullptr; // likewise, those that no scheduler's timers serve
  dice chance;                    // of the thread itself
  std::uint32_t uninterrupted = 0;  // of the thread itself
  std::uint32_t shields = 0;        // likewise
  caller_data data;                 // likewise
};

// acquire_record takes a free record or makes one; release_record gives it back.
thread_record* acquire_record() noexcept;
void release_record(thread_record* r) noexcept;

// park_thread blocks the calling thread, whose record is r, until its token is set. `stops` and `everybody` are what
// may end a wait that it has announced: its own, or its fiber's.
void park_thread(thread_record* r, const commit& c, stop_word<>& stops, const atomic<bool>& everybody) noexcept;

// nap blocks the calling thread, whose record is r, until its token is set or the clock has reached `until`; false in
// the latter case.
bool nap(thread_record* r, nanotime until = never) noexcept;
void ready_thread(thread_record* r) noexcept;

}  // namespace weft::inline v0::sched
