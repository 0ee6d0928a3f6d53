// The stage, and what the library's sources call that is not among those of a model program.
#include "arena.hpp"
#include "stage.hpp"

#include <current.hpp>
#include <processor.hpp>
#include <scheduler.hpp>
#include <thread_record.hpp>
#include <worker.hpp>

#include <weft/fiber.hpp>
#include <weft/net/resolver.hpp>
#include <weft/netpoll/watcher.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <cxxabi.h>

namespace weft::testing {
namespace {

constexpr std::size_t most_waiters = 4;

// Where a fiber is, for its worker.
enum class whereabouts { running, departed, over };

struct no_poller final : sched::netpoller {
  void netpoll(sched::nanotime, sched::ready_list&) noexcept override {}
  void delivered(std::size_t) noexcept override {}
  void netpollbreak() noexcept override {}
  bool any_waiters() const noexcept override { return false; }
};

struct role {
  explicit role(sched::scheduler& s) : worker(s, 0) {}

  sched::thread_record record;
  sched::worker worker;
  sched::fiber fiber;
  bool is_fiber = false;
  model::parking_place bed;
  int doubles = 0;
  model::atomic<whereabouts> where{whereabouts::running};
  sched::departure_order order{};  // handed over by `where`
  model::atomic<bool> busy{false};  // its worker is not through with what it has departed for

  void wake() {
    if (!bed.unpark()) ++doubles;
  }
  // As arrived() of dispatch.cpp.
  void arrived(const sched::departure_order& o) {
    if (!o.run(sched::waiter(o.from), o.object, o.word)) return wake();
    const auto& everybody = o.from->home->stop_everything;
    if (o.cancellable && o.from->stops.missed(everybody) != nullptr) cancel_announced(o.from->stops, everybody);
  }
};

stage* current = nullptr;

no_poller poller;

}  // namespace

struct stage::parts {
  model::atomic<sched::nanotime> time{0};
  sched::scheduler scheduler{{}, poller};
  sched::processor processor{scheduler, 0, true};
  std::array<role, most_waiters> roles{role(scheduler), role(scheduler), role(scheduler), role(scheduler)};

  sched::timer_heap& heap() { return mode == as::fibers ? processor.timers : scheduler.shared_timers; }
};

// backstage is what the replaced functions see of the stage.
struct backstage {
  static stage::parts& parts() { return *current->parts_; }
  static role& here() { return parts().roles.at(model::current_actor()); }
  // Whose fiber or record that is.
  static role& of(const void* waiter) {
    for (role& r : parts().roles) {
      if (&r.fiber == waiter || &r.record == waiter) return r;
    }
    std::abort();
  }
};

as stage::mode = as::threads;

stage::stage() {
  clear_arena();
  parts_ = std::make_unique<parts>();
  current = this;
}
stage::~stage() = default;

sched::scheduler& stage::scheduler() { return parts_->scheduler; }

void stage::pass(sched::nanotime t) {
  parts_->time.store(t, std::memory_order_seq_cst);
  if (mode != as::threads) parts_->heap().run_due(t);
}

void stage::enter() {
  if (mode != as::fibers) return;
  role& me = backstage::here();
  me.is_fiber = true;
  me.worker.p = &parts_->processor;
  me.worker.set_running(&me.fiber);
  me.worker.exceptions = sched::thread_exception_state();
  me.fiber.home = &parts_->scheduler;
  // As create_fiber.
  me.fiber.sleep.cancel = [](sched::cancel_site& site, sched::waiter w) noexcept {
    if (static_cast<sched::sleep_site&>(site).word.take_out(w.bits())) sched::ready(w);
  };
}
void stage::leave() {
  if (mode == as::fibers) backstage::here().where.store(whereabouts::over, std::memory_order_seq_cst);
}

void stage::be_worker_of(std::size_t actor) {
  role& r = parts_->roles.at(actor);
  for (;;) {
    const auto gone = [](whereabouts w) { return w != whereabouts::running; };
    if (r.where.await(std::memory_order_seq_cst, gone) == whereabouts::over) return;
    r.where.store(whereabouts::running, std::memory_order_seq_cst);
    r.arrived(r.order);
    r.busy.store(false, std::memory_order_seq_cst);
  }
}

void stage::shuffle_anew() {
  role& me = backstage::here();
  for (sched::dice* d : {&me.record.chance, &parts_->processor.chance}) *d = sched::dice(0x9e3779b9);
}

std::string stage::wakes() const {
  for (const role& r : parts_->roles) {
    if (r.doubles != 0) return "somebody was woken twice";
    if (r.bed.wake_pending()) return "somebody was woken who did not sleep";
  }
  return "";
}

void print(as mode, const model::outcome& found) {
  constexpr const char* names[] = {"threads", "threads with timers", "fibers"};
  std::printf("  as %s: %zu runs of %zu steps, %zu repeated\n", names[static_cast<int>(mode)], found.runs,
              found.steps / std::max(found.runs + found.redundant, std::size_t{1}), found.redundant);
}

hand_link::hand_link(source& s) : source_(s) {
  attach();
  bool late = false;
  {
    const std::lock_guard guard(s.lock_);
    s.link_ = this;
    late = s.fired_;
  }
  if (late) wait_link::fire();
}
hand_link::~hand_link() {
  {
    const std::lock_guard guard(source_.lock_);
    source_.link_ = nullptr;
  }
  detach();
}
void hand_link::source::fire() {
  const std::lock_guard guard(lock_);
  fired_ = true;
  if (link_ != nullptr) link_->wait_link::fire();
}

}  // namespace weft::testing

