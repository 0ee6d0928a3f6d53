// What ends waits from outside: stops, links, and what keeps them away.

#include "current.hpp"
#include "stoppable.hpp"

#include <weft/sched/park.hpp>

#include <utility>

namespace weft::inline v0::sched {

bool stoppable::has_link(std::uint32_t depth) const noexcept {
  for (const wait_link* l = stops.links; l != nullptr; l = l->outer_) {
    if (l->depth_ == depth) return true;
  }
  return false;
}

bool stoppable::link_fired(std::uint32_t depth) const noexcept {
  for (const wait_link* l = stops.links; l != nullptr; l = l->outer_) {
    if (l->depth_ == depth && l->fired()) return true;
  }
  return false;
}

bool stoppable::stands(bool links_only) const noexcept {
  if (!stops.stands(everybody, links_only) || stops.uninterrupted != 0) return false;
  const std::uint32_t now = depth();
  return now == 0 || link_fired(now);
}

bool stop_stands(const fiber& f) noexcept { return f.stops.requested(f.home->stop_everything); }

namespace {

// Links from before the present depth don't count. The end of the one that does sets the flag again if they have fired.
void let_count(const stoppable& self, std::uint32_t depth) noexcept {
  self.stops.set_linked(false);
  if (self.link_fired(depth)) self.stops.set_linked(true);  // O3
}

// announce_inside is announce where stops from outside are kept away.
[[gnu::noinline, gnu::cold]] bool announce_inside(const stoppable& self, cancel_site& site, waiter as) noexcept {
  const std::uint32_t depth = self.depth();
  if (!self.has_link(depth)) return true;
  for (;;) {
    let_count(self, depth);
    if (self.stops.announce(&site, as.bits(), self.everybody, true)) return true;
    self.stops.take_back();  // it was published for a moment: a stopper may have found it
    if (self.link_fired(depth)) return false;  // else one from before has fired just now
  }
}

[[gnu::noinline, gnu::cold]] bool stands_on(worker* w) noexcept { return stoppable_on(w).stands(false); }

}  // namespace

void publish_on(worker* w, cancel_site& site, ended_by stops) noexcept {
  const stoppable self = stoppable_on(w);
  if (self.stops.uninterrupted != 0) return;  // as announce
  const std::uint32_t depth = self.depth();
  if (depth != 0) {
    if (!self.has_link(depth)) return;
    // One from before that fires now ends the wait for no reason; its caller waits again.
    let_count(self, depth);
  }
  self.stops.publish(&site, waiter_on(w).bits(), stops == ended_by::links || depth != 0);
}

bool announce(cancel_site& site, ended_by stops) noexcept {
  worker* const w = current_worker();
  const stoppable self = stoppable_on(w);
  // Not published where no stop counts: one that stands would take it out of each wait at once, and it would wait
  // again.
  if (self.stops.uninterrupted != 0) [[unlikely]] return true;
  const waiter as = waiter_on(w);
  if (self.depth() != 0) [[unlikely]] return announce_inside(self, site, as);
  if (self.stops.announce(&site, as.bits(), self.everybody, stops == ended_by::links)) [[likely]] return true;
  self.stops.take_back();  // likewise
  return false;
}

void withdraw() noexcept {
  worker* const w = current_worker();
  fiber* const f = w == nullptr ? nullptr : w->running();
  (f != nullptr ? f->stops : current_record()->stops).take_back();
}

bool stop_requested() noexcept {
  worker* const w = current_worker();
  if (const fiber* const f = w == nullptr ? nullptr : w->running()) [[likely]] {
    if (!f->stops.stands(f->home->stop_everything)) [[likely]] return false;
  }
  return stands_on(w);
}

bool link_fired() noexcept { return stoppable_on(current_worker()).stands(true); }

uninterrupted::uninterrupted() noexcept : depth_(&stoppable_on(current_worker()).stops.uninterrupted) { ++*depth_; }

shielded::shielded() noexcept : depth_(&stoppable_on(current_worker()).stops.shields) { ++*depth_; }

// The links of one fiber are a chain on its stack. A link fires on any thread, and then touches itself (its destructor
// waits for that) and the word, which is type-stable; never the chain.
void wait_link::attach(link_origin origin) noexcept {
  const stoppable self = stoppable_on(current_worker());
  stops_ = &self.stops;
  outer_ = std::exchange(stops_->links, this);
  depth_ = self.depth();
  if (origin == link_origin::inherited) inherited_ = current_fiber();
}

void wait_link::detach() noexcept {
  stops_->links = outer_;
  // Our own store, or one of somebody who has been waited for.
  if (!fired_.load(std::memory_order_relaxed) && depth_ == 0) return;
  stops_->set_linked(false);
  for (const wait_link* l = outer_; l != nullptr; l = l->outer_) {
    if (l->fired_.load(std::memory_order_seq_cst)) stops_->set_linked(true);  // O3
  }
}

void wait_link::fire() noexcept {
  if (inherited_ != nullptr && is_detached(*inherited_)) return;
  fired_.store(true, std::memory_order_seq_cst);  // O3
  stops_->set_linked(true);
  cancel_announced(*stops_, nobody);  // this link stands: nobody else need be asked
}

stop_link::stop_link(const std::stop_token& token, link_origin origin) noexcept {
  if (!token.stop_possible()) return;
  attach(origin);
  callback_.emplace(token, trigger{this});
}

stop_link::~stop_link() {
  if (!attached()) return;
  callback_.reset();
  detach();
}

}  // namespace weft::inline v0::sched
