// The epoll backend: the only place that knows epoll and eventfd.
#include <weft/netpoll/poller.hpp>

#include <weft/sched/fatal.hpp>
#include <weft/sched/sys.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <new>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::inline v0::poll {

namespace {

using sched::sys_call;

// What the kernel of every architecture takes where libc's timespec may still have 32 bits.
struct kernel_timespec {
  std::int64_t seconds;
  std::int64_t nanoseconds;
};

constexpr std::int64_t ns_per_ms = 1'000'000;
constexpr std::int64_t ns_per_s = 1'000'000'000;
// The longest single wait, 11.5 days (Go's): far from the overflow of any kernel's conversion. The caller comes again.
constexpr sched::nanotime longest_wait = 1'000'000'000 * ns_per_ms;

// netpollWakeSig: breaks in flight
// States     0  none   1  an eventfd write is done or under way, and no poll that waits has drained it since
//            0 -> 1 netpollbreak, who then writes    1 -> 0 a netpoll with a delay that saw the event, after draining
// Ownership  The winner of 0 -> 1 writes; losers rely on that write. Only a poll with a delay drains: to one without
//            delay the event is somebody else's, and the level-triggered eventfd shows it again.
// Invariants I1 1 => the eventfd is readable, soon will be, or its event is in the hands of a poll with a delay
// Orderings  O1 a break lost between draining and the store of 0 is absorbed by the netpoll that is returning:
//               its caller looks through every queue and timer again before it sleeps. seq_cst on both sides puts
//               whatever the breaker published before its CAS in front of that look.
// Not here   who has to be woken for what (the scheduler)
class epoll_poller final : public poller {
 public:
  epoll_poller() noexcept = default;
  ~epoll_poller() override {
    if (wake_fd_ >= 0) (void)sys_call(::close, wake_fd_);
    if (epoll_fd_ >= 0) (void)sys_call(::close, epoll_fd_);
  }

  int init() noexcept {
    if (cache() == nullptr) return ENOMEM;
    long r = sys_call(::epoll_create1, EPOLL_CLOEXEC);
    if (r < 0) return static_cast<int>(-r);
    epoll_fd_ = static_cast<int>(r);
    r = sys_call(::eventfd, 0u, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r < 0) return static_cast<int>(-r);
    wake_fd_ = static_cast<int>(r);
    epoll_event ev{};
    ev.events = EPOLLIN;  // level-triggered: see netpollWakeSig
    ev.data.u64 = no_key;
    r = sys_call(::epoll_ctl, epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &ev);
    return static_cast<int>(-r);
  }

  void netpoll(sched::nanotime delay, sched::ready_list& out) noexcept override;
  void netpollbreak() noexcept override;

  int netpollopen(int fd, std::uint64_t key) noexcept override {
    epoll_event ev{};
    ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    ev.data.u64 = key;
    return static_cast<int>(-sys_call(::epoll_ctl, epoll_fd_, EPOLL_CTL_ADD, fd, &ev));
  }

  // Explicit, since a duplicate of the number elsewhere would keep the registration alive after close.
  int netpollclose(int fd) noexcept override {
    epoll_event ignored{};
    return static_cast<int>(-sys_call(::epoll_ctl, epoll_fd_, EPOLL_CTL_DEL, fd, &ignored));
  }

 private:
  long wait_for_events(epoll_event* events, int n, sched::nanotime delay) noexcept;
  void drain() noexcept;

  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  std::atomic<bool> has_pwait2_{true};
  std::atomic<std::uint32_t> netpollWakeSig_{0};
};

// Waits are exact: epoll_pwait2 (Linux 5.11), or milliseconds rounded up, so that no timer is looked at early and then
// waited for once more.
long epoll_poller::wait_for_events(epoll_event* events, int n, sched::nanotime delay) noexcept {
  if (delay == 0) return sys_call(::epoll_wait, epoll_fd_, events, n, 0);
  if (delay < 0 || delay == sched::never) return sys_call(::epoll_wait, epoll_fd_, events, n, -1);
  if (delay > longest_wait) delay = longest_wait;
#ifdef SYS_epoll_pwait2
  if (has_pwait2_.load(std::memory_order_relaxed)) {  // a hint; being late costs one refused call
    const kernel_timespec t{delay / ns_per_s, delay % ns_per_s};
    const long r = sys_call(::syscall, long{SYS_epoll_pwait2}, epoll_fd_, events, n, &t, nullptr, std::size_t{8});
    if (r != -ENOSYS && r != -EPERM) return r;  // EPERM: a sandbox that doesn't know the call
    has_pwait2_.store(false, std::memory_order_relaxed);
  }
#endif
  return sys_call(::epoll_wait, epoll_fd_, events, n, static_cast<int>((delay + ns_per_ms - 1) / ns_per_ms));
}

void epoll_poller::netpoll(sched::nanotime delay, sched::ready_list& out) noexcept {
  epoll_event events[sched::ready_list::max_events];
  long n;
  for (;;) {
    n = wait_for_events(events, sched::ready_list::max_events, delay);
    if (n >= 0) break;
    if (n != -EINTR) sched::fatal("epoll_wait failed with error %ld", -n);
    if (delay > 0 && delay != sched::never) return;  // the caller computes what is left of it
  }
  // A full buffer isn't asked for more: the kernel turns its list, the rest comes with the next call.
  for (long i = 0; i < n; ++i) {
    const epoll_event& ev = events[i];
    const std::uint32_t e = ev.events;
    if (e == 0) continue;
    if (ev.data.u64 == no_key) {
      if (e != EPOLLIN) sched::fatal("netpollbreak: the eventfd reports %#x", e);
      if (delay != 0) drain();
      continue;
    }
    unsigned what = 0;
    if ((e & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) what |= readable;
    if ((e & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) what |= writable;
    if ((e & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) what |= unusual;
    if (e == EPOLLERR) what |= bare_error;
    if (what != 0) netpollready(ev.data.u64, what, out);
  }
}

void epoll_poller::drain() noexcept {
  std::uint64_t count;
  long r;
  do {
    r = sys_call(::read, wake_fd_, &count, sizeof count);
  } while (r == -EINTR);
  // EAGAIN: a sleeper before us drained it and this was a second look at the same event.
  if (r < 0 && r != -EAGAIN) sched::fatal("netpollbreak: reading the eventfd failed with error %ld", -r);
  netpollWakeSig_.store(0, std::memory_order_seq_cst);  // O1
}

void epoll_poller::netpollbreak() noexcept {
  std::uint32_t none = 0;
  if (!netpollWakeSig_.compare_exchange_strong(none, 1, std::memory_order_seq_cst, std::memory_order_seq_cst)) {  // O1
    return;
  }
  const std::uint64_t one = 1;
  long r;
  do {
    r = sys_call(::write, wake_fd_, &one, sizeof one);
  } while (r == -EINTR);
  // EAGAIN: the counter is full, so the eventfd is readable.
  if (r < 0 && r != -EAGAIN) sched::fatal("netpollbreak: writing the eventfd failed with error %ld", -r);
}

}  // namespace

std::shared_ptr<poller> make_epoll_poller(int& error) noexcept {
  auto* made = new (std::nothrow) epoll_poller;
  error = made == nullptr ? ENOMEM : made->init();
  if (error != 0) {
    delete made;
    return nullptr;
  }
  return std::shared_ptr<poller>(made);
}

}  // namespace weft::inline v0::poll
