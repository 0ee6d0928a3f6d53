// What a debugger has to know of fibers. It reads memory alone: a core has nothing to call.

#include <weft/sched/debugger.hpp>

#include "scheduler.hpp"

#include <cstddef>
#include <iterator>
#include <memory>
#include <string_view>

namespace weft::inline v0::sched {

namespace {

template <class Enum>
constexpr std::uint64_t number(Enum e) noexcept {
  return static_cast<std::uint64_t>(e);
}

}  // namespace

// Both compilers lay these types out as if they were of standard layout.
#pragma GCC diagnostic ignored "-Winvalid-offsetof"

// An owner is read as the pointer that it is.
static_assert(sizeof(std::unique_ptr<stack_slab>) == sizeof(void*) &&
              sizeof(std::unique_ptr<std::atomic<std::uint64_t>[]>) == sizeof(void*));
static_assert(sizeof(std::atomic<fiber_phase>) == 1 && sizeof(std::atomic<wait_reason>) == 1 &&
              sizeof(std::atomic<bool>) == 1 && sizeof(fiber_name) == fiber_name::capacity);

struct debugger_access {
  static constexpr debugger_field fields[] = {
      {"fiber.size", sizeof(fiber)},
#if defined(WEFT_OWN_SWITCH)
      {"fiber.stack", offsetof(fiber, ctx.suspended.stack)},
      {"fiber.code", offsetof(fiber, ctx.suspended.code)},
      {"fiber.frame", offsetof(fiber, ctx.suspended.frame)},
#endif
      {"fiber.phase", offsetof(fiber, look.phase_)},
      {"fiber.reason", offsetof(fiber, reason)},
      {"fiber.entered", offsetof(fiber, entered)},
      {"fiber.object", offsetof(fiber, wait_object)},
      {"fiber.since", offsetof(fiber, since)},
      {"fiber.id", offsetof(fiber, id)},
      {"fiber.spawned_at", offsetof(fiber, spawned_at)},
      {"fiber.name", offsetof(fiber, name)},
      {"fiber.name_size", fiber_name::capacity},
      {"scheduler.pools", offsetof(scheduler, pools_)},
      {"scheduler.clock", offsetof(scheduler, clock)},
      {"pool.next", offsetof(stack_pool, next)},
      {"pool.newest", offsetof(stack_pool, newest_)},
      {"slab.older", offsetof(stack_slab, older)},
      {"slab.memory", offsetof(stack_slab, memory_)},
      {"slab.stride", offsetof(stack_slab, layout_.stride)},
      {"slab.words", offsetof(stack_slab, words_)},
      {"slab.carved", offsetof(stack_slab, carved_)},
      {"slab.colours", stack_slab::colours},
      {"slab.colour_step", stack_slab::colour_step},
      {"phase.none", number(fiber_phase::none)},
      {"phase.runnable", number(fiber_phase::runnable)},
      {"phase.running", number(fiber_phase::running)},
      {"phase.parked", number(fiber_phase::parked)},
      {"phase.blocking", number(fiber_phase::blocking)},
      {"reason.none", number(wait_reason::none)},
      {"reason.yield", number(wait_reason::yield)},
      {"reason.read", number(wait_reason::read)},
      {"reason.write", number(wait_reason::write)},
      {"reason.read_turn", number(wait_reason::read_turn)},
      {"reason.write_turn", number(wait_reason::write_turn)},
      {"reason.close", number(wait_reason::close)},
      {"reason.sleep", number(wait_reason::sleep)},
      {"reason.tick", number(wait_reason::tick)},
      {"reason.join", number(wait_reason::join)},
      {"reason.mutex", number(wait_reason::mutex)},
      {"reason.shared_mutex", number(wait_reason::shared_mutex)},
      {"reason.condition", number(wait_reason::condition)},
      {"reason.semaphore", number(wait_reason::semaphore)},
      {"reason.event", number(wait_reason::event)},
      {"reason.latch", number(wait_reason::latch)},
      {"reason.barrier", number(wait_reason::barrier)},
      {"reason.once", number(wait_reason::once)},
      {"reason.wait_group", number(wait_reason::wait_group)},
      {"reason.group_place", number(wait_reason::group_place)},
      {"reason.group_end", number(wait_reason::group_end)},
      {"reason.blocking_slot", number(wait_reason::blocking_slot)},
      {"reason.channel_send", number(wait_reason::channel_send)},
      {"reason.channel_receive", number(wait_reason::channel_receive)},
      {"reason.select", number(wait_reason::select)},
  };

  static constexpr std::size_t reasons() noexcept {
    std::size_t n = 0;
    for (const debugger_field& f : fields) n += std::string_view(f.name).starts_with("reason.") ? 1 : 0;
    return n;
  }
};

static_assert(debugger_access::reasons() == wait_reasons, "each reason has its name here");

constinit const debugger_table debugger_layout{debugger_access::fields, std::size(debugger_access::fields)};

}  // namespace weft::inline v0::sched
