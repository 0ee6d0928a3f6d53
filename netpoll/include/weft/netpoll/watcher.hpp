// watcher: the readiness of a descriptor, as one of several things that a selection waits for.
#pragma once

#include <weft/export.hpp>
#include <weft/netpoll/descriptor.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/wait_queue.hpp>

namespace weft::inline v0::poll {

struct poll_desc;

// watcher lets a selection end when a call of one direction of a descriptor would not have to wait. It takes no turn
// and uses up no edge: any number may watch a direction, beside whoever reads or writes there. How it is used:
//     pin(); enter(s); if (ready()) ...; s.wait(...); s is over; leave(); unpin();
// Enter before ready: what happens after that claims s, with the watcher's node as the winner. Lives on the waiter's
// stack, used by it alone.
class WEFT_API watcher {
 public:
  // d: null for a handle that is closed, which is ready.
  watcher(descriptor* d, mode m) noexcept : descriptor_(d), mode_(m) {}
  watcher(const watcher&) = delete;
  watcher& operator=(const watcher&) = delete;

  // pin keeps the descriptor's number, if it is not closed, until unpin: close() waits for that.
  void pin() noexcept;
  void unpin() noexcept;

  // ready asks the system. True as well when a call would fail at once: after a close, with a deadline that has passed.
  bool ready() noexcept;

  // enter lets s be claimed; leave ends that. REQUIRES: pinned; when it leaves, s is over or abandoned.
  void enter(sched::selection& s) noexcept;
  void leave() noexcept;

  const void* node() const noexcept { return &node_; }

 private:
  friend struct poll_desc;

  descriptor* descriptor_;
  mode mode_;
  bool pinned_ = false;
  // Of the list of its poll_desc, guarded by that one's lock
  sched::wait_node node_;
  watcher* next_ = nullptr;
  watcher* previous_ = nullptr;
};

}  // namespace weft::inline v0::poll
