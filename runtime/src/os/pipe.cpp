#include <weft/os/pipe.hpp>

#include "../adopt.hpp"
#include "../io_error.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace weft::inline v0::os {

failed_operation detail::pipe_name::describe() const { return {{}, "pipe", {}, {}}; }

pipe_ends pipe(std::error_code& ec) noexcept {
  pipe_ends ends;
  const std::shared_ptr<poll::poller> poller = current_poller();
  if (poller == nullptr) {
    ec = errc::no_runtime;
    return ends;
  }
  int fds[2];
  if (const long r = sched::sys_call(::pipe2, fds, O_CLOEXEC | O_NONBLOCK); r < 0) {
    ec = to_error_code(static_cast<int>(-r));
    return ends;
  }
  int error = adopt(poller, fds[0], poll::kind::other, ends.reader);
  if (error == poll::ok) {
    error = adopt(poller, fds[1], poll::kind::other, ends.writer);
  } else {
    sched::sys_call(::close, fds[1]);
  }
  ec = to_error_code(error);
  return error == poll::ok ? std::move(ends) : pipe_ends();
}

pipe_ends pipe() {
  std::error_code ec;
  pipe_ends ends = pipe(ec);
  if (ec) throw_failure(ec, {"make", "pipe", {}, {}});
  return ends;
}

}  // namespace weft::inline v0::os
