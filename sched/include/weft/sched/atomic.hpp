// atomic: the words that the library's protocols are made of. One name for them all, in whose place another build may
// put words that it watches.
#pragma once

#include <atomic>

#include <sched.h>

namespace weft::inline v0::sched {

using std::atomic;

// fence_behind_locked is a full fence for where the caller's last step was a read-modify-write of an atomic, such as the unlock
// of a spin_lock. On x86 that is one already, and only the compiler has to be told.
inline void fence_behind_locked() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// await returns what is in `word` once done(that) holds. For what another thread is just about to write: the caller
// gives its CPU away, and does not sleep.
template <class T, class Done>
T await(const std::atomic<T>& word, std::memory_order order, Done done) noexcept {
  T found = word.load(order);
  for (; !done(found); found = word.load(order)) ::sched_yield();
  return found;
}

}  // namespace weft::inline v0::sched
