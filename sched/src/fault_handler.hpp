// fault_handler: what a fault, or a question by another thread, finds out about the fiber that runs here.
#pragma once

#include "frames.hpp"

#include <cstddef>

namespace weft::inline v0::sched {

class fiber;
struct worker;

// The handler of SIGSEGV and SIGBUS, installed while anybody holds it. A fault in the guard of the stack that it happened
// on is reported as what it is, the overflow of a fiber; then, and at every other fault, the disposition from before
// decides, as if there were no handler of ours: so a core is written by the original signal, and other handlers work.
// Thread-safe. 0, or an errno value.
int hold_fault_handler() noexcept;
void release_fault_handler() noexcept;

// signal_stack is a stack for the signal handlers of the calling thread, while it exists; a fiber's own has no room for
// them, least of all when it has overflowed. A thread that has one keeps it. Without memory there is none.
class signal_stack {
 public:
  signal_stack() noexcept;
  ~signal_stack();
  signal_stack(const signal_stack&) = delete;
  signal_stack& operator=(const signal_stack&) = delete;

 private:
  void* memory_ = nullptr;
};

// interrupt_for_frames asks w's thread where it is, if it runs f: by a SIGSEGV that says in its value that it is a
// question. None if w's scheduler doesn't hold the handler, another handler was installed over it, a debugger would stop at
// the signal, or the thread does not answer within 100 ms. Of the calling thread, its own frames.
void interrupt_for_frames(const worker& w, const fiber& f, frame_list& into) noexcept;

}  // namespace weft::inline v0::sched
