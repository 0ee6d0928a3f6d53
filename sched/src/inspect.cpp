// The look at every fiber. Who may look, and when, is said at fiber_look.

#include <weft/sched/inspect.hpp>

#include "frames.hpp"
#include "scheduler.hpp"
#include "stack_marks.hpp"
#include "view.hpp"

#include <weft/sched/fiber.hpp>
#include <weft/sched/sys.hpp>

#include <array>
#include <mutex>

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

long membarrier(int command) noexcept { return sys_call(::syscall, SYS_membarrier, command, 0u, 0); }

// fence_everywhere makes every thread of the process pass a full fence. False where the system refuses.
bool fence_everywhere() noexcept {
  static const bool registered = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  return registered && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}

// look is a handful of fibers that are looked at together: each fence_everywhere interrupts all CPUs of the process.
class look {
 public:
  look(scheduler& s, const inspect_options& o, void (*visit)(void*, const fiber_view&), void* context) noexcept
      : home_(s), options_(o), visit_(visit), context_(context) {}
  ~look() { finish(); }
  look(const look&) = delete;
  look& operator=(const look&) = delete;

  void add(fiber& f) noexcept {
    if (added_ == options_.limit) return;
    if (!f.look.begin_look()) return;
    ++added_;
    fibers_[count_++] = &f;
    if (count_ == fibers_.size()) finish();
  }

 private:
  void finish() noexcept {
    if (count_ == 0) return;
    const bool held = fence_everywhere();  // O1 of fiber_look
    for (std::size_t i = 0; i < count_; ++i) visit_one(*fibers_[i], held);
    for (std::size_t i = 0; i < count_; ++i) end_look(*fibers_[i]);
    count_ = 0;
  }

  void end_look(fiber& f) noexcept {
    if (f.look.end_look()) home_.make_runnable(&f, nullptr);
  }

  void visit_one(fiber& f, bool held) noexcept {
    const fiber_phase phase = f.look.phase_looked_at();
    if (phase == fiber_phase::none || ended(f)) return;
    const worker* runs_on = nullptr;
    if (phase == fiber_phase::running || phase == fiber_phase::blocking) {
      runs_on = home_.worker_of(f);
      if (runs_on != nullptr && options_.frames) {
        view_running(*runs_on, f, [&](const fiber_view& v) { visit_(context_, v); });
        return;
      }
    }
    described_fiber d(f);
    fiber_view& v = d.view;
    if (runs_on != nullptr) v.worker = runs_on->index;
    switch (phase) {
      case fiber_phase::running:
        v.state = fiber_state::running;
        break;
      case fiber_phase::blocking:
        v.state = fiber_state::blocking;
        break;
      case fiber_phase::parked:
        v.state = fiber_state::parked;
        v.why = f.reason.load(std::memory_order_relaxed);
        if (v.why == wait_reason::sleep) v.wakes = f.sleep.alarm.due();
        if (held) v.object = f.wait_object.load(std::memory_order_relaxed);
        [[fallthrough]];
      default:
        if (!held || !f.entered.load(std::memory_order_relaxed)) break;
        v.stack_used = static_cast<std::size_t>(v.stack_bottom + v.stack_size - stack_position_of(f.ctx));
        if (options_.frames) frames_of(f.ctx, d.frames);
    }
    d.add_frames();
    visit_(context_, v);
  }

  scheduler& home_;
  const inspect_options options_;
  void (*const visit_)(void*, const fiber_view&);
  void* const context_;
  std::array<fiber*, 16> fibers_;
  std::size_t count_ = 0;
  std::size_t added_ = 0;
};

}  // namespace

described_fiber::described_fiber(const fiber& f) noexcept {
  f.name.copy_to(name);
  view.name = name;
  view.id = f.id.load(std::memory_order_relaxed);
  view.since = f.since.load(std::memory_order_relaxed);
  view.spawned = f.spawned.load(std::memory_order_relaxed);
  view.spawned_at = f.spawned_at.load(std::memory_order_relaxed);
  view.stack_bottom = f.stack_bottom;
  view.stack_size = f.pool->usable();
  view.stack_touched = touched(f.stack_bottom, f.stack_bottom + view.stack_size);
}

void inspect(scheduler& s, const inspect_options& options, void (*visit)(void*, const fiber_view&), void* context) noexcept {
  const std::lock_guard one(s.inspection);
  const registry_readers::reading now(s.readers);  // until the last look has ended
  look these(s, options, visit, context);
  s.for_each_fiber([&](fiber& f) { these.add(f); });
}

std::uint64_t fiber_at(scheduler& s, const void* address, char (&name)[32]) noexcept {
  std::uint64_t id = 0;
  const registry_readers::reading now(s.readers);
  if (const fiber* const f = s.fiber_on(static_cast<const std::byte*>(address))) {
    id = f->id.load(std::memory_order_relaxed);
    f->name.copy_to(name);
  }
  return id;
}

}  // namespace weft::inline v0::sched
