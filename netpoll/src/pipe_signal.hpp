// pipe_signal: writes to what is no socket, without SIGPIPE.
#pragma once

#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <cerrno>

#include <signal.h>

namespace weft::inline v0::poll {

// without_sigpipe makes a system call that would raise SIGPIPE in its thread when the reader has gone, and leaves of it
// only -EPIPE. Sockets have MSG_NOSIGNAL for that. Workers block the signal for good; a plain thread has it blocked
// for the call, and one that the call raised is taken back, unless one was pending before.
template <class Call>
long without_sigpipe(Call call) noexcept {
  if (sched::on_worker()) return call();
  sigset_t pipe_only;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigset_t pending;
  sigpending(&pending);
  if (sigismember(&pending, SIGPIPE) == 1) return call();  // blocked by the caller, and one more changes nothing
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  const long result = call();
  if (result == -EPIPE) {
    const timespec at_once{};
    while (sched::sys_call(::sigtimedwait, &pipe_only, nullptr, &at_once) == -EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

}  // namespace weft::inline v0::poll
