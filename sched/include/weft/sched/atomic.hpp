// atomic: the words that the library's protocols are made of. One name for them all, in whose place another build may
// put words that it watches.
#pragma once

#include <atomic>

#include <sched.h>

namespace weft::inline v0::sched {

using std::atomic;

// await returns what is in `word` once done(that) holds. For what another thread is just about to write: the caller
// gives its CPU away, and does not sleep.
template <class T, class Done>
T await(const std::atomic<T>& word, std::memory_order order, Done done) noexcept {
  T found = word.load(order);
  for (; !done(found); found = word.load(order)) ::sched_yield();
  return found;
}

}  // namespace weft::inline v0::sched
