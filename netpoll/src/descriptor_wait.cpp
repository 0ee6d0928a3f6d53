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

long open_file::ready_now(mode m) const noexcept {
  if (memory != nullptr) [[unlikely]] return m == mode::read ? memory->readable(end) : memory->writable(end);
  const short wanted = m == mode::read ? POLLIN | POLLPRI | POLLRDHUP : POLLOUT;
  pollfd now{fd, wanted, 0};
  const long r = uninterrupted([&] { return sched::sys_call(::poll, &now, nfds_t{1}, 0); });
  return r != 0 ? r : -EAGAIN;
}

// An edge may be spurious, and one that announced what is still there will not come again: so the system is asked for
// the present state after each reset and after each edge.
int descriptor::wait_ready(mode m) noexcept {
  open_file& file = open_file::of(*this);
  if (sched::stop_requested()) return canceled;
  int error = file.lock(m);
  if (error != ok) return error;
  error = m == mode::read ? begin_read(file) : file.pd->reset(m);
  bool tell_peer = file.memory != nullptr && m == mode::read;  // that somebody waits, which makes it writable
  const bool told = tell_peer;
  while (error == ok && !file.blocks) {
    const long r = file.ready_now(m);
    if (r > 0) break;
    if (r == -EAGAIN && tell_peer) [[unlikely]] {
      file.memory->wants(file.end, true);
      tell_peer = false;
      continue;
    }
    error = r == -EAGAIN ? file.wait(m) : static_cast<int>(-r);
  }
  if (told) [[unlikely]] file.memory->wants(file.end, false);
  file.unlock(m);
  return error;
}

}  // namespace weft::inline v0::poll
