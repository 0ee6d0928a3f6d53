// blocking_region: a stretch of code that blocks its thread.
#pragma once

#include <weft/export.hpp>

namespace weft::inline v0::sched {

// blocking_region lets the other fibers go on while the caller blocks its thread: the processor can be taken by another
// worker from construction to destruction. In between the fiber stays on its thread and stack and counts as a plain
// thread: waits block the thread. Nesting is allowed and does nothing; so does use on a plain thread. The constructor may
// park, if as many threads block already as the scheduler's options allow; the destructor may park for a processor.
class WEFT_API blocking_region {
 public:
  blocking_region() noexcept;
  ~blocking_region();
  blocking_region(const blocking_region&) = delete;
  blocking_region& operator=(const blocking_region&) = delete;

 private:
  bool entered_;
};

}  // namespace weft::inline v0::sched
