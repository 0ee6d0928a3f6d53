// memory_link: what two descriptors share that are the ends of a pipe inside the program.
#pragma once

#include "cursor.hpp"
#include "poll_desc.hpp"

#include <weft/netpoll/descriptor.hpp>
#include <weft/sched/spin_lock.hpp>

#include <cstddef>
#include <memory>

namespace weft::inline v0::poll {

// memory_link passes bytes from whoever writes at one end to whoever reads at the other, with nothing in between: a
// write offers its buffers and waits until they are taken. It plays the part of the system for a pair of open_files
// that have no number; locks, waits, deadlines and close are theirs, so a call on an end tries, waits for the edge of
// its poll_desc, and tries again. Each change is published under lock_ and followed by the edge. Thread-safe. Lifetime:
// shared by both open_files, which outlast their calls; the poll_descs are type-stable, so that an edge for an end that
// is gone does no harm.
class memory_link {
 public:
  explicit memory_link(std::shared_ptr<poller> home) noexcept : home_(static_cast<std::shared_ptr<poller>&&>(home)) {}
  memory_link(const memory_link&) = delete;
  memory_link& operator=(const memory_link&) = delete;

  void attach(int end, poll_desc& pd) noexcept { ends_[end].pd = &pd; }  // before anybody uses the link

  // take moves what the other end offers into the buffers of `to`, as much as fits: the count; 0 if the other end is
  // closed; -EAGAIN if there is no offer. The bytes taken under one hold of the lock are limited, a reader comes again.
  long take(int end, cursor to) noexcept;
  // offer lets the other end take `total` bytes from `from` on. -EPIPE if that is closed.
  long offer(int end, cursor from, std::size_t total) noexcept;
  // offered tells how the offer stands: 0 all of it is taken, -EAGAIN not yet, -EPIPE nobody is there to take it.
  long offered(int end) noexcept;
  // withdraw ends the offer, and returns how many bytes of it nobody took.
  std::size_t withdraw(int end) noexcept;

  // readable, writable: would take, or a write, go on without a wait? 1 or -EAGAIN.
  long readable(int end) noexcept;
  long writable(int end) noexcept;
  // wants says whether a reader waits at the end, which is what makes the other one writable.
  void wants(int end, bool yes) noexcept;
  // watch counts who waits for the end to become readable among other things, beside its reader.
  void watch(int end, bool yes) noexcept;

  bool peer_closed(int end) noexcept;

  // close_end is the other end's end of the stream. Any thread.
  void close_end(int end) noexcept;

 private:
  struct side {
    poll_desc* pd = nullptr;  // constant once attached
    // Guarded by lock_
    cursor from;
    std::size_t left = 0;  // of what this end offers
    bool offers = false;
    bool waits = false;  // a reader of this end is about to wait, or waits
    bool closed = false;
    unsigned watchers = 0;
  };

  const std::shared_ptr<poller> home_;
  sched::spin_lock lock_;
  side ends_[2];
};

// The calls of descriptor for an end of a link. REQUIRES: file.memory is set.
struct open_file;
io_result memory_read(open_file& file, const iovec* buffers, std::size_t n) noexcept;
io_result memory_write(open_file& file, const iovec* buffers, std::size_t n) noexcept;

}  // namespace weft::inline v0::poll
