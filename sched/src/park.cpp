#include <weft/sched/park.hpp>

#include "current.hpp"
#include "migration.hpp"
#include "scheduler.hpp"
#include "thread_record.hpp"
#include "worker.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/random.hpp>

#include <atomic>
#include <exception>
#include <utility>

#include <sched.h>

namespace weft::inline v0::sched {

waiter current_waiter() noexcept {
  worker* w = current_worker();
  if (w != nullptr && w->p != nullptr && w->running() != nullptr) return waiter(w->running());
  return waiter(current_record());
}

// Whom a stop of the caller would reach: the fiber, also in a blocking region, else the thread.
struct stoppable {
  stop_word<>* word;
  wait_link** links;
  const atomic<bool>* everybody;
  std::uint32_t* uninterrupted;
  std::uint32_t* shields;

  // How many times stops from outside were kept away: by an unwinding or by a shield. From the first on, only links
  // count that were made since the last. They end in the reverse order of their beginnings, so a count tells them
  // apart.
  std::uint32_t depth() const noexcept {
    return static_cast<std::uint32_t>(std::uncaught_exceptions()) + *shields;
  }
  // Whether a link made at this depth exists, and whether one has fired.
  bool has_link(std::uint32_t depth) const noexcept {
    for (const wait_link* l = *links; l != nullptr; l = l->outer_) {
      if (l->depth_ == depth) return true;
    }
    return false;
  }
  bool link_fired(std::uint32_t depth) const noexcept {
    for (const wait_link* l = *links; l != nullptr; l = l->outer_) {
      if (l->depth_ == depth && l->fired()) return true;
    }
    return false;
  }
  bool stands(bool links_only) const noexcept {
    if (!word->stands(*everybody, links_only) || *uninterrupted != 0) return false;
    const std::uint32_t now = depth();
    return now == 0 || link_fired(now);
  }
};

namespace {

// The flag that a plain thread has in place of its scheduler's.
constinit const atomic<bool> nobody{false};

stoppable stoppable_of(worker* w) noexcept {
  if (fiber* f = w == nullptr ? nullptr : w->running()) {
    return {&f->stops, &f->links, &f->home->stop_everything, &f->uninterrupted, &f->shields};
  }
  thread_record* r = current_record();
  return {&r->stops, &r->links, &nobody, &r->uninterrupted, &r->shields};
}

}  // namespace

void park(const commit& c, wait_target what) noexcept {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) {
    const stoppable self = stoppable_of(w);
    return park_thread(current_record(), c, *self.word, *self.everybody);
  }
  fiber* f = w->running();
  f->reason.store(what.why, std::memory_order_relaxed);
  f->wait_object.store(what.object, std::memory_order_relaxed);
  f->since.store(f->home->clock.load(std::memory_order_relaxed) & ~exact_time, std::memory_order_relaxed);
  bump(w->p->parks[static_cast<std::size_t>(what.why)]);
  depart(w, f, c.run, c.object, c.word);
}

void park_thread(thread_record* r, const commit& c, stop_word<>& stops, const atomic<bool>& everybody) noexcept {
  if (!c.run(waiter(r), c.object, c.word)) return;
  // As arrived() does for a fiber.
  if (stops.announced() && stops.missed(everybody) != nullptr) cancel_announced(stops, everybody);
  while (!nap(r, deadline_link::first_due(*r))) deadline_link::let_pass(*r);
}

void ready(waiter x) noexcept {
  if (x.is_thread()) return ready_thread(x.as_thread());
  fiber* f = x.as_fiber();
  f->home->make_runnable(f, scheduler::place::next);
}

std::uint32_t random_below(std::uint32_t n) noexcept {
  worker* w = current_worker();
  dice& d = w != nullptr && w->p != nullptr ? w->p->chance : current_record()->chance;
  return static_cast<std::uint32_t>((std::uint64_t{d.roll()} * n) >> 32);
}

bool on_worker() noexcept { return current_worker() != nullptr; }

