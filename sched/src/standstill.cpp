// Whether the fibers that are left can hope for anything.
//
// Never falsely: a fiber that waits may be helped by another one, by a timer, by a descriptor, by a call that blocks, and by
// any thread of the process that is not itself waiting, with no time set, for somebody to help it. That a thread can't be
// made out is an answer too: then the fibers may hope. What only looks so for a moment, since the looks at the parts come one
// after the other, is told by a second look: whatever acts counts what it does.

#include "standstill.hpp"

#include "scheduler.hpp"
#include "thread_record.hpp"

#include <weft/sched/spin_lock.hpp>
#include <weft/sched/sys.hpp>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <optional>

#include <dirent.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

// The scheduler whose monitor sleeps though its fibers have nobody to hope for but threads. One is enough to watch: of
// several, none stands still as long as the others' threads are not known.
constinit spin_lock watched_lock;
constinit std::atomic<scheduler*> watched{nullptr};  // written under watched_lock

// has_threads_beyond counts the threads of the process: none but the known ones are there if there are not more.
bool has_threads_beyond(std::size_t known) noexcept {
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return true;
  std::size_t n = 0;
  while (const dirent* const entry = ::readdir(tasks)) n += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(tasks);
  return n > known;
}

}  // namespace

void thread_fell_asleep() noexcept {
  if (watched.load(std::memory_order_seq_cst) == nullptr) return;
  const std::lock_guard guard(watched_lock);
  if (scheduler* const s = watched.load(std::memory_order_relaxed)) s->wake_monitor();
}

void forget_watched(const scheduler& s) noexcept {
  const std::lock_guard guard(watched_lock);
  if (watched.load(std::memory_order_relaxed) == &s) watched.store(nullptr, std::memory_order_relaxed);
}

bool scheduler::at_rest_locked() const noexcept {
  if (idle_processors_.size() != processors.size() || wake_owed_) return false;
  std::size_t asleep = polling_ ? 1 : 0;
  for (const worker* w = sleepers_; w != nullptr; w = w->next_sleeper) ++asleep;
  return asleep == workers_.size();
}

std::optional<std::uint64_t> scheduler::signs_of_life_but(bool& threads) noexcept {
  threads = false;
  {
    const std::lock_guard guard(mutex_);
    if (!at_rest_locked()) return {};
  }
  if (live() == 0 || work_anywhere() || poller.any_waiters()) return {};
  if (visitors.load(std::memory_order_seq_cst) != 0 || blocking_count.load(std::memory_order_seq_cst) != 0) return {};
  shared_timers.purge();
  for (auto& p : processors) p->timers.purge();
  if (earliest() != never) return {};

  std::uint64_t deeds = 0;
  for (const auto& p : processors) deeds += p->dispatches.load(std::memory_order_seq_cst);
  std::size_t known = 1;  // this thread
  {
    const std::lock_guard guard(mutex_);
    known += workers_.size();
  }
  for (const thread_record* r = first_record(); r != nullptr; r = r->next_made) {
    deeds += r->naps.load(std::memory_order_seq_cst);
    if (r->asleep.load(std::memory_order_seq_cst) && r->token.load(std::memory_order_seq_cst) == 0) ++known;
  }
  threads = has_threads_beyond(known);
  return deeds;
}

bool scheduler::standstill() noexcept {
  forget_watched(*this);
  bool threads = false;
  const auto first = signs_of_life_but(threads);
  if (!first) return false;
  if (threads) {
    {
      const std::lock_guard guard(watched_lock);
      watched.store(this, std::memory_order_seq_cst);
    }
    // One may have fallen asleep just before.
    const auto again = signs_of_life_but(threads);
    if (!again || threads) return false;
  }
  const auto second = signs_of_life_but(threads);
  return second && !threads && *second == *first;
}

}  // namespace weft::inline v0::sched
