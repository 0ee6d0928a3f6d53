// caller_data: what a higher component keeps with a fiber or plain thread.
#pragma once

#include <weft/export.hpp>

namespace weft::inline v0::sched {

class fiber;

// caller_data belongs to one fiber or plain thread; the scheduler only calls the two functions. Used by its owner
// alone, before the start by whoever makes the fiber. Empty at first.
struct caller_data {
  void* scope = nullptr;   // the innermost; of a fiber that has not started, what `around` takes
  void* locals = nullptr;  // what `dispose` ends

  // around, if set, is called in place of the fiber's entry, which it calls.
  void (*around)(caller_data& own, void (*entry)(void* body) noexcept, void* body) noexcept = nullptr;
  // dispose, if set, is called when the entry has returned, before anybody who joins goes on; on a thread, at its end.
  void (*dispose)(caller_data& own) noexcept = nullptr;
};

// Of the calling fiber, inside a blocking region too, else of the calling thread.
WEFT_API caller_data& current_data() noexcept;

// The calling fiber, null on a plain thread, and its data, with one look.
struct caller {
  fiber* self;
  caller_data* data;
};
WEFT_API caller current_caller() noexcept;

// Of a fiber that has not started. REQUIRES: the caller has made it.
WEFT_API caller_data& data_of(fiber& f) noexcept;

}  // namespace weft::inline v0::sched