// --- In the place of the library's own

namespace weft::inline v0::sched {

using testing::backstage;

// clock.cpp
nanotime now() noexcept { return backstage::parts().time.load(std::memory_order_seq_cst); }
nanotime after(nanotime delay) noexcept { return delay == never ? never : now() + delay; }

// fatal.cpp. The actor stays where it is, and the run is over.
void fatal(const char* format, ...) noexcept {
  char text[256];
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  model::fail(std::string("fatal: ") + text);
  model::wait_until([] { return false; });
  std::abort();
}

// current.cpp
worker* current_worker() noexcept {
  testing::role& me = backstage::here();
  return me.is_fiber ? &me.worker : nullptr;
}
thread_record* current_record() noexcept { return &backstage::here().record; }

// context.cpp
exception_state* thread_exception_state() noexcept { return reinterpret_cast<exception_state*>(abi::__cxa_get_globals()); }

// thread_record.cpp
bool nap(thread_record* r, nanotime until) noexcept {
  model::parking_place& bed = backstage::of(r).bed;
  if (until != never) return bed.park_unless(backstage::parts().time, [until](nanotime t) { return t >= until; });
  bed.park();
  return true;
}
void ready_thread(thread_record* r) noexcept { backstage::of(r).wake(); }

// dispatch.cpp and wake.cpp
void depart(worker*, fiber* f, decltype(commit::run) then, void* object, std::uintptr_t word, fiber_phase as) noexcept {
  testing::role& me = backstage::of(f);
  const departure_order order = {f, f->stops.announced(), as, then, object, word};
  if (me.busy.load(std::memory_order_seq_cst)) {
    // The worker that it was on before stops it late. It has gone on on another one, which is this actor.
    me.arrived(order);
  } else {
    me.order = order;
    me.busy.store(true, std::memory_order_seq_cst);
    me.where.store(testing::whereabouts::departed, std::memory_order_seq_cst);
  }
  me.bed.park();
}
void scheduler::hand_over(fiber* f) noexcept { backstage::of(f).wake(); }
void scheduler::push_tail(processor*, fiber* f) noexcept { backstage::of(f).wake(); }
void scheduler::timer_armed(nanotime when) noexcept {
  // Who fires what is due may have looked already: somebody does it now.
  if (when <= now()) backstage::parts().heap().run_due(when);
}

// scheduler.cpp and fiber.cpp
scheduler::scheduler(const scheduler_options& wanted, netpoller& p) noexcept : options(wanted), poller(p) {}
scheduler::~scheduler() = default;
scheduler* current_scheduler() noexcept {
  if (current_worker() != nullptr) return backstage::here().worker.home;
  return testing::stage::mode == testing::as::threads_with_timers ? &backstage::parts().scheduler : nullptr;
}
bool is_detached(const fiber&) noexcept { return false; }

}  // namespace weft::inline v0::sched

namespace weft::inline v0 {

std::uint64_t this_fiber::get_id() noexcept { return 0; }
std::error_code net::make_error_code(lookup_errc) noexcept { return {}; }

// No descriptor takes part.
void poll::watcher::pin() noexcept {
  sched::fatal("a descriptor: %p %d %d", static_cast<void*>(descriptor_), static_cast<int>(mode_), pinned_ ? 1 : 0);
}
void poll::watcher::unpin() noexcept { std::abort(); }
bool poll::watcher::ready() noexcept { std::abort(); }
void poll::watcher::enter(sched::selection&) noexcept { std::abort(); }
void poll::watcher::leave() noexcept { std::abort(); }

}  // namespace weft::inline v0
