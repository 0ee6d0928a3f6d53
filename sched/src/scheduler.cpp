#include "scheduler.hpp"

#include "current.hpp"
#include "fault_handler.hpp"
#include "futex.hpp"
#include "migration.hpp"
#include "standstill.hpp"
#include "thread_record.hpp"
#include "thread_start.hpp"

#include <weft/sched/fatal.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include <sched.h>

namespace weft::inline v0::sched {

unsigned migration_seed() noexcept {
  const char* const text = std::getenv("WEFT_SEED");
  return text == nullptr ? 0 : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

void global_queue::push(fiber* f) noexcept { push(&f, 1); }

void global_queue::push(fiber* const* items, std::size_t n) noexcept {
  std::lock_guard guard(lock_);
  for (std::size_t i = 0; i < n; ++i) fibers_.push(items[i]);
  size_.store(fibers_.size(), std::memory_order_seq_cst);
}

fiber* global_queue::pop() noexcept {
  fiber* f = nullptr;
  return pop_batch(&f, 1) == 1 ? f : nullptr;
}

std::size_t global_queue::pop_batch(fiber** into, std::size_t n) noexcept {
  if (size() == 0) return 0;
  std::lock_guard guard(lock_);
  std::size_t taken = 0;
  while (taken < n && fibers_.size() != 0) into[taken++] = fibers_.pop();
  size_.store(fibers_.size(), std::memory_order_seq_cst);
  return taken;
}

fiber* global_queue::pop_shuffled(dice& chance, const worker* not_of) noexcept {
  constexpr std::size_t window = 16;
  std::lock_guard guard(lock_);
  std::array<std::size_t, window> eligible;
  std::size_t n = 0;
  const fiber* f = fibers_.first();
  for (std::size_t i = 0; f != nullptr && i < window; ++i, f = f->link) {
    if (not_of == nullptr || f->ran_on != not_of) eligible[n++] = i;
  }
  if (n == 0) return nullptr;
  fiber* const taken = fibers_.pop_at(eligible[chance.roll() % n]);
  size_.store(fibers_.size(), std::memory_order_seq_cst);
  return taken;
}

scheduler::scheduler(const scheduler_options& wanted, netpoller& p) noexcept : options(wanted), poller(p) {}

void scheduler::shut_down() noexcept {
  ending.store(true, std::memory_order_seq_cst);
  worker* sleeper;
  {
    std::lock_guard guard(mutex_);
    sleeper = std::exchange(sleepers_, nullptr);
  }
  while (sleeper != nullptr) {
    worker* next = sleeper->next_sleeper;
    sleeper->awake.store(1, std::memory_order_release);
    futex_wake(&sleeper->awake, 1);
    sleeper = next;
  }
  poller.netpollbreak();
  wake_monitor();
  monitor_ends.store(1, std::memory_order_release);
  futex_wake(&monitor_ends, 1);
  if (monitor_started) pthread_join(monitor_thread, nullptr);
  // No new worker comes: nothing is runnable, no visitor is left, and the monitor is gone.
  for (auto& w : workers_) pthread_join(w->thread, nullptr);
  forget_watched(*this);
  if (std::exchange(holds_fault_handler_, false)) release_fault_handler();
  // Stopped timers may still be in the heaps, and those of sleeps lie in the stacks.
  shared_timers.abandon();
  for (auto& p : processors) {
    p->timers.abandon();
    p->stacks.spill(p->stacks.count());
  }
}

scheduler::~scheduler() {
  stack_pool* pool = pools_.load(std::memory_order_acquire);
  while (pool != nullptr) delete std::exchange(pool, pool->next);
}

int scheduler::start() noexcept {
  clock.store(now(), std::memory_order_relaxed);
  if (options.fault_handler) {
    if (const int error = hold_fault_handler()) return error;
    holds_fault_handler_ = true;
  }
  try {
    if (options.stack_marks) stack_marks = std::make_unique<stack_mark_table>();
    for (unsigned i = 0; i < options.processors; ++i) {
      processors.push_back(std::make_unique<processor>(*this, i, options.processors == 1));
    }
    idle_processors_.reserve(processors.size());
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  stacks = pool_for(options.stack_size);
  if (stacks == nullptr) return ENOMEM;
  for (auto it = processors.rbegin(); it != processors.rend(); ++it) {
    (*it)->chance = dice((*it)->index * 2654435761u + 1 + (forced_migration ? migration_seed() : 0));
    idle_processors_.push_back(it->get());
    idle.processor_released();
  }
  if (int error = start_thread(monitor_thread, "weft-monitor", [](void* s) noexcept -> void* {
        static_cast<scheduler*>(s)->monitor_main();
        return nullptr;
      }, this)) {
    return error;
  }
  monitor_started = true;
  std::lock_guard guard(mutex_);
  processor* p = take_processor_locked();
  if (add_worker_locked(p, false) != nullptr) return 0;
  put_back_processor_locked(p);
  return EAGAIN;
}

worker* scheduler::add_worker_locked(processor* p, bool searching) noexcept {
  worker* w;
  try {
    const auto index = static_cast<unsigned>(workers_.size());
    w = workers_.emplace_back(std::make_unique<worker>(*this, index)).get();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  w->p = p;
  w->searching = searching;
  char name[16];
  std::snprintf(name, sizeof name, "weft-%zu", workers_.size() - 1);
  if (start_thread(w->thread, name, worker_main, w) == 0) return w;
  workers_.pop_back();
  return nullptr;
}

worker* scheduler::worker_of(const fiber& f) noexcept {
  std::lock_guard guard(mutex_);
  for (auto& w : workers_) {
    if (w->running() == &f) return w.get();
  }
  return nullptr;
}

stack_pool* scheduler::pool_for(std::size_t stack_size) noexcept {
  if (stack_size == 0 && stacks != nullptr) return stacks;
  std::size_t usable = stack_layout::for_size(stack_size).usable;
  auto find = [&]() -> stack_pool* {
    stack_pool* pool = pools_.load(std::memory_order_acquire);
    while (pool != nullptr && pool->usable() != usable) pool = pool->next;
    return pool;
  };
  if (stack_pool* pool = find()) return pool;
  std::lock_guard guard(mutex_);
  if (stack_pool* pool = find()) return pool;
  auto* pool = new (std::nothrow) stack_pool(*this, usable, guard_kind::marker);
  if (pool == nullptr) return nullptr;
  pool->next = pools_.load(std::memory_order_relaxed);
  pools_.store(pool, std::memory_order_release);
  return pool;
}

std::uint64_t scheduler::live() const noexcept {
  // Ended first: each fiber is counted as spawned before it is counted as ended, so the difference is never too small.
  std::uint64_t ended = 0;
  for (const auto& p : processors) ended += p->ended.load(std::memory_order_acquire);
  std::uint64_t spawned = spawned_outside.load(std::memory_order_acquire);
  for (const auto& p : processors) spawned += p->spawned.load(std::memory_order_acquire);
  return spawned - ended;
}

scheduler* create_scheduler(const scheduler_options& options, netpoller& poller, int& error) noexcept {
  scheduler_options wanted = options;
  if (wanted.processors == 0) wanted.processors = available_cpus();
  if (wanted.blocking_threads == 0) wanted.blocking_threads = 1;
  auto* s = new (std::nothrow) scheduler(wanted, poller);
  error = s == nullptr ? ENOMEM : s->start();
  if (error == 0) return s;
  if (s != nullptr) s->shut_down();
  delete s;
  return nullptr;
}

void destroy_scheduler(scheduler* s) noexcept {
  worker* w = current_worker();
  if (w != nullptr && w->home == s) fatal("a scheduler is destroyed by one of its own fibers");
  if (s->live() != 0) fatal("a scheduler with %llu live fibers is destroyed", static_cast<unsigned long long>(s->live()));
  // With no fiber left nobody comes any more; who is here may still start a worker.
  while (s->visitors.load(std::memory_order_acquire) != 0) ::sched_yield();
  s->shut_down();
  bool handles;
  {
    std::lock_guard guard(s->handles_lock);
    s->for_each_fiber([s](fiber&) { ++s->handles_left; });  // all have ended: what is in use, a handle keeps
    handles = s->handles_left != 0;
  }
  if (!handles) delete s;
}

void stop_all(scheduler& s) noexcept {
  s.stop_everything.store(true, std::memory_order_seq_cst);
  // Either the scan sees the slot that start() has marked, or the fiber sees the flag behind its first commit (O1 of stop_word).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  s.for_each_fiber([](fiber& f) { stop_now(f); });
}

bool drain(scheduler& s, nanotime until) noexcept {
  if (worker* w = current_worker(); w != nullptr && w->p != nullptr) fatal("drain is called by a fiber");
  {
    std::lock_guard guard(s.mutex_);
    ++s.draining_;
  }
  bool empty;
  for (;;) {
    std::uint32_t seen = s.drained_.load(std::memory_order_acquire);
    empty = s.live() == 0;
    if (empty || now() >= until) break;
    if (until == never) {
      const asleep_for_good marked(current_record());
      futex_wait(s.drained_, seen);
    } else {
      futex_wait(s.drained_, seen, until);
    }
  }
  std::lock_guard guard(s.mutex_);
  --s.draining_;
  return empty;
}

void for_each_live(scheduler& s, void (*visit)(void*, std::uint64_t, const char*), void* context) noexcept {
  s.for_each_fiber([&](fiber& f) {
    if (ended(f)) return;  // in use for its result
    char name[fiber_name::capacity];
    f.name.copy_to(name);
    visit(context, f.id.load(std::memory_order_relaxed), name);
  });
}

scheduler_stats stats_of(const scheduler& s) noexcept {
  scheduler_stats stats;
  stats.processors = static_cast<unsigned>(s.processors.size());
  stats.live = s.live();
  stats.spawned = s.spawned_outside.load(std::memory_order_relaxed);
  stats.outside = stats.spawned;
  stats.wakes = s.wakes.load(std::memory_order_relaxed);
  stats.queued = s.global.size();
  stats.blocking = s.blocking_count.load(std::memory_order_relaxed);
  for (const stack_pool* pool = s.pools_.load(std::memory_order_acquire); pool != nullptr; pool = pool->next) {
    const stack_pool::figures f = pool->count();
    stats.stacks += f.stacks;
    stats.stack_bytes += f.bytes;
    stats.free_stacks += f.free;
    stats.warm_stacks += f.warm;
  }
  for (const auto& p : s.processors) {
    stats.spawned += p->spawned.load(std::memory_order_relaxed);
    stats.dispatches += p->dispatches.load(std::memory_order_relaxed);
    stats.steals += p->steals.load(std::memory_order_relaxed);
    stats.polls += p->polls.load(std::memory_order_relaxed);
  }
  std::lock_guard guard(s.mutex_);
  stats.threads = static_cast<unsigned>(s.workers_.size());
  return stats;
}

processor_stats stats_of(const scheduler& s, unsigned i) noexcept {
  const processor& p = *s.processors[i];
  processor_stats stats;
  stats.spawned = p.spawned.load(std::memory_order_relaxed);
  stats.dispatches = p.dispatches.load(std::memory_order_relaxed);
  stats.steals = p.steals.load(std::memory_order_relaxed);
  stats.polls = p.polls.load(std::memory_order_relaxed);
  stats.poll_nanoseconds = p.poll_nanoseconds.load(std::memory_order_relaxed);
  stats.queued = p.queue.size();
  for (std::size_t k = 0; k < stats.parks.size(); ++k) stats.parks[k] = p.parks[k].load(std::memory_order_relaxed);
  stats.run_wait_nanoseconds = p.run_wait_nanoseconds.load(std::memory_order_relaxed);
  for (std::size_t k = 0; k < stats.run_waits.size(); ++k) {
    stats.run_waits[k] = p.run_waits[k].load(std::memory_order_relaxed);
  }
  return stats;
}

scheduler* current_scheduler() noexcept {
  worker* w = current_worker();
  return w != nullptr ? w->home : entered_scheduler();
}

scheduler* enter_scheduler(scheduler* s) noexcept { return exchange_entered_scheduler(s); }

}  // namespace weft::inline v0::sched
