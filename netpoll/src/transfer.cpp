// Copying inside the system: sendfile, and splice.
#include <weft/netpoll/transfer.hpp>

#include "call_loop.hpp"
#include "open_file.hpp"
#include "pipe_pool.hpp"
#include "pipe_signal.hpp"

#include <weft/sched/blocking.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cerrno>
#include <optional>

#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

namespace weft::inline v0::poll {

using sched::sys_call;

namespace {

constexpr std::uint64_t most_by_sendfile = 0x7ffff000;  // what Linux moves at most in one call
constexpr std::size_t most_by_splice = std::size_t{1} << 20;
// Portions up to this go through memory, on the stack: a read tells that the socket is empty, a splice doesn't, and
// needs one more system call to find out. Guessed; with 64 bytes, a proxy relayed 1.5 times as many requests so.
constexpr std::size_t small_portion = 8192;

enum class sort : std::uint8_t { socket, pipe, file, unsuitable, gone };

sort sort_of(open_file& file) noexcept {
  switch (file.what) {
    case kind::tcp:
    case kind::stream:
      return sort::socket;
    case kind::listener:
    case kind::datagram:
    case kind::memory:
      return sort::unsuitable;
    case kind::other:
    case kind::file:
      break;
  }
  if (file.is_socket) return sort::unsuitable;
  if (!file.incref()) return sort::gone;
  struct stat is;
  const long r = sys_call(::fstat, file.fd, &is);
  file.decref();
  if (r < 0) return sort::unsuitable;
  return S_ISFIFO(is.st_mode) ? sort::pipe : S_ISREG(is.st_mode) ? sort::file : sort::unsuitable;
}

bool refused(int error) noexcept { return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP; }

// keep lets the memory of an open_file last, and only that: a close needn't wait for a transfer that waits for the
// other side.
class keep {
 public:
  explicit keep(open_file& file) noexcept : file_(file) {
    file.owners.fetch_add(1, std::memory_order_relaxed);  // the caller's handle keeps the count from 0
  }
  ~keep() { file_.drop_owner(); }
  keep(const keep&) = delete;
  keep& operator=(const keep&) = delete;

 private:
  open_file& file_;
};

// One transfer: the two files, and what has come of it.
struct transfer_of {
  open_file& target;
  open_file& source;
  std::uint64_t left;
  transfer_result result{};

  void moved(std::size_t n) noexcept {
    result.count += n;
    left -= n;
  }
  void fail(int error, mode side) noexcept {
    if (refused(error)) {
      result.handled = false;
    } else {
      result.error = error;
      result.failed = side;
    }
  }
  std::size_t portion(std::uint64_t most) const noexcept { return static_cast<std::size_t>(std::min(left, most)); }

  // usable_target tells whether the target would take bytes: before any are taken out of the source. The caller has no
  // direction of it.
  int usable_target() noexcept {
    if (!target.incref()) return closed;
    const int error = target.pd->netpollcheckerr(mode::write);
    target.decref();
    return error;
  }

