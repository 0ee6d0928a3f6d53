// netpoller: the one seam of the core, between the scheduler and what tells it of descriptors.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/waiter.hpp>

#include <array>
#include <cstddef>

namespace weft::inline v0::sched {

// ready_list is the result of one netpoll: waiters that became ready, oldest event first. The poller has removed each from
// where it was parked, so the scheduler owns them. A plain array: filling it allocates nothing.
struct ready_list {
  static constexpr std::size_t max_events = 128;  // per netpoll; each event can wake a reader and a writer
  std::array<waiter, 2 * max_events> items;
  std::size_t count = 0;

  void push(waiter w) noexcept { items[count++] = w; }
};

// netpoller is implemented by netpoll's backends and by tests. The scheduler calls it; it never calls the scheduler
// except through ready(). At most one thread is inside a netpoll with a non-zero delay at a time; zero-delay calls may
// run beside it.
class WEFT_API netpoller {
 public:
  virtual ~netpoller() = default;

  // netpoll appends the waiters of what became ready. delay: 0 looks without waiting; `never` waits until an event or
  // a break; otherwise it waits at most so many nanoseconds, and may return early and empty (interrupted): the
  // scheduler computes the delay anew. REQUIRES: out is empty.
  virtual void netpoll(nanotime delay, ready_list& out) noexcept = 0;

  // delivered says that `count` waiters from netpoll are on run queues now. The count of waiters is lowered only here,
  // not in netpoll: in between, the scheduler would see nobody waiting and nothing runnable.
  virtual void delivered(std::size_t count) noexcept = 0;

  // netpollbreak makes the netpoll that is waiting, or else the next one with a non-zero delay, return at once.
  // Breaks coalesce. Any thread.
  virtual void netpollbreak() noexcept = 0;

  // any_waiters tells whether anybody is parked on a descriptor; it may be stale by the time it returns.
  virtual bool any_waiters() const noexcept = 0;
};

}  // namespace weft::inline v0::sched
