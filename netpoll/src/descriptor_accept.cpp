// How connections begin: accept and the end of connect.
#include "call_loop.hpp"
#include "open_file.hpp"

#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <cerrno>

#include <sys/socket.h>

namespace weft::inline v0::poll {

using sched::sys_call;

namespace {

// try_accept takes one connection from the queue: its number, or -errno. Skips those that were aborted in the queue.
long try_accept(int fd, sockaddr* peer, unsigned* peer_size) noexcept {
  for (;;) {
    socklen_t size = peer_size != nullptr ? *peer_size : 0;
    const long r = sys_call(::accept4, fd, peer, peer != nullptr ? &size : nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (r == -EINTR || r == -ECONNABORTED || r == -EPROTO) continue;
    if (r >= 0 && peer_size != nullptr) *peer_size = size;
    return r;
  }
}

}  // namespace

// Acceptors don't wait for one another while connections are queued. Who finds the queue empty takes the read lock, and
// then one edge for many connections is enough: whoever gets one leaves the lock, and that wakes the next, who tries
// before it parks.
descriptor::accepted descriptor::accept(sockaddr* peer, unsigned* peer_size) noexcept {
  open_file& file = open_file::of(*this);
  const outcome r =
      call_loop(file, mode::read, turns::shared, [&]() noexcept { return try_accept(file.fd, peer, peer_size); });
  if (r.error != ok) return {-1, r.error};
  return {static_cast<int>(r.value), ok};
}

// Writability alone proves nothing: it may be the echo of the number's former owner, or of the registration. Connected
// is what has no pending error and a peer. No reset, as no system call precedes the wait.
int descriptor::finish_connect() noexcept {
  open_file& file = open_file::of(*this);
  if (sched::stop_requested()) return canceled;
  int error = file.lock(mode::write);
  if (error != ok) return error;
  for (;;) {
    error = file.pd->wait(mode::write);
    if (error != ok) break;
    int pending = 0;
    socklen_t size = sizeof pending;
    const long r = sys_call(::getsockopt, file.fd, SOL_SOCKET, SO_ERROR, &pending, &size);
    if (r < 0) pending = static_cast<int>(-r);
    if (pending == EISCONN) break;
    if (pending == EINPROGRESS || pending == EALREADY || pending == EINTR) continue;
    if (pending != 0) {
      error = pending;
      break;
    }
    sockaddr_storage peer;
    size = sizeof peer;
    if (sys_call(::getpeername, file.fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0) break;
  }
  file.unlock(mode::write);
  return error;
}

}  // namespace weft::inline v0::poll
