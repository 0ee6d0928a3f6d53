// call_loop: one system call, made again until it comes to something.
#pragma once

#include "open_file.hpp"

#include <weft/sched/park.hpp>

#include <cerrno>
#include <cstdint>

namespace weft::inline v0::poll {

// begin_read begins a read: by reset, or, if the socket was empty after the last one, by waiting at once. The wait
// takes the same look at deadline and close as reset does, but forgets no edge: that edge is what it is waiting for.
// REQUIRES: the read lock is held.
inline int begin_read(open_file& file) noexcept {
  const bool park_first = file.elidable();
  file.drained = false;
  return park_first ? file.wait(mode::read) : file.pd->reset(mode::read);
}

// What an ordered call in the read direction begins with. A read of ours may wait first if the socket is known to be
// empty; a call of somebody else's need not be a read, and may succeed on an empty socket.
enum class beginning : std::uint8_t { attempt, read };

// call_loop makes attempt() (its result or -errno) until it need not wait. In shared turns the first try takes no
// direction, so that callers don't stand in line while there is something for each. It doesn't reset: the edge that it
// would forget belongs to whoever has the direction's lock.
template <class Attempt>
descriptor::outcome call_loop(open_file& file, mode m, turns t, Attempt attempt,
                              beginning begin = beginning::attempt) noexcept {
  if (sched::stop_requested()) return {0, canceled};
  int error;
  if (t == turns::shared) {
    if (!file.incref()) return {0, closed};
    error = file.pd->netpollcheckerr(m);
    const long first = error == ok ? file.try_once(attempt) : 0;
    if (first != -EAGAIN) {
      file.decref();
      if (error != ok) return {0, error};
      return first < 0 ? descriptor::outcome{0, static_cast<int>(-first)} : descriptor::outcome{first, ok};
    }
    error = file.lock(m, entry::referenced);
    if (error != ok) return {0, error};
    error = file.pd->reset(m);
  } else {
    error = file.lock(m);
    if (error != ok) return {0, error};
    if (m == mode::read && begin == beginning::read) {
      error = begin_read(file);
    } else {
      if (m == mode::read) file.drained = false;
      error = file.pd->reset(m);
    }
  }
  descriptor::outcome result{0, error};
  while (result.error == ok) {
    const long r = file.try_once(attempt);
    if (r >= 0) {
      result.value = r;
      break;
    }
    result.error = r == -EAGAIN ? file.wait(m) : static_cast<int>(-r);
  }
  file.unlock(m);
  return result;
}

}  // namespace weft::inline v0::poll
