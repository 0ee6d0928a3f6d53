// A dump when a signal asks for it: the handler tells a monitor, a thread that is never stuck in a fiber.
#include "reports.hpp"

#include <weft/sched/sys.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

#include <sched.h>
#include <signal.h>

namespace weft::inline v0::debug {

namespace {

// Process-wide, as signals are. A place is taken by a scheduler, and by a signal.
// Orderings  the handler: raise `inside`, load a place || no_dump_on_signal: clear the place, wait until nobody is inside.
//            Store-load on both sides: seq_cst.
struct place {
  std::atomic<sched::scheduler*> of{nullptr};
  std::atomic<int> number{0};
};
constinit std::array<place, 16> places{};
constinit std::atomic<unsigned> inside{0};

std::mutex lock;
struct sigaction before[NSIG];  // guarded by lock; of a number that a place has

void on_signal(int number) noexcept {
  const sched::keep_errno kept;
  inside.fetch_add(1, std::memory_order_seq_cst);
  for (place& p : places) {
    if (p.number.load(std::memory_order_seq_cst) != number) continue;
    if (sched::scheduler* const s = p.of.load(std::memory_order_seq_cst)) {
      sched::ask_report(*s);
      break;  // one dump shows all runtimes
    }
  }
  inside.fetch_sub(1, std::memory_order_release);
}

unsigned users_locked(int number) noexcept {
  unsigned n = 0;
  for (const place& p : places) n += p.number.load(std::memory_order_relaxed) == number ? 1 : 0;
  return n;
}

}  // namespace

int dump_on_signal(int number, sched::scheduler& s) noexcept {
  const std::lock_guard guard(lock);
  for (place& p : places) {
    if (p.number.load(std::memory_order_relaxed) != 0) continue;
    if (number < 1 || number >= NSIG) return EINVAL;
    if (users_locked(number) == 0) {
      struct sigaction mine {};
      mine.sa_handler = on_signal;
      mine.sa_flags = SA_RESTART | SA_ONSTACK;
      sigemptyset(&mine.sa_mask);
      if (const long error = sched::sys_call(::sigaction, number, &mine, &before[number]); error != 0) {
        return static_cast<int>(-error);
      }
    }
    p.of.store(&s, std::memory_order_seq_cst);
    p.number.store(number, std::memory_order_seq_cst);
    return 0;
  }
  return EBUSY;
}

void no_dump_on_signal(int number, sched::scheduler& s) noexcept {
  const std::lock_guard guard(lock);
  for (place& p : places) {
    if (p.number.load(std::memory_order_relaxed) != number || p.of.load(std::memory_order_relaxed) != &s) continue;
    p.number.store(0, std::memory_order_seq_cst);
    p.of.store(nullptr, std::memory_order_seq_cst);
    if (users_locked(number) == 0) ::sigaction(number, &before[number], nullptr);
    while (inside.load(std::memory_order_acquire) != 0) ::sched_yield();
    return;
  }
}

}  // namespace weft::inline v0::debug
