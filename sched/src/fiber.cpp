#include <weft/sched/fiber.hpp>

#include "control_block.hpp"
#include "current.hpp"
#include "migration.hpp"
#include "parking.hpp"
#include "scheduler.hpp"
#include "worker.hpp"

#include <weft/sched/fatal.hpp>

#include <algorithm>
#include <mutex>
#include <utility>

namespace weft::inline v0::sched {

namespace {

// Ids are taken in blocks, so that spawning touches no shared line. Process-wide: an id names one fiber for ever.
std::atomic<std::uint64_t> next_id_block{1};
constexpr std::uint64_t id_block = 1024;

std::uint64_t take_id(processor* p) noexcept {
  if (p == nullptr) return next_id_block.fetch_add(1, std::memory_order_relaxed);
  if (p->next_id == p->last_id) {
    p->next_id = next_id_block.fetch_add(id_block, std::memory_order_relaxed);
    p->last_id = p->next_id + id_block;
  }
  return p->next_id++;
}

// The processor of the caller, if it runs a fiber of s with one.
processor* own_processor(scheduler& s) noexcept {
  worker* w = current_worker();
  return w != nullptr && w->home == &s ? w->p : nullptr;
}

// recycle returns the stack. REQUIRES: the fiber has left it, and nobody holds the handle.
void recycle(fiber* f, processor* p) noexcept {
  if (f->has_source.load(std::memory_order_relaxed)) {
    std::stop_source gone{std::nostopstate};  // freed after the lock
    std::lock_guard guard(f->source_lock);
    gone.swap(f->source);
    f->has_source.store(false, std::memory_order_relaxed);
  }
  // Not in use, next generation. Pairs with for_each_in_use.
  f->slot->store((f->slot->load(std::memory_order_relaxed) | 1) + 1, std::memory_order_release);
  if (p != nullptr && f->pool == p->home->stacks) {
    p->stacks.give(f);
  } else {
    f->pool->give(f, f, 1);
  }
}

// Of the end of a fiber, what its commit shall do, on the stack of whatever runs next.
enum class last_step : std::uintptr_t {
  recycle,      // there never was a handle
  wake_joiner,  // whoever joins, or else the handle's holder, finds it ended
  go_on,        // whoever joins runs next, on this thread
};

bool end_commit(waiter self, void* object, std::uintptr_t word) noexcept {
  fiber* f = self.as_fiber();
  auto* p = static_cast<processor*>(object);
  dispose(f->ctx, f->stack_bottom, f->stack_top());
  if ((f->checks & depth_check) != 0) [[unlikely]] f->home->stack_marks->note_end(*f);
  const auto step = static_cast<last_step>(word);
  if (step == last_step::go_on) {
    f->joined.word.end_unseen();
    return true;
  }
  if (step == last_step::wake_joiner) {
    const std::uintptr_t found = f->joined.word.end();  // from here on f may be gone
    if (found != join_word<>::abandoned) {
      if (found != 0) ready(waiter::from_bits(found));
      return true;
    }
  }
  recycle(f, p);
  return true;
}

// take_joiner takes out the fiber that joins f, which is about to end on p, if it can run next: as nobody is to run before it,
// and no service is due. It is running then.
[[gnu::always_inline]] inline fiber* take_joiner(processor* p, fiber& f) noexcept {
  const std::uintptr_t joins = f.joined.word.peek();
  if (forced_migration || !join_word<>::is_waiter(joins) || waiter::from_bits(joins).is_thread()) return nullptr;
  if (!p->may_run_next() || !f.joined.word.take_out(joins)) return nullptr;
  fiber* const joiner = waiter::from_bits(joins).as_fiber();
  if (joiner->home == p->home) [[likely]] {
    // Else somebody looks at it, and lets it go on afterwards: it will find that f has not ended, and wait again.
    return run_next(p, *joiner) ? joiner : nullptr;
  }
  ready(waiter(joiner));  // likewise
  return nullptr;
}

// leave ends f, which runs on w, for `joiner` or, if that is null, for the next fiber.
[[gnu::always_inline]] inline void leave(worker* w, fiber* f, fiber* joiner) noexcept {
  w->set_running(f);
  // Whoever has begun to ring it is past it before the stack can be given back (stack_trim.hpp); nobody may begin afterwards.
  if (f->alarmed) {
    f->sleep.alarm.stop();
    f->alarmed = false;
  }
  bump(w->p->ended, std::memory_order_release);  // pairs with live(): the spawn of this fiber is seen with its end
  const last_step step = f->on_start == handle_state::absent ? last_step::recycle
                         : joiner == nullptr                 ? last_step::wake_joiner
                                                             : last_step::go_on;
  if (joiner == nullptr) joiner = next_to_run(w->p);
  depart_for_good(w, f, joiner, end_commit, w->p, static_cast<std::uintptr_t>(step));
  fatal("a fiber was resumed after its end");
}

}  // namespace

[[gnu::noinline]] void fiber_entry(void* message) noexcept {
  // No call before the sanitizers know of this stack.
  fiber* f = static_cast<worker*>(message)->running();
  arrive(f->ctx);
  arrived(message);
  f->entered.store(true, std::memory_order_relaxed);
  if (f->data.around == nullptr) [[likely]] {
    f->entry(f->body);
  } else {
    f->data.around(f->data, f->entry, f->body);
  }
  if (f->data.dispose != nullptr) [[unlikely]] f->data.dispose(f->data);
  worker* w = current_worker();
  fiber* joiner = nullptr;
  if (f->on_start != handle_state::absent) {
    joiner = take_joiner(w->p, *f);  // then nobody lets go of the handle meanwhile
    if (joiner == nullptr &&
        f->handle_now.exchange(handle_state::ended, std::memory_order_acq_rel) == handle_state::detached) {
      f->dispose_body(f->body);
      if (f->data.dispose != nullptr) [[unlikely]] f->data.dispose(f->data);  // of what the body's end has made anew
      w = current_worker();
    }
  }
  leave(w, f, joiner);
}

fiber* create_fiber(scheduler& s, const fiber_options& options, std::size_t body_size, std::size_t body_align,
                    void (*entry)(void*) noexcept, handle h) noexcept {
  stack_pool* pool = s.pool_for(options.stack_size);
  if (pool == nullptr) return nullptr;
  if (body_size + body_align > pool->usable() / 2) return nullptr;
  processor* p = own_processor(s);
  fiber* f = p != nullptr && pool == s.stacks ? p->stacks.take(*pool) : pool->take(1);
  if (f == nullptr) return nullptr;

  auto body = reinterpret_cast<std::uintptr_t>(f->stack_top()) - body_size;
  body &= ~static_cast<std::uintptr_t>(std::max<std::size_t>(body_align, 64) - 1);
  f->body = reinterpret_cast<void*>(body);
  f->entry = entry;
  f->id.store(take_id(p), std::memory_order_relaxed);
  f->on_start = h == handle::one ? handle_state::attached : handle_state::absent;
  f->handle_now.store(f->on_start, std::memory_order_relaxed);
  if constexpr (forced_migration) f->ran_on = p != nullptr ? current_worker() : nullptr;
  f->joined.word.begin();
  f->stops.begin();
  f->data = {};
  f->reason.store(wait_reason::none, std::memory_order_relaxed);
  f->wait_object.store(nullptr, std::memory_order_relaxed);
  f->entered.store(false, std::memory_order_relaxed);
  f->idle.store(idle_alarm::off, std::memory_order_relaxed);
  f->spawned_at.store(options.spawned_at, std::memory_order_relaxed);
  f->spawned.store(s.clock.load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (!options.name.empty() || f->named) [[unlikely]] set_name(*f, options.name);
  prepare(f->ctx, f->stack_bottom, reinterpret_cast<std::byte*>(body), fiber_entry);
  return f;
}

void* body_of(fiber& f) noexcept { return f.body; }

void start(fiber& f) noexcept {
  scheduler& s = *f.home;
  f.slot->store(f.slot->load(std::memory_order_relaxed) | 1, std::memory_order_release);  // pairs with for_each_in_use
  processor* const p = own_processor(s);
  if (p != nullptr) {
    bump(p->spawned);
  } else {
    s.spawned_outside.fetch_add(1, std::memory_order_relaxed);
  }
  // The slot word comes before the fiber's first look at stop_everything that counts, which is behind the commit of a wait
  // (O1 of stop_word); stop_all has a fence between its store and its scan.
  s.make_runnable(&f, p);
}

void discard(fiber& f) noexcept {
  dispose(f.ctx, f.stack_bottom, f.stack_top());
  recycle(&f, own_processor(*f.home));
}

namespace {

[[noreturn]] void join_itself(const fiber& f) noexcept {
  fatal("fiber %llu joins itself", static_cast<unsigned long long>(id_of(f)));
}

bool join_commit(waiter self, void* object, std::uintptr_t) noexcept {
  using joining = join_word<>::joining;
  const joining found = static_cast<join_site*>(object)->word.wait(self.bits());
  if (found == joining::occupied) fatal("two callers join the same fiber");
  return found == joining::parked;
}

}  // namespace

bool ended(const fiber& f) noexcept { return f.joined.word.ended(); }

// Whether a stop stands is asked at the beginning, and from then on behind each commit.
bool join(fiber& f) noexcept {
  if (stop_requested()) return false;
  while (!ended(f)) {
    parking here;
    if (here.is_of(f)) [[unlikely]] join_itself(f);
    here.publish(f.joined, ended_by::any_stop);
    here.park({join_commit, &f.joined}, {wait_reason::join, &f});
    here.withdraw();
    if (!ended(f) && stop_requested()) {
      // A thread's park may have ended for no reason: then it is still there.
      static_cast<void>(f.joined.word.take_out(current_waiter().bits()));
      return false;
    }
  }
  return true;
}

void join_uncancelled(fiber& f) noexcept {
  if (current_fiber() == &f) join_itself(f);
  while (!ended(f)) park({join_commit, &f.joined}, {wait_reason::join, &f});
}

namespace {

// let_go gives the stack back if f has ended, and else leaves that to its end.
void let_go(fiber& f) noexcept {
  scheduler& s = *f.home;
  if (processor* p = own_processor(s)) {
    if (ended(f) || !f.joined.word.abandon()) recycle(&f, p);
    return;
  }
  // The scheduler may be at its end, or beyond it but for the stacks.
  bool last_handle = false;
  {
    std::lock_guard guard(s.handles_lock);
    if (ended(f) || !f.joined.word.abandon()) {
      recycle(&f, nullptr);
      last_handle = s.handles_left != 0 && --s.handles_left == 0;
    }
  }
  if (last_handle) delete &s;
}

}  // namespace

void release(fiber& f) noexcept { let_go(f); }

void detach(fiber& f, void (*dispose_body)(void*) noexcept) noexcept {
  f.dispose_body = dispose_body;
  if (f.handle_now.exchange(handle_state::detached, std::memory_order_acq_rel) == handle_state::ended) {
    dispose_body(f.body);
  }
  let_go(f);
}

bool is_detached(const fiber& f) noexcept {
  return f.handle_now.load(std::memory_order_relaxed) == handle_state::detached;
}

void request_stop(fiber& f) noexcept {
  f.stops.request();
  stop_now(f);
}

void stop_now(fiber& f) noexcept {
  cancel_announced(f.stops, f.home->stop_everything);
  if (!f.has_source.load(std::memory_order_seq_cst)) return;  // pairs with stop_token_of
  std::stop_source source{std::nostopstate};
  {
    std::lock_guard guard(f.source_lock);
    source = f.source;
  }
  if (source.stop_possible()) source.request_stop();  // runs the users' callbacks, so not under the lock
}

caller_data& data_of(fiber& f) noexcept { return f.data; }

scheduler* scheduler_of(const fiber& f) noexcept { return f.home; }
std::uint64_t id_of(const fiber& f) noexcept { return f.id.load(std::memory_order_relaxed); }
std::string_view name_of(const fiber& f) noexcept { return f.name.view(); }
void set_name(fiber& f, std::string_view name) noexcept {
  f.name.set(name);
  f.named = !name.empty();
}

std::stop_token stop_token_of(fiber& f) {
  std::stop_source source{std::nostopstate};
  if (!f.has_source.load(std::memory_order_acquire)) source = std::stop_source();
  {
    std::lock_guard guard(f.source_lock);
    if (!f.source.stop_possible()) {
      f.source = source;
      f.has_source.store(true, std::memory_order_seq_cst);  // then the flags; stop_now goes the other way round
    } else {
      source = f.source;
    }
  }
  if (stop_stands(f)) source.request_stop();
  return source.get_token();
}

}  // namespace weft::inline v0::sched
