// Calls that move no bytes of their own: foreign system calls, and waiting for a direction without a buffer.
#include "call_loop.hpp"
#include "memory_link.hpp"
#include "open_file.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cerrno>
#include <optional>

#include <poll.h>

namespace weft::inline v0::poll {

descriptor::outcome descriptor::call(mode m, turns t, long (*attempt)(void* context, int fd), void* context) noexcept {
  open_file& file = open_file::of(*this);
  return call_loop(file, m, t, [&]() noexcept { return attempt(context, file.fd); });
}

descriptor::outcome descriptor::call_again(mode m, turns t, long (*attempt)(void* context, int fd),
                                           void* context) noexcept {
  constexpr sched::nanotime millisecond = 1'000'000;
  open_file& file = open_file::of(*this);
  if (!file.incref()) return {0, closed};  // pinned between the calls, too
  sched::nanotime pause = millisecond;
  outcome result;
  bool again = false;
  do {
    std::optional<sched::deadline_link> next_try;  // made when there is something to wait for
    result = call_loop(file, m, t, [&]() noexcept {
      const long r = attempt(context, file.fd);
      next_try.reset();
      if (r == -EAGAIN) next_try.emplace(sched::after(pause), scheduler());
      return r;
    });
    again = result.error == canceled && next_try && next_try->passed();
    next_try.reset();
    pause = std::min(2 * pause, 64 * millisecond);
  } while (again && !sched::stop_requested());
  file.decref();
  return result;
}

sched::scheduler* descriptor::scheduler() const noexcept {
  return open_file::of(const_cast<descriptor&>(*this)).pd->home.owner().scheduler();
}

// An edge may be spurious, and one that announced what is still there will not come again: so the system is asked for
// the present state after each reset and after each edge.
int descriptor::wait_ready(mode m) noexcept {
  open_file& file = open_file::of(*this);
  const short wanted = m == mode::read ? POLLIN | POLLPRI | POLLRDHUP : POLLOUT;
  const auto ready_now = [&]() noexcept {
    if (file.memory != nullptr) [[unlikely]] {
      return m == mode::read ? file.memory->readable(file.end) : file.memory->writable(file.end);
    }
    pollfd now{file.fd, wanted, 0};
    const long r = sched::sys_call(::poll, &now, nfds_t{1}, 0);
    return r != 0 ? r : -EAGAIN;
  };
  if (sched::stop_requested()) return canceled;
  int error = file.lock(m);
  if (error != ok) return error;
  error = m == mode::read ? begin_read(file) : file.pd->reset(m);
  while (error == ok && !file.blocks) {
    const long r = file.try_once(ready_now);
    if (r > 0) break;
    error = r == -EAGAIN ? file.wait(m) : static_cast<int>(-r);
  }
  if (file.memory != nullptr && m == mode::read) [[unlikely]] file.memory->wants(file.end, false);
  file.unlock(m);
  return error;
}

}  // namespace weft::inline v0::poll