void yield() noexcept {
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) {
    ::sched_yield();
    return;
  }
  processor* p = w->p;
  if (p->budget != 0 && p->queue.empty() && !forced_migration) {
    // Nobody to go first here. The budget still counts, so that the loop looks at timers, sockets and the global queue.
    --p->budget;
    // It has let others go first, though there were none.
    w->running()->since.store(p->home->clock.load(std::memory_order_relaxed) & ~exact_time, std::memory_order_relaxed);
    return;
  }
  constexpr auto to_tail = [](waiter self, void* object, std::uintptr_t) noexcept {
    auto* own = static_cast<processor*>(object);
    own->home->push_tail(own, self.as_fiber());
    return true;
  };
  depart(w, w->running(), to_tail, p, 0, fiber_phase::runnable);
}

void checkpoint() noexcept {
  constexpr nanotime slice = 10'000'000;
  worker* w = current_worker();
  if (w == nullptr || w->p == nullptr) return;
  const nanotime begun = w->running()->since.load(std::memory_order_relaxed);
  if (w->home->clock.load(std::memory_order_relaxed) - begun < slice) return;
  w->p->budget = 0;  // the loop looks at timers, sockets and the global queue, though nobody waits here
  yield();
}

bool stop_stands(const fiber& f) noexcept {
  return f.stops.requested(f.home->stop_everything);
}

bool announce(cancel_site& site, ended_by stops) noexcept {
  worker* w = current_worker();
  const stoppable self = stoppable_of(w);
  // Not published where no stop counts: one that stands would take it out of each wait at once, and it would wait
  // again.
  if (*self.uninterrupted != 0) [[unlikely]] return true;
  const std::uint32_t depth = self.depth();
  if (depth != 0 && !self.has_link(depth)) [[unlikely]] return true;
  const waiter as = current_waiter();
  for (;;) {
    if (depth != 0) [[unlikely]] {
      // Links from before don't count now. The end of the one that does sets the flag again if they have fired.
      self.word->set_linked(false);
      if (self.link_fired(depth)) self.word->set_linked(true);  // O4
    }
    if (self.word->announce(&site, as.bits(), *self.everybody, stops == ended_by::links || depth != 0)) return true;
    withdraw();  // it was published for a moment: a stopper may have found it
    if (depth == 0 || self.link_fired(depth)) return false;  // else one from before has fired just now
  }
}

void withdraw() noexcept {
  stop_word<>& stops = *stoppable_of(current_worker()).word;
  stops.withdraw();
  // Whoever has read the site before may still be in its cancel(). What the site belongs to may be of another
  // scheduler, and gone as soon as we return: wait for it. It takes a stop request at this very moment to get here.
  stops.await_cancels();
}

bool stop_requested() noexcept { return stoppable_of(current_worker()).stands(false); }

bool link_fired() noexcept { return stoppable_of(current_worker()).stands(true); }

uninterrupted::uninterrupted() noexcept : depth_(stoppable_of(current_worker()).uninterrupted) { ++*depth_; }

shielded::shielded() noexcept : depth_(stoppable_of(current_worker()).shields) { ++*depth_; }

// The links of one fiber are a chain on its stack. A link fires on any thread, and then touches itself (its destructor
// waits for that) and the word, which is type-stable; never the chain.
void wait_link::attach(link_origin origin) noexcept {
  const stoppable self = stoppable_of(current_worker());
  word_ = self.word;
  head_ = self.links;
  outer_ = std::exchange(*head_, this);
  depth_ = self.depth();
  if (origin == link_origin::inherited) inherited_ = current_fiber();
}

void wait_link::detach() noexcept {
  *head_ = outer_;
  // Our own store, or one of somebody who has been waited for.
  if (!fired_.load(std::memory_order_relaxed) && depth_ == 0) return;
  word_->set_linked(false);
  for (const wait_link* l = outer_; l != nullptr; l = l->outer_) {
    if (l->fired_.load(std::memory_order_seq_cst)) word_->set_linked(true);  // O4
  }
}

void wait_link::fire() noexcept {
  if (inherited_ != nullptr && is_detached(*inherited_)) return;
  fired_.store(true, std::memory_order_seq_cst);  // O4
  word_->set_linked(true);
  cancel_announced(*word_, nobody);  // this link stands: nobody else need be asked
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

fiber* current_fiber() noexcept {
  worker* w = current_worker();
  return w == nullptr ? nullptr : w->running();
}

caller_data& current_data() noexcept {
  fiber* const f = current_fiber();
  return f != nullptr ? f->data : current_record()->data;
}

}  // namespace weft::inline v0::sched
