// Who runs here: the thread's worker, its record as a waiter, the scheduler it has entered.
//
// The only place for thread_local. A fiber may come back from any suspension on another thread, and compilers keep the addresses
// of thread-local objects in registers: so each accessor is a function that is never inlined and that they cannot take for
// pure, and no caller keeps its result across a suspension.
#pragma once

#include <weft/sched/waiter.hpp>

namespace weft::inline v0::sched {

struct worker;
class scheduler;

// current_worker is null on a plain thread.
[[gnu::noinline]] worker* current_worker() noexcept;
[[gnu::noinline]] void set_current_worker(worker* w) noexcept;

// current_record is the calling thread's, made at the first call.
[[gnu::noinline]] thread_record* current_record() noexcept;

[[gnu::noinline]] scheduler* entered_scheduler() noexcept;
[[gnu::noinline]] scheduler* exchange_entered_scheduler(scheduler* s) noexcept;

}  // namespace weft::inline v0::sched
