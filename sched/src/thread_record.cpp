#include "thread_record.hpp"

#include "futex.hpp"
#include "sanitizers.hpp"
#include "standstill.hpp"

#include <weft/sched/fatal.hpp>
#include <weft/sched/spin_lock.hpp>

#include <algorithm>
#include <mutex>
#include <new>

#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

// Process-wide, since a thread that waits belongs to no scheduler. Constant-initialised and never destroyed.
constinit spin_lock free_lock;
constinit thread_record* free_records = nullptr;  // guarded by free_lock
constinit std::atomic<thread_record*> records{nullptr};  // all of them, newest first; added under free_lock

}  // namespace

thread_record* acquire_record() noexcept {
  {
    std::lock_guard guard(free_lock);
    if (thread_record* r = free_records) {
      free_records = r->link;
      return r;
    }
  }
  auto* r = new (std::nothrow) thread_record;
  if (r == nullptr) fatal("no memory for a waiting thread's record");
  std::lock_guard guard(free_lock);
  r->next_made = records.load(std::memory_order_relaxed);
  records.store(r, std::memory_order_release);
  return r;
}

thread_record* first_record() noexcept { return records.load(std::memory_order_acquire); }

void release_record(thread_record* r) noexcept {
  r->data = {};
  r->tid.store(0, std::memory_order_relaxed);
  thread_fell_asleep();  // so to speak
  std::lock_guard guard(free_lock);
  r->link = free_records;
  free_records = r;
}

namespace {

#if defined(WEFT_TSAN)
// ThreadSanitizer keeps a signal back until its thread calls something that it knows, which a futex is not: a thread
// that sleeps here, as the first one in run() does, would never hear of it.
void sleep_on(const std::atomic<std::uint32_t>& token, nanotime until) noexcept {
  constexpr nanotime longest = 10'000'000;
  futex_wait(token, 0, std::min(until, after(longest)));
  sys_call(::usleep, 0u);
}
#else
void sleep_on(const std::atomic<std::uint32_t>& token, nanotime until) noexcept { futex_wait(token, 0, until); }
#endif

}  // namespace

asleep_for_good::asleep_for_good(thread_record* r) noexcept : record_(r) {
  if (r->tid.load(std::memory_order_relaxed) == 0) {
    r->tid.store(static_cast<pid_t>(sys_call(::gettid)), std::memory_order_relaxed);
  }
  r->naps.fetch_add(1, std::memory_order_seq_cst);
  thread_fell_asleep();
}

asleep_for_good::~asleep_for_good() {
  record_->naps.fetch_add(1, std::memory_order_seq_cst);
}

bool nap(thread_record* r, nanotime until) noexcept {
  if (until == never) {
    if (r->token.exchange(0, std::memory_order_acquire) != 0) return true;
    {
      const asleep_for_good marked(r);
      while (r->token.load(std::memory_order_acquire) == 0) sleep_on(r->token, never);
    }
    r->token.exchange(0, std::memory_order_acq_rel);  // behind the end of the mark: see naps
    return true;
  }
  while (r->token.exchange(0, std::memory_order_acquire) == 0) {
    if (now() >= until) return false;
    sleep_on(r->token, until);
  }
  return true;
}

void ready_thread(thread_record* r) noexcept {
  r->token.exchange(1, std::memory_order_acq_rel);  // tokens merge: the thread then sees what every waker did
  futex_wake(&r->token, 1);
}

}  // namespace weft::inline v0::sched
