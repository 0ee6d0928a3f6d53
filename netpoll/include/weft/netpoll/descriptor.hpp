// descriptor: an open file that parks a fiber where it would block a thread.
#pragma once

#include <weft/export.hpp>
#include <weft/netpoll/poller.hpp>
#include <weft/sched/clock.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

struct iovec;
struct sockaddr;

namespace weft::inline v0::poll {

// What a call ended with: 0, a positive errno value of the system, or one of these. Turned into std::error_code in
// one place, runtime's error.cpp.
enum error : int {
  ok = 0,
  closed = -1,        // the descriptor was closed, before or while the call waited
  timed_out = -2,     // the deadline of that direction has passed
  not_pollable = -3,  // the call would have to wait, or wants a deadline, and the system cannot tell when to go on
  canceled = -4,      // a stop of the calling fiber stands
};

struct io_result {
  std::size_t count = 0;  // bytes transferred, also when error is set
  int error = ok;
};

enum class mode : std::uint8_t { read = 'r', write = 'w' };

// Which of the two deadlines is meant.
enum class side : std::uint8_t { read, write, both };

// What the system object is; decides which shortcuts are sound. `stream` is a socket too, `datagram` one that keeps the
// boundaries of messages; pipes, terminals and the like are `other`. `file` may be something that can't be polled: its
// calls block the thread then, in a blocking region, and it has no deadlines. `memory` is made by open_pair alone.
enum class kind : std::uint8_t { tcp, listener, stream, datagram, other, file, memory };

// Whether calls of one direction go one at a time, or only those that have to wait; the latter for calls that are whole
// by themselves, like datagrams.
enum class turns : std::uint8_t { ordered, shared };

// What a call that fails leaves: `keep` the memory of the descriptor, for its caller, who lets it go afterwards. For whoever
// says in an error what the descriptor is, by its label, though its handle may be gone by then.
enum class on_failure : std::uint8_t { nothing, keep };

// descriptor owns one open file, in non-blocking mode and registered with a poller for its whole life.
// Thread-safe, from fibers and plain threads alike: at most one read and one write are in the system at a time, others
// of the same direction queue; close wakes them all. Each call pins the descriptor, so its number is released, and can
// be reused by the system, only after the last call has returned.
// Lifetime: owned by a descriptor_ptr, whose destruction closes without waiting; calls in flight keep the memory.
class WEFT_API descriptor {
 public:
  struct deleter {
    WEFT_API void operator()(descriptor* d) const noexcept;  // close_nowait, then lets the memory go
  };

  // open takes ownership of `fd` (non-blocking, close-on-exec) and registers it. Null if registration is refused:
  // `error` is set, and fd is still the caller's. A socket's connect has been issued, or it listens.
  [[nodiscard]] static std::unique_ptr<descriptor, deleter> open(std::shared_ptr<poller> p, int fd, kind k,
                                                                 int& error) noexcept;

  // open_pair makes the two ends of a pipe inside the program, both ways, without a number (calls that need one get -1).
  // Nothing lies in between: a write waits until its bytes have been read. After the close of one end reads at the other
  // give 0, though a deadline has passed, and writes EPIPE. False: `error` is set.
  [[nodiscard]] static bool open_pair(std::shared_ptr<poller> p, std::unique_ptr<descriptor, deleter> (&ends)[2],
                                      int& error) noexcept;

  kind what() const noexcept;

  // label is room for what its opener wants to know of it later; zeros at first. Not to be changed once others have the
  // descriptor.
  static constexpr std::size_t label_size = 48;
  const void* label() const noexcept;
  void* label() noexcept { return const_cast<void*>(static_cast<const descriptor*>(this)->label()); }
  void let_go() noexcept;

  // read reads once, parking until there is something: count 0 without error is the end of the stream (or an empty
  // datagram). An empty buffer returns 0 at once.
  io_result read(void* data, std::size_t size, on_failure f = on_failure::nothing) noexcept;
  io_result readv(const iovec* buffers, std::size_t n) noexcept;

  // read_full reads until the buffer is full or the stream ends, pinned throughout; reads of others may come in
  // between.
  io_result read_full(void* data, std::size_t size) noexcept;

  // write writes everything, parking whenever the peer is slow; count tells how much went out before an error. Never
  // raises SIGPIPE on sockets.
  io_result write(const void* data, std::size_t size, on_failure f = on_failure::nothing) noexcept;
  // writev likewise; any number of buffers, empty ones included. The array itself is not changed.
  io_result writev(const iovec* buffers, std::size_t n) noexcept;

  // accept takes one connection from a listener's queue, parking until there is one. The new socket is non-blocking and
  // close-on-exec. Connections aborted by the peer while queued are skipped; EMFILE, ENFILE, ENOBUFS and ENOMEM are
  // returned, and the connection stays queued. Acceptors don't queue for one another while connections are there.
  // `peer` (may be null) receives at most *peer_size bytes of its address.
  struct accepted {
    int fd = -1;
    int error = ok;
  };
  accepted accept(sockaddr* peer, unsigned* peer_size) noexcept;

  // call makes attempt(context, fd), one system call that returns its result or -errno and doesn't suspend, until it is
  // neither interrupted nor told to wait (-EAGAIN), and waits for the direction in between. For all the calls that have
  // no function here. `shared` is not for reads of TCP.
  struct outcome {
    long value = 0;  // of the last attempt, if error is ok
    int error = ok;
  };
  outcome call(mode m, turns t, long (*attempt)(void* context, int fd), void* context) noexcept;
  // call_again is call for what the system announces to others only, if at all: beside waiting it tries again, after
  // 1 ms, doubling up to 64 ms.
  outcome call_again(mode m, turns t, long (*attempt)(void* context, int fd), void* context) noexcept;

  // wait_ready waits, with no buffer, until a call of that direction would not have to wait: for data, a connection, the
  // stream's end or an error; for room or an error.
  int wait_ready(mode m) noexcept;

  // set_deadline lets the calls of one direction, or of both, fail with timed_out from `when` on, those that wait
  // included, until it is moved or cleared. `never` clears it; 0 has always passed. Doesn't suspend.
  // Returns ok, closed, not_pollable for a file that can't be polled, or ENOMEM, which changes nothing.
  int set_deadline(side of, sched::nanotime when) noexcept;
  // set_deadline_after counts from now; a delay of zero or less has passed. Somewhat cheaper than a time that has to be
  // compared with the clock.
  int set_deadline_after(side of, sched::nanotime delay) noexcept;

  // The scheduler whose timers serve the deadlines; null if there is none.
  sched::scheduler* scheduler() const noexcept;

  // finish_connect waits for the outcome of a connect that was issued on the socket (returned EINPROGRESS) before open.
  int finish_connect() noexcept;

  // with_fd calls use(context, fd) with the number pinned (options, addresses), and returns its result; `closed` if
  // the descriptor is.
  long with_fd(long (*use)(void* context, int fd), void* context) noexcept;

  // shutdown_side ends one direction (SHUT_RD, SHUT_WR) or both (SHUT_RDWR) of a socket.
  int shutdown_side(int how) noexcept;

  // close wakes every waiting call with `closed`, waits for calls in flight and releases the number. A second close
  // returns `closed` and touches nothing. Never cancelled.
  int close() noexcept;

  // release is close, but gives the number to the caller instead of the system: fd, or -1 if it was closed before. It
  // stays non-blocking.
  int release() noexcept;

 protected:
  descriptor() noexcept = default;  // made by open alone
  ~descriptor() = default;
};

using descriptor_ptr = std::unique_ptr<descriptor, descriptor::deleter>;

}  // namespace weft::inline v0::poll
