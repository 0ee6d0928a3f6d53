#include "memory_link.hpp"

#include "open_file.hpp"
#include "poll_cache.hpp"

#include <weft/sched/park.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include <sys/uio.h>

namespace weft::inline v0::poll {

namespace {

constexpr std::size_t most_under_lock = std::size_t{64} << 10;  // guessed: some microseconds of copying

// poke is the poller's part, for an event that the program made itself.
void poke(poll_desc& pd, mode m) noexcept {
  if (const sched::waiter w = pd.gate_of(m).netpollunblock(unblock::edge)) {
    sched::ready(w);
    pd.home.lower_waiters(1);
  }
  if (pd.watchers.load(std::memory_order_seq_cst) != nullptr) pd.tell_watchers(m == mode::read, m == mode::write);
}

}  // namespace

long memory_link::take(int end, cursor to) noexcept {
  side& peer = ends_[1 - end];
  std::size_t count = 0;
  {
    const std::lock_guard guard(lock_);
    if (peer.closed) return 0;
    if (!peer.offers || peer.left == 0) {
      ends_[end].waits = true;
    } else {
      to.skip_empty();
      while (to.at != to.end && peer.left > 0 && count < most_under_lock) {
        const cursor& from = peer.from;
        const std::size_t n =
            std::min({to.at->iov_len - to.offset, from.at->iov_len - from.offset, most_under_lock - count});
        std::memcpy(static_cast<char*>(to.at->iov_base) + to.offset,
                    static_cast<const char*>(from.at->iov_base) + from.offset, n);
        to.advance(n);
        peer.from.advance(n);
        peer.left -= n;
        count += n;
      }
      if (peer.left > 0) return static_cast<long>(count);
    }
  }
  poke(*peer.pd, mode::write);  // all is taken, or somebody waits for a write
  return count > 0 ? static_cast<long>(count) : -EAGAIN;
}

long memory_link::offer(int end, cursor from, std::size_t total) noexcept {
  {
    const std::lock_guard guard(lock_);
    if (ends_[1 - end].closed) return -EPIPE;
    from.skip_empty();
    ends_[end].from = from;
    ends_[end].left = total;
    ends_[end].offers = true;
  }
  poke(*ends_[1 - end].pd, mode::read);
  return 0;
}

long memory_link::offered(int end) noexcept {
  const std::lock_guard guard(lock_);
  if (ends_[end].left == 0) return 0;
  return ends_[1 - end].closed ? -EPIPE : -EAGAIN;
}

std::size_t memory_link::withdraw(int end) noexcept {
  const std::lock_guard guard(lock_);
  ends_[end].offers = false;
  return ends_[end].left;
}

long memory_link::readable(int end) noexcept {
  const std::lock_guard guard(lock_);
  const side& peer = ends_[1 - end];
  return peer.closed || (peer.offers && peer.left > 0) ? 1 : -EAGAIN;
}

long memory_link::writable(int end) noexcept {
  const std::lock_guard guard(lock_);
  const side& peer = ends_[1 - end];
  return peer.closed || peer.waits || peer.watchers != 0 ? 1 : -EAGAIN;
}

void memory_link::watch(int end, bool yes) noexcept {
  {
    const std::lock_guard guard(lock_);
    yes ? ++ends_[end].watchers : --ends_[end].watchers;
  }
  if (yes) poke(*ends_[1 - end].pd, mode::write);
}

void memory_link::wants(int end, bool yes) noexcept {
  {
    const std::lock_guard guard(lock_);
    ends_[end].waits = yes;
  }
  if (yes) poke(*ends_[1 - end].pd, mode::write);
}

bool memory_link::peer_closed(int end) noexcept {
  const std::lock_guard guard(lock_);
  return ends_[1 - end].closed;
}

void memory_link::close_end(int end) noexcept {
  {
    const std::lock_guard guard(lock_);
    ends_[end].closed = true;
  }
  poke(*ends_[1 - end].pd, mode::read);
  poke(*ends_[1 - end].pd, mode::write);
}

io_result memory_read(open_file& file, const iovec* buffers, std::size_t n) noexcept {
  if (sched::stop_requested()) return {0, canceled};
  io_result result;
  result.error = file.lock(mode::read);
  if (result.error != ok) return result;
  memory_link& link = *file.memory;
  result.error = file.pd->reset(mode::read);
  while (result.error == ok) {
    const long r = link.take(file.end, {buffers, buffers + n});
    if (r >= 0) {
      result.count = static_cast<std::size_t>(r);
      break;
    }
    result.error = file.wait(mode::read);
  }
  link.wants(file.end, false);
  // The end of the stream comes before a deadline that has passed.
  if (result.error == timed_out && link.peer_closed(file.end)) result.error = ok;
  file.unlock(mode::read);
  return result;
}

io_result memory_write(open_file& file, const iovec* buffers, std::size_t n) noexcept {
  if (sched::stop_requested()) return {0, canceled};
  std::size_t total = 0;
  for (std::size_t i = 0; i < n; ++i) total += buffers[i].iov_len;
  io_result result;
  result.error = file.lock(mode::write);
  if (result.error != ok) return result;
  memory_link& link = *file.memory;
  result.error = file.pd->reset(mode::write);
  if (result.error == ok) {
    long r = link.offer(file.end, {buffers, buffers + n}, total);
    if (r == 0) {
      while ((r = link.offered(file.end)) == -EAGAIN && (result.error = file.wait(mode::write)) == ok) {
      }
      result.count = total - link.withdraw(file.end);
    }
    if (r == -EPIPE) result.error = EPIPE;
    // A reader may have been quicker than whatever ended the wait.
    if (total > 0 && result.count == total) result.error = ok;
  }
  if (result.error == timed_out && link.peer_closed(file.end)) result.error = EPIPE;
  file.unlock(mode::write);
  return result;
}

}  // namespace weft::inline v0::poll
