#include <weft/semaphore.hpp>

#include "stoppable_wait.hpp"

#include <weft/sched/fatal.hpp>

namespace weft::inline v0::detail {

bool semaphore_core::try_acquire() noexcept {
  std::ptrdiff_t n = permits_.load(std::memory_order_seq_cst);  // O1
  while (n > 0) {
    if (permits_.compare_exchange_weak(n, n - 1, std::memory_order_seq_cst)) return true;  // O2
  }
  return false;
}

sched::verdict semaphore_core::take() noexcept {
  for (;;) {
    if (sched::stop_requested()) return sched::verdict::canceled;
    if (try_acquire()) return sched::verdict::done;
    guard_.lock();
    waiters_.fetch_add(1, std::memory_order_seq_cst);  // O1
    if (try_acquire()) {
      waiters_.fetch_sub(1, std::memory_order_relaxed);
      guard_.unlock();
      return sched::verdict::done;
    }
    sched::lone_node n;
    queue_.push(n);
    if (sched::wait_in(queue_, n, guard_, {sched::wait_reason::semaphore, this}) == sched::verdict::done) return sched::verdict::done;
    waiters_.fetch_sub(1, std::memory_order_relaxed);  // too high for a moment costs a release its look at the queue
  }
}

void semaphore_core::acquire() {
  if (take() == sched::verdict::canceled) throw_canceled("acquire semaphore");
}

bool semaphore_core::acquire_until(sched::nanotime until) {
  return try_acquire() || done_in_time(until, "acquire semaphore", [this] { return take(); });
}

void semaphore_core::release(std::ptrdiff_t n, std::ptrdiff_t most) noexcept {
  const std::ptrdiff_t before = permits_.fetch_add(n, std::memory_order_seq_cst);  // O1, O2
  if (n < 0 || before > most - n) {
    sched::fatal("semaphore: %lld permits and %lld more are above its maximum of %lld", static_cast<long long>(before),
                 static_cast<long long>(n), static_cast<long long>(most));
  }
  if (waiters_.load(std::memory_order_seq_cst) == 0) return;  // O1
  sched::wake_list wake;
  guard_.lock();
  while (!queue_.empty() && try_acquire()) {
    sched::wait_node* const first = queue_.claim();
    if (first == nullptr) {  // those that were there have been stopped
      permits_.fetch_add(1, std::memory_order_seq_cst);
      break;
    }
    waiters_.fetch_sub(1, std::memory_order_relaxed);
    wake.add(*first, sched::verdict::done);
  }
  guard_.unlock();
  wake.deliver();
}

}  // namespace weft::inline v0::detail