  void send_file() noexcept;
  void splice_directly() noexcept;
  void splice_sockets() noexcept;
  std::size_t through_memory() noexcept;
  std::size_t through_pipe() noexcept;
  int empty_into_target(const pipe_pair& pipe, std::size_t& inside) noexcept;
  int rescue(const pipe_pair& pipe, std::size_t& inside) noexcept;
};

// In one go, as a write: the target is the transfer's until all is sent. The source is pinned for each system call
// only.
void transfer_of::send_file() noexcept {
  bool source_closed = false;
  const descriptor::outcome end = call_loop(target, mode::write, turns::ordered, [&]() noexcept -> long {
    while (left > 0) {
      if (!source.incref()) {
        source_closed = true;
        return 0;
      }
      long n;
      {
        std::optional<sched::blocking_region> others_go_on;
        if (source.blocks) others_go_on.emplace();
        n = without_sigpipe(
            [&]() noexcept { return sys_call(::sendfile, target.fd, source.fd, nullptr, portion(most_by_sendfile)); });
      }
      source.decref();
      if (n <= 0) return n;
      moved(static_cast<std::size_t>(n));
    }
    return 0;
  });
  if (source_closed) return fail(closed, mode::read);
  if (end.error != ok) fail(end.error, mode::write);
}

// Between two files of which one is a pipe. EAGAIN doesn't say which of them isn't ready. The source is waited for in
// the call, where no edge is lost, if it has nothing now; in any other case the target is looked at.
void transfer_of::splice_directly() noexcept {
  constexpr int patience = 16;  // guessed: looks that find both ready, and yet nothing moves
  int in_vain = 0;
  while (left > 0) {
    int target_error = ok;
    bool look_at_target = false;
    const descriptor::outcome r = call_loop(
        source, mode::read, turns::ordered,
        [&]() noexcept -> long {
          if (!target.incref()) {
            target_error = closed;
            return 0;
          }
          long n = 0;
          target_error = target.pd->netpollcheckerr(mode::write);
          if (target_error == ok) {
            n = without_sigpipe([&]() noexcept {
              return sys_call(::splice, source.fd, nullptr, target.fd, nullptr, portion(most_by_splice),
                              unsigned{SPLICE_F_MOVE | SPLICE_F_NONBLOCK});
            });
            if (n == -EAGAIN) {
              pollfd now{source.fd, POLLIN, 0};
              if (sys_call(::poll, &now, nfds_t{1}, 0) != 0) {
                look_at_target = true;
                n = 0;
              }
            }
          }
          target.decref();
          return n;
        },
        beginning::read);
    if (target_error != ok) return fail(target_error, mode::write);
    if (r.error != ok) return fail(r.error, r.error == EPIPE ? mode::write : mode::read);
    if (look_at_target) {
      if (++in_vain > patience) return fail(ENOSYS, mode::read);
      if (const int error = target.wait_ready(mode::write); error != ok) return fail(error, mode::write);
      continue;
    }
    if (r.value == 0) return;
    in_vain = 0;
    moved(static_cast<std::size_t>(r.value));
  }
}

// empty_into_target writes what is in the pipe, in one go.
int transfer_of::empty_into_target(const pipe_pair& pipe, std::size_t& inside) noexcept {
  const descriptor::outcome r = call_loop(target, mode::write, turns::ordered, [&]() noexcept -> long {
    while (inside > 0) {
      // The pipe has bytes, so EAGAIN is the target's.
      const long n = without_sigpipe([&]() noexcept {
        return sys_call(::splice, pipe.out, nullptr, target.fd, nullptr, inside,
                        unsigned{SPLICE_F_MOVE | SPLICE_F_NONBLOCK});
      });
      if (n < 0) return n;
      if (n == 0) return -EIO;
      inside -= static_cast<std::size_t>(n);
      moved(static_cast<std::size_t>(n));
    }
    return 0;
  });
  return r.error;
}

// rescue writes what is in the pipe for a target that knows no splice.
int transfer_of::rescue(const pipe_pair& pipe, std::size_t& inside) noexcept {
  char buffer[4096];
  while (inside > 0) {
    const long n = sys_call(::read, pipe.out, buffer, std::min(inside, sizeof buffer));
    if (n == -EINTR) continue;
    if (n <= 0) return EIO;
    const io_result written = target.write(buffer, static_cast<std::size_t>(n));
    moved(written.count);
    if (written.error != ok) return written.error;
    inside -= static_cast<std::size_t>(n);
  }
  return ok;
}

// through_memory passes on one small portion; how many bytes that was.
std::size_t transfer_of::through_memory() noexcept {
  char buffer[small_portion];
  const std::size_t asked = portion(sizeof buffer);
  int target_error = ok;
  const descriptor::outcome r = call_loop(
      source, mode::read, turns::ordered,
      [&]() noexcept -> long {
        target_error = usable_target();
        if (target_error != ok) return 0;
        const long n = sys_call(::read, source.fd, buffer, asked);
        if (n > 0) source.note_read(static_cast<std::size_t>(n), asked);
        return n;
      },
      beginning::read);
  const auto n = static_cast<std::size_t>(r.value);
  if (target_error != ok) {
    fail(target_error, mode::write);
  } else if (r.error != ok) {
    fail(r.error, mode::read);
  } else if (n > 0) {
    const io_result written = target.write(buffer, n);
    moved(written.count);
    if (written.error != ok) fail(written.error, mode::write);
  }
  return n;
}

// through_pipe passes on one portion of any size. While it waits for the source it has no pipe: an idle connection
// costs no descriptors.
std::size_t transfer_of::through_pipe() noexcept {
  pipe_pool& pool = source.home->cache()->pipes();
  pipe_pair pipe;
  int target_error = ok;
  const descriptor::outcome r = call_loop(
      source, mode::read, turns::ordered,
      [&]() noexcept -> long {
        target_error = usable_target();
        if (target_error != ok) return 0;
        pipe = pool.take();
        if (!pipe.open()) return -ENOSYS;  // no descriptors left
        const long n =
            sys_call(::splice, source.fd, nullptr, pipe.in, nullptr, portion(std::min(most_by_splice, pipe.size)),
                     unsigned{SPLICE_F_MOVE | SPLICE_F_NONBLOCK});
        if (n <= 0) {
          pool.give_back(pipe);
          pipe = {};
        }
        return n;  // the pipe is empty, so EAGAIN is the source's
      },
      beginning::read);
  const auto n = static_cast<std::size_t>(r.value);
  if (target_error != ok) {
    fail(target_error, mode::write);
  } else if (r.error != ok) {
    fail(r.error, mode::read);
  } else if (n > 0) {
    std::size_t inside = n;
    int error = empty_into_target(pipe, inside);
    if (refused(error)) {
      result.handled = false;
      error = rescue(pipe, inside);
    }
    if (inside > 0) {
      pool.destroy(pipe);
    } else {
      pool.give_back(pipe);
    }
    if (error != ok) fail(error, mode::write);
  }
  return n;
}

void transfer_of::splice_sockets() noexcept {
  bool much = false;
  while (left > 0) {
    const std::size_t n = much ? through_pipe() : through_memory();
    if (n == 0 || result.error != ok || !result.handled) return;
    much = n >= small_portion;
  }
}

}  // namespace

transfer_result transfer(descriptor& to, descriptor& from, std::uint64_t limit) noexcept {
  open_file& target = open_file::of(to);
  open_file& source = open_file::of(from);
  const keep target_kept(target);
  const keep source_kept(source);
  transfer_of t{target, source, limit};
  const sort s = sort_of(source);
  const sort d = sort_of(target);
  if (s == sort::gone) {
    t.fail(closed, mode::read);
  } else if (d == sort::gone) {
    t.fail(closed, mode::write);  // before bytes are taken out of the source
  } else if (d != sort::socket && d != sort::pipe) {
    t.result.handled = false;
  } else if (s == sort::file) {
    t.send_file();
  } else if (s == sort::unsuitable) {
    t.result.handled = false;
  } else if (s == sort::pipe || d == sort::pipe) {
    t.splice_directly();
  } else {
    t.splice_sockets();
  }
  return t.result;
}

}  // namespace weft::inline v0::poll
