// view: what a fiber_view says of a fiber.
#pragma once

#include "control_block.hpp"
#include "fault_handler.hpp"
#include "frames.hpp"
#include "worker.hpp"

#include <weft/sched/inspect.hpp>

namespace weft::inline v0::sched {

// described_fiber is a fiber_view with the memory that it refers to.
struct described_fiber {
  // describe fills in what holds in any state.
  explicit described_fiber(const fiber& f) noexcept;

  void add_frames() noexcept {
    view.frames = frames.items;
    view.frame_count = frames.count;
    view.more_frames = frames.more;
  }

  char name[fiber_name::capacity];
  frame_list frames;
  fiber_view view;
};

// view_running calls visit with f, which runs, or blocks, on w.
template <class Visit>
void view_running(const worker& w, const fiber& f, Visit&& visit) noexcept {
  described_fiber d(f);
  d.view.state = f.look.phase() == fiber_phase::blocking ? fiber_state::blocking : fiber_state::running;
  d.view.worker = w.index;
  interrupt_for_frames(w, f, d.frames);
  // Another may be on this stack by now.
  if (f.id.load(std::memory_order_relaxed) != d.view.id) d.frames.count = 0;
  d.add_frames();
  visit(d.view);
}

}  // namespace weft::inline v0::sched
