// What a higher component does with fibers: make, start, join, stop and let go of them.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/waiter.hpp>

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string_view>

namespace weft::inline v0::sched {

class scheduler;

struct fiber_options {
  std::size_t stack_size = 0;  // usable bytes, rounded up to pages; 0: the scheduler's default
  std::string_view name{};     // copied, cut to 31 bytes
  const void* spawned_at = nullptr;  // a code address in whoever wants it, for reports
};

// References to a fiber beside the one it holds on itself while it runs.
enum class handle : std::uint8_t { none, one };

// create_fiber makes a fiber on a stack of its own, with `body_size` bytes of room for what it shall run, at the top of
// that stack. Null without memory, or if the body would leave less than half of the stack. The caller constructs the
// body in body_of() and then calls start(), or discard(). Any thread.
// entry(body) runs on the fiber; it destroys the callable, but leaves a result for the handle to take.
[[nodiscard]] WEFT_API fiber* create_fiber(scheduler& s, const fiber_options& options, std::size_t body_size,
                                           std::size_t body_align, void (*entry)(void* body) noexcept,
                                           handle h) noexcept;
WEFT_API void* body_of(fiber& f) noexcept;

// start makes the fiber runnable; without a handle, the caller may not touch it afterwards.
WEFT_API void start(fiber& f) noexcept;

// discard returns a fiber that was never started.
WEFT_API void discard(fiber& f) noexcept;

// join waits until the fiber has ended; it may be just about to leave its stack. False if the caller was stopped first. One
// joiner at a time; a second one and a fiber that joins itself are fatal. REQUIRES: the caller holds the handle.
[[nodiscard]] WEFT_API bool join(fiber& f) noexcept;
// join_uncancelled waits though a stop of the caller stands; for destructors.
WEFT_API void join_uncancelled(fiber& f) noexcept;
WEFT_API bool ended(const fiber& f) noexcept;

// release drops the handle; the stack goes back when the fiber has ended too. The caller has destroyed what the body
// still held. REQUIRES: the caller holds the handle.
WEFT_API void release(fiber& f) noexcept;
// detach drops the handle of a fiber that may still run: `dispose(body)` is called, once, when it has ended (at once if
// it has).
WEFT_API void detach(fiber& f, void (*dispose)(void* body) noexcept) noexcept;

WEFT_API bool is_detached(const fiber& f) noexcept;

// request_stop makes the fiber's stop stand: its cancellable waits end, those to come refuse to begin. Idempotent.
// REQUIRES: the caller holds the handle.
WEFT_API void request_stop(fiber& f) noexcept;

// Of the calling fiber. current_fiber is null on a plain thread and stays set in a blocking region.
WEFT_API fiber* current_fiber() noexcept;
WEFT_API scheduler* scheduler_of(const fiber& f) noexcept;
WEFT_API std::uint64_t id_of(const fiber& f) noexcept;  // never 0, never reused within a process
WEFT_API std::string_view name_of(const fiber& f) noexcept;
WEFT_API void set_name(fiber& f, std::string_view name) noexcept;
// stop_token_of gives a token that the fiber's stop requests reach. Allocates at the first call; throws std::bad_alloc.
WEFT_API std::stop_token stop_token_of(fiber& f);

// sleep_until parks the caller until the clock has reached `when`. False if it was stopped first. Works on plain
// threads.
[[nodiscard]] WEFT_API bool sleep_until(nanotime when) noexcept;

}  // namespace weft::inline v0::sched
