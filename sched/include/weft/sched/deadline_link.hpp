// deadline_link: a time that stops the waits of its caller.
#pragma once

#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

namespace weft::inline v0::sched {

struct alarm;  // sched/src/alarm_pool.hpp
class scheduler;
struct thread_record;

// deadline_link stops the waits that the caller begins or is in from `when` on, while the link exists, as a stop_link
// does with a token: they end as canceled. Whoever made the link says what that means, after the link's end:
//     bool passed;
//     { deadline_link link(when); error = call(); passed = link.passed(); }
//     if (error == canceled && passed && !stop_requested()) error = timed_out;
// `never` costs nothing, a time that has come needs no timer. Otherwise the timers of a scheduler serve it, the
// caller's (current_scheduler) or the given one; no memory for one is fatal, as it is for a sleep. A plain thread
// that has no scheduler looks at the clock itself when it waits.
class WEFT_API deadline_link : private wait_link {
 public:
  explicit deadline_link(nanotime when) noexcept;
  deadline_link(nanotime when, scheduler* timers, link_origin origin = link_origin::own) noexcept;
  ~deadline_link();

  // passed tells whether the time has come.
  bool passed() const noexcept { return fired(); }

  // Of the links that a thread looks after itself: when the first is due that has not passed; and, after that time, to
  // let those pass that are.
  static nanotime first_due(const thread_record& r) noexcept;
  static void let_pass(const thread_record& r) noexcept;

 private:
  static void ring(void* object, std::uint32_t) noexcept;

  alarm* alarm_ = nullptr;
  // Without a scheduler
  thread_record* thread_ = nullptr;
  deadline_link* outer_ = nullptr;
  nanotime when_ = never;
};

}  // namespace weft::inline v0::sched
