#include <weft/os/signal.hpp>

#include "../adopt.hpp"
#include "../io_error.hpp"
#include "signal_slot.hpp"

#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <mutex>
#include <string>
#include <utility>

namespace weft::inline v0::os {

namespace {

using detail::signal_slot;
using sched::sys_call;

constexpr int most_signals = 64;

// Constant-initialised and never destroyed: a handler may run at any time.
constinit std::array<signal_slot, 64> slots;

// Registration; not touched by the handler. Nothing suspends under the mutex.
constinit std::mutex registry_mutex;
constinit std::array<bool, 64> slot_taken{};           // guarded by registry_mutex
constinit std::array<unsigned, most_signals> users{};  // guarded by registry_mutex: sets that name a signal
std::array<struct sigaction, most_signals> replaced;   // guarded by registry_mutex: what was there before

constexpr std::uint64_t bit_of(int signal) noexcept { return std::uint64_t{1} << (signal - 1); }

extern "C" void weft_signal_arrived(int signal) {
  const sched::keep_errno keep;
  const std::uint64_t bit = bit_of(signal);
  for (signal_slot& s : slots) {
    if (s.note(bit)) {
      const char any = 0;
      // Full (EAGAIN) means readable already.
      sys_call(::write, s.fd.load(std::memory_order_seq_cst), static_cast<const void*>(&any), sizeof any);
    }
    s.done();
  }
}

bool can_be_waited_for(int signal) noexcept {
  if (signal < 1 || signal > most_signals) return false;
  for (const int fault : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
    if (signal == fault) return false;
  }
  return true;
}

// discard_pending takes what has been sent to the process, or this thread, and is not delivered yet: it belongs to the
// sets, and would meet what the process did before them, its end perhaps.
void discard_pending(int signal) noexcept {
  sigset_t it;
  sigset_t before;
  sigemptyset(&it);
  sigaddset(&it, signal);
  pthread_sigmask(SIG_BLOCK, &it, &before);
  constexpr timespec at_once{};
  while (sys_call(::sigtimedwait, &it, static_cast<siginfo_t*>(nullptr), &at_once) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void restore_locked(std::uint64_t signals) noexcept {
  for (int n = 1; n <= most_signals; ++n) {
    if ((signals & bit_of(n)) == 0) continue;
    const auto i = static_cast<std::size_t>(n - 1);
    if (--users[i] != 0) continue;
    discard_pending(n);
    ::sigaction(n, &replaced[i], nullptr);
  }
}

// install_locked makes the handler see the signals; 0 or an errno value, and nothing has changed.
int install_locked(std::uint64_t signals) noexcept {
  struct sigaction action {};
  action.sa_handler = &weft_signal_arrived;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  std::uint64_t done = 0;
  for (int n = 1; n <= most_signals; ++n) {
    if ((signals & bit_of(n)) == 0) continue;
    const auto i = static_cast<std::size_t>(n - 1);
    if (users[i] == 0) {
      if (const long r = sys_call(::sigaction, n, &action, &replaced[i]); r < 0) {
        restore_locked(done);
        return static_cast<int>(-r);
      }
    }
    ++users[i];
    done |= bit_of(n);
  }
  return 0;
}

// take_slot gives a slot that wants the signals and writes to fd; null, and an errno value.
signal_slot* take_slot(std::uint64_t signals, int fd, int& error) noexcept {
  const std::lock_guard lock(registry_mutex);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slot_taken[i]) continue;
    signal_slot& s = slots[i];
    s.pending.store(0, std::memory_order_seq_cst);
    s.fd.store(fd, std::memory_order_seq_cst);
    s.wanted.store(signals, std::memory_order_seq_cst);  // before the handler: the first signal counts already
    error = install_locked(signals);
    if (error == 0) {
      slot_taken[i] = true;
      return &s;
    }
    s.wanted.store(0, std::memory_order_seq_cst);
    return nullptr;
  }
  error = ENOSPC;
  return nullptr;
}

// retire_locked ends the handler's use of s; idempotent.
void retire_locked(signal_slot& s) noexcept {
  restore_locked(s.wanted.exchange(0, std::memory_order_seq_cst));  // O1
  while (s.busy.load(std::memory_order_seq_cst) != 0) sys_call(::sched_yield);
}

void retire(signal_slot* s) noexcept {
  if (s == nullptr) return;
  const std::lock_guard lock(registry_mutex);
  retire_locked(*s);
}

}  // namespace

void detail::signal_slot_release::operator()(signal_slot* s) const noexcept {
  const std::lock_guard lock(registry_mutex);
  retire_locked(*s);
  sys_call(::close, s->fd.exchange(-1, std::memory_order_seq_cst));
  slot_taken[static_cast<std::size_t>(s - slots.data())] = false;
}

failed_operation detail::signal_name::describe() const { return {{}, "signal", {}, {}}; }

signal_set::signal_set(std::initializer_list<int> signals) {
  std::uint64_t wanted = 0;
  for (const int n : signals) {
    if (!can_be_waited_for(n)) {
      throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                              "signal set: signal " + std::to_string(n));
    }
    wanted |= bit_of(n);
  }
  std::shared_ptr<poll::poller> poller = current_poller();
  std::error_code code = errc::no_runtime;
  if (poller != nullptr) {
    int ends[2];
    const long r = sys_call(::pipe2, ends, O_CLOEXEC | O_NONBLOCK);
    int error = static_cast<int>(-r);
    if (r >= 0) {
      error = adopt(std::move(poller), ends[0], poll::kind::other, *this);
      if (error == poll::ok) slot_.reset(take_slot(wanted, ends[1], error));
      if (error != poll::ok) sys_call(::close, ends[1]);
    }
    code = to_error_code(error);
  }
  if (code) throw_failure(code, {"make", "signal set", {}, {}});
}

void signal_set::close() {
  retire(slot_.get());
  io::handle_calls<signal_set>::close();
}
void signal_set::close(std::error_code& ec) noexcept {
  retire(slot_.get());
  io::handle_calls<signal_set>::close(ec);
}

int signal_set::try_wait() noexcept { return slot_ != nullptr ? slot_->take() : 0; }

namespace {

// wait_on takes a signal of the slot, reading the pipe, which parks, while there is none. In one call, which pins the
// descriptor.
auto wait_on(signal_slot* slot, int& signal) noexcept {
  return [slot, &signal](poll::descriptor& d) {
    auto attempt = [&](int fd) noexcept -> long {
      for (;;) {
        if ((signal = slot->take()) != 0) return 0;
        char marks[64];
        if (const long n = sys_call(::read, fd, static_cast<void*>(marks), sizeof marks); n < 0) return n;
      }
    };
    return d
        .call(
            poll::mode::read, poll::turns::ordered,
            [](void* a, int fd) -> long { return (*static_cast<decltype(attempt)*>(a))(fd); }, &attempt)
        .error;
  };
}

}  // namespace

int signal_set::wait() {
  int signal = 0;
  io::detail::throwing(*this, "wait for", wait_on(slot_.get(), signal));
  return signal;
}
int signal_set::wait(std::error_code& ec) noexcept {
  int signal = 0;
  io::detail::reporting(*this, ec, wait_on(slot_.get(), signal));
  return signal;
}

}  // namespace weft::inline v0::os
