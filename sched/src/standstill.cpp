// Whether the fibers that are left can hope for anything.
//
// Never falsely: a fiber that waits may be helped by another one, by a timer, by a descriptor, by a call that blocks, and by
// any thread of the process that is not itself waiting, with no time set, for somebody to help it. That a thread can't be
// made out is an answer too: then the fibers may hope.
//
// Two looks
// The looks at the parts come one after the other, so there are two looks at all of them, which must find the same. Whatever
// acts counts what it does, and no count ever falls: if their sum is what it was, each thread that both looks found asleep
// has slept all the time between. In that time lies the first count of the process's threads: with none beside those
// that slept, nobody was left who could do anything.

#include "standstill.hpp"

#include "scheduler.hpp"
#include "thread_record.hpp"

#include <weft/sched/spin_lock.hpp>
#include <weft/sched/sys.hpp>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>

#include <fcntl.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

// The scheduler whose monitor asks a thread that falls asleep to wake it. One is enough to watch: of several, none stands
// still as long as the others' threads are not known.
// Orderings  standstill: store watched, then load naps || a thread: raise naps, then load watched. Seq_cst: either the look
//            finds the thread asleep, or the thread finds whom to wake.
constinit spin_lock watched_lock;
constinit std::atomic<scheduler*> watched{nullptr};  // written under watched_lock

// count_of_threads is that of the process; 0: not known. As one number: a list of them ends early when the thread that it
// has come to ends.
std::size_t count_of_threads() noexcept {
  const long fd = sys_call(::open, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  char text[512];
  const long n = sys_call(::read, static_cast<int>(fd), static_cast<void*>(text), sizeof text - 1);
  sys_call(::close, static_cast<int>(fd));
  if (n <= 0) return 0;
  text[n] = '\0';
  // The second field is the program's name in brackets, whatever that contains; the twentieth is wanted.
  const char* at = std::strrchr(text, ')');
  for (int field = 2; field < 20 && at != nullptr; ++field) at = std::strchr(at + 1, ' ');
  return at != nullptr ? std::strtoul(at, nullptr, 10) : 0;
}

}  // namespace

void thread_fell_asleep() noexcept {
  if (watched.load(std::memory_order_seq_cst) == nullptr) return;
  const std::lock_guard guard(watched_lock);
  // Once: the monitor asks anew.
  if (scheduler* const s = watched.exchange(nullptr, std::memory_order_relaxed)) s->wake_monitor();
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
    const std::uint64_t naps = r->naps.load(std::memory_order_seq_cst);
    deeds += naps;
    if (naps % 2 != 0 && r->token.load(std::memory_order_seq_cst) == 0) ++known;
  }
  const std::size_t all = count_of_threads();
  threads = all == 0 || all > known;
  return deeds;
}

outlook scheduler::look_ahead() noexcept {
  if (live() == 0) return outlook::open;
  {
    const std::lock_guard guard(watched_lock);
    watched.store(this, std::memory_order_seq_cst);
  }
  bool threads = false;
  const auto first = signs_of_life_but(threads);
  if (!first) return outlook::open;
  if (threads) return outlook::threads;
  const auto second = signs_of_life_but(threads);
  return second && !threads && *second == *first ? outlook::none : outlook::open;
}

}  // namespace weft::inline v0::sched
