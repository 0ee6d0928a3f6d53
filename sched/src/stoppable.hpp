// stoppable: whom a stop of the caller reaches.
#pragma once

#include "context.hpp"
#include "control_block.hpp"
#include "current.hpp"
#include "scheduler.hpp"
#include "stop_state.hpp"
#include "thread_record.hpp"
#include "worker.hpp"

#include <weft/sched/atomic.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/waiter.hpp>

#include <cstdint>

namespace weft::inline v0::sched {

// stoppable is the fiber, also in a blocking region, else the thread.
struct stoppable {
  stop_state& stops;
  const atomic<bool>& everybody;
  const exception_state& exceptions;  // of the thread

  // How many times stops from outside were kept away: by an unwinding or by a shield. From the first on, only links
  // count that were made since the last. They end in the reverse order of their beginnings, so a count tells them
  // apart.
  std::uint32_t depth() const noexcept { return exceptions.uncaught + stops.shields; }
  // Whether a link made at this depth exists, and whether one has fired.
  bool has_link(std::uint32_t depth) const noexcept;
  bool link_fired(std::uint32_t depth) const noexcept;
  bool stands(bool links_only) const noexcept;
};

// The flag that a plain thread has in place of its scheduler's.
inline constinit const atomic<bool> nobody{false};

// waiter_on and stoppable_on are for the calling thread, whose worker is w, if it has one.
inline waiter waiter_on(worker* w) noexcept {
  if (w != nullptr && w->p != nullptr && w->running() != nullptr) return waiter(w->running());
  return waiter(current_record());
}

// publish_on announces the site without looking whether a stop stands that counts.
void publish_on(worker* w, cancel_site& site, ended_by stops) noexcept;

inline stoppable stoppable_on(worker* w) noexcept {
  if (fiber* const f = w == nullptr ? nullptr : w->running()) return {f->stops, f->home->stop_everything, *w->exceptions};
  return {current_record()->stops, nobody, *thread_exception_state()};
}

}  // namespace weft::inline v0::sched
