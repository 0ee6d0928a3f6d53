// fiber: the control block of a fiber.
#pragma once

#include "context.hpp"
#include "fiber_look.hpp"
#include "stop_state.hpp"
#include "wait_words.hpp"

#include <weft/sched/caller_data.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/timer.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stop_token>
#include <string_view>

namespace weft::inline v0::sched {

class stack_pool;
class stack_slab;
struct worker;

// Of a fiber's handle: whether somebody holds it and who destroys what the body still keeps.
enum class handle_state : std::uint8_t {
  absent,    // started without a handle
  attached,  // somebody holds it
  detached,  // let go while the fiber ran: the fiber disposes of its body before it leaves
  ended,     // the body has run: whoever lets the handle go disposes
};

// What is looked at on each departure, beside the departure itself.
enum departure_check : std::uint8_t {
  canary_check = 1,      // the word at stack_bottom
  held_locks_check = 2,  // none of the thread's, with weft::lock_check
  depth_check = 4,       // of the last departure: how deep the stack was
};

// Whether sleep.alarm is set for the fiber's waits for input. May be out of step with it for a moment when that rings late: then
// it is set once more, or one wait is not ended.
enum class idle_alarm : std::uint8_t {
  off,
  set,
  rang,  // at a wait that had lasted for long enough
};

struct join_site : cancel_site {
  join_site() noexcept : cancel_site{take_out} {}
  static void take_out(cancel_site& site, waiter w) noexcept {
    if (static_cast<join_site&>(site).word.take_out(w.bits())) ready(w);
  }
  join_word<> word;
};

struct sleep_site : cancel_site {
  sleep_site() noexcept : cancel_site{take_out} {}
  static void take_out(cancel_site& site, waiter w) noexcept {
    if (static_cast<sleep_site&>(site).word.take_out(w.bits())) ready(w);
  }
  sleep_word<> word;
  timer alarm;
};

// fiber_name is a short name that others may read while it changes: torn at worst between two words, never a data race.
class fiber_name {
 public:
  static constexpr std::size_t capacity = 32;  // with the terminating NUL

  void set(std::string_view name) noexcept {
    char text[capacity] = {};
    name.copy(text, capacity - 1);
    for (std::size_t i = 0; i < words_.size(); ++i) {
      std::uint64_t word;
      std::memcpy(&word, text + i * sizeof word, sizeof word);
      words_[i].store(word, std::memory_order_relaxed);
    }
  }
  void copy_to(char (&text)[capacity]) const noexcept {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      std::uint64_t word = words_[i].load(std::memory_order_relaxed);
      std::memcpy(text + i * sizeof word, &word, sizeof word);
    }
    text[capacity - 1] = '\0';
  }
  std::string_view view() const noexcept { return reinterpret_cast<const char*>(words_.data()); }
  bool empty() const noexcept { return words_[0].load(std::memory_order_relaxed) == 0; }

 private:
  std::array<std::atomic<std::uint64_t>, capacity / sizeof(std::uint64_t)> words_{};
};

// fiber sits at the top of its own stack, at the same address for every fiber that uses that stack: the memory is
// type-stable as long as anybody may hold its address (stack_trim.hpp), so a stale holder may read it and compare and swap
// in it.
// Lifetime: until it has left the stack, and as long as there is a handle; who of the two returns the stack, join_word says.
class alignas(64) fiber {
 public:
  // Owned by whoever runs the fiber; while it is suspended, by whoever owns its waiter.
  context ctx;
  fiber* link = nullptr;  // next in the list it is in: the global queue, a list of free stacks
  std::uint8_t checks = 0;  // departure_check
  handle_state on_start = handle_state::absent;

  // Written by the same, and read by whoever looks. From ctx to home is what a wait touches: two lines.
  fiber_look<> look;
  std::atomic<wait_reason> reason{wait_reason::none};
  std::atomic<bool> entered{false};  // it has run: there are frames
  std::atomic<idle_alarm> idle{idle_alarm::off};
  bool alarmed = false;  // sleep.alarm may be armed
  std::atomic<const void*> wait_object{nullptr};
  std::atomic<nanotime> since{0};  // of the phase, by the scheduler's clock; the lowest bit: exact_time
  stop_state stops;

  // Constant for a stack.
  scheduler* home = nullptr;

  // Not touched by a wait from here on; two lines more of beginnings and ends.
  stack_pool* pool = nullptr;
  std::byte* stack_bottom = nullptr;
  std::atomic<std::uint64_t>* slot = nullptr;  // in use (bit 0) and generation, outside of the stack

  // Constant from creation to end.
  void (*entry)(void*) noexcept = nullptr;
  void* body = nullptr;
  // Atomic for whoever looks.
  std::atomic<std::uint64_t> id{0};
  std::atomic<const void*> spawned_at{nullptr};  // a return address in whoever asked for it
  std::atomic<nanotime> spawned{0};              // when, by the scheduler's clock

  std::atomic<handle_state> handle_now{handle_state::absent};
  std::atomic<bool> has_source{false};
  bool named = false;
  void (*dispose_body)(void*) noexcept = nullptr;  // written before handle_now becomes detached
  join_site joined;
  caller_data data;  // of the fiber itself

  // Needed by some.
  sleep_site sleep;
  spin_lock source_lock;
  std::stop_source source{std::nostopstate};  // guarded by source_lock; made at the first stop_token_of
  fiber_name name;
  const std::uint64_t* canary = nullptr;  // at stack_bottom where no guard could be had, else null; constant for a stack
  stack_slab* slab = nullptr;             // constant for a stack
  // Of forced migration: the worker that ran it last or, before it ran, spawned it, if one did. Owned as ctx is.
  const worker* ran_on = nullptr;

  std::byte* stack_top() noexcept { return reinterpret_cast<std::byte*>(this); }
};

// The lowest bit of fiber::since tells that it is exact, and was taken to learn how long the fiber waits to run.
inline constexpr nanotime exact_time = 1;

// enter_running is that of fiber_look, for a worker whose clock says `now`.
[[nodiscard]] inline bool enter_running(fiber& f, nanotime now) noexcept {
  f.since.store(now & ~exact_time, std::memory_order_relaxed);
  return f.look.enter_running();
}

// stop_stands tells whether a stop of f stands, its own or everybody's.
bool stop_stands(const fiber& f) noexcept;

// stop_now takes a fiber whose stop stands out of where it is parked, and passes the stop to its tokens. Safe though
// the fiber ends meanwhile.
void stop_now(fiber& f) noexcept;

}  // namespace weft::inline v0::sched
