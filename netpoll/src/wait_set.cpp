// A wait_set is an epoll instance of its own, which the poller watches like any other file.
#include <weft/netpoll/wait_set.hpp>

#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include <sys/epoll.h>
#include <unistd.h>

namespace weft::inline v0::poll {

int wait_set::open(std::shared_ptr<poller> p) noexcept {
  const long fd = sched::sys_call(::epoll_create1, EPOLL_CLOEXEC);
  if (fd < 0) return static_cast<int>(-fd);
  int error = ok;
  descriptor_ = descriptor::open(std::move(p), static_cast<int>(fd), kind::other, error);
  if (descriptor_ == nullptr) {
    sched::sys_call(::close, static_cast<int>(fd));
    return error;
  }
  fd_ = static_cast<int>(fd);
  return ok;
}

int wait_set::watch(int fd, unsigned what) noexcept {
  epoll_event ev{};
  ev.data.fd = fd;
  if ((what & readable) != 0) ev.events |= EPOLLIN;
  if ((what & writable) != 0) ev.events |= EPOLLOUT;
  if (what == 0) return static_cast<int>(-sched::sys_call(::epoll_ctl, fd_, EPOLL_CTL_DEL, fd, &ev));
  const long changed = sched::sys_call(::epoll_ctl, fd_, EPOLL_CTL_MOD, fd, &ev);
  if (changed != -ENOENT) return static_cast<int>(-changed);
  return static_cast<int>(-sched::sys_call(::epoll_ctl, fd_, EPOLL_CTL_ADD, fd, &ev));
}

int wait_set::wait(event* events, std::size_t n, sched::nanotime until, std::size_t& count) noexcept {
  count = 0;
  int error = descriptor_->set_deadline(side::read, until);
  if (error == ok) error = descriptor_->wait_ready(mode::read);
  if (error == timed_out) return ok;
  if (error != ok) return error;
  epoll_event seen[16];
  const int most = static_cast<int>(std::min(n, std::size(seen)));
  const long got = sched::sys_call(::epoll_wait, fd_, seen, most, 0);
  if (got < 0) return got == -EINTR ? ok : static_cast<int>(-got);
  for (; count < static_cast<std::size_t>(got); ++count) {
    const epoll_event& ev = seen[count];
    events[count] = {ev.data.fd, 0};
    if ((ev.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) events[count].what |= readable;
    if ((ev.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) events[count].what |= writable;
  }
  return ok;
}

}  // namespace weft::inline v0::poll
