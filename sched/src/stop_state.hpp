// stop_state: what stops the waits of one fiber, or of one plain thread.
#pragma once

#include "wait_words.hpp"

#include <weft/sched/park.hpp>

#include <cstdint>

namespace weft::inline v0::sched {

// The word is for whoever stops; the rest belongs to the fiber or thread itself.
struct stop_state : stop_word<> {
  wait_link* links = nullptr;       // innermost first
  std::uint32_t uninterrupted = 0;  // how many of these it has
  std::uint32_t shields = 0;        // likewise

  // begin is for a fresh fiber on the same memory; its predecessor has left the counts at 0.
  void begin() noexcept {
    stop_word::begin();
    links = nullptr;
  }

  // take_back is withdraw with what it needs behind it. Whoever has read the site before may still be in its cancel(). What
  // the site belongs to may be of another scheduler, and gone as soon as we return: wait for it. It takes a stop request at
  // this very moment to get here.
  void take_back() noexcept {
    withdraw();
    await_cancels();
  }
};

}  // namespace weft::inline v0::sched
