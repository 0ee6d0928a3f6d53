// parking: one wait of the caller that a stop may end, with one look at who that is.
#pragma once

#include "stoppable.hpp"

#include <weft/sched/park.hpp>

namespace weft::inline v0::sched {

// park_fiber is park for a fiber that runs on w with a processor.
[[gnu::always_inline]] inline void park_fiber(worker* w, fiber* f, const commit& c, wait_target what) noexcept {
  f->reason.store(what.why, std::memory_order_relaxed);
  f->wait_object.store(what.object, std::memory_order_relaxed);
  f->since.store(f->home->clock.load(std::memory_order_relaxed) & ~exact_time, std::memory_order_relaxed);
  bump(w->p->parks[static_cast<std::size_t>(what.why)]);
  depart(w, f, c.run, c.object, c.word);
}

// stops_count tells whether every stop counts for f, which runs on w: it neither keeps them away nor unwinds.
inline bool stops_count(const worker& w, const fiber& f) noexcept {
  return (f.stops.uninterrupted | f.stops.shields | w.exceptions->uncaught) == 0;
}

// parking is publish, park and withdraw, in this order, for callers within this component.
class parking {
 public:
  parking() noexcept : w_(current_worker()) {
    if (w_ != nullptr && w_->p != nullptr) [[likely]] f_ = w_->running();
    stops_ = f_ != nullptr ? &f_->stops : stops_of_thread(w_);
  }
  parking(const parking&) = delete;
  parking& operator=(const parking&) = delete;

  // publish is announce without the look whether a stop stands: one that does is found behind the commit, and ends the wait as
  // soon as that has begun. Also for who holds a lock that the site's cancel() takes, where an announcement could not be taken back.
  void publish(cancel_site& site, ended_by stops) noexcept {
    if (f_ != nullptr && stops_count(*w_, *f_)) [[likely]] {
      return f_->stops.publish(&site, waiter(f_).bits(), stops == ended_by::links);
    }
    publish_on(w_, site, stops);
  }
  // is_of: f is the caller, maybe in a blocking region.
  bool is_of(const fiber& f) const noexcept { return w_ != nullptr && w_->running() == &f; }
  // The caller may be on another thread afterwards.
  void park(const commit& c, wait_target what) noexcept {
    if (f_ != nullptr) [[likely]] return park_fiber(w_, f_, c, what);
    sched::park(c, what);
  }
  void withdraw() noexcept { stops_->take_back(); }

 private:
  [[gnu::noinline, gnu::cold]] static stop_state* stops_of_thread(worker* w) noexcept { return &stoppable_on(w).stops; }

  worker* const w_;
  fiber* f_ = nullptr;
  stop_state* stops_;
};

}  // namespace weft::inline v0::sched
