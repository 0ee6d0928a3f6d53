// open_file: what a descriptor is inside; descriptor's functions are its public face.
#pragma once

#include "fd_mutex.hpp"
#include "poll_cache.hpp"
#include "poll_desc.hpp"

#include <weft/netpoll/descriptor.hpp>
#include <weft/netpoll/poller.hpp>

#include <weft/sched/blocking.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace weft::inline v0::poll {

class memory_link;

// open_file is one file: its number, its registration, its locks.
// Thread-safe. Lifetime: two owners at first, the handle and "open". A closer that waits is one more, and so is a call that has
// failed, if its caller wants to know of what. The number and
// the registration last until the last reference of the closed fd_mutex is dropped (destroy), which drops "open" as
// well; every call in flight has such a reference, so nothing else is counted on the way of a read.
//
// The released word
// States     0  the number is open    1  released, for good    waiter  the closer that waits for 1
//            0 -> waiter: the closer's commit    any -> 1: destroy, who owns the waiter it finds
// Orderings  O1 the commit's CAS releases, destroy's exchange acquires: the closer's saved context
// Not here   a second closer: incref_and_close refuses it
struct alignas(64) open_file final : descriptor {
  static open_file& of(descriptor& d) noexcept { return static_cast<open_file&>(d); }

  [[nodiscard]] bool incref() noexcept { return mutex.incref(); }
  void decref() noexcept {
    if (mutex.decref()) (void)destroy();
  }
  [[nodiscard]] int lock(mode m, entry how = entry::fresh) noexcept {
    const lock_result r = mutex.rwlock(m, pd->queue_of(m), how);
    if (r.last) (void)destroy();
    return r.error;
  }
  // lock_fresh is lock for a call that begins, and may have to keep the memory if it fails.
  [[nodiscard]] int lock_fresh(mode m, on_failure f) noexcept {
    return mutex.try_rwlock(m) ? int{ok} : lock_in_line(m, f);
  }
  void unlock(mode m) noexcept {
    if (mutex.rwunlock(m, pd->queue_of(m))) [[unlikely]] (void)destroy();
  }

  // begin_close refuses later calls and wakes the present ones. The caller has a reference if it returns true.
  [[nodiscard]] bool begin_close() noexcept;
  // end_close waits until the number is released, or has been given up; the result of close(2). REQUIRES: begin_close
  // returned true.
  int end_close() noexcept;
  // destroy releases the number; the result of close(2). REQUIRES: the last reference of the closed mutex was just
  // dropped.
  int destroy() noexcept;
  void wait_released() noexcept;
  // add_owner is for who has a reference, or has not waited yet: until then its handle is there.
  void add_owner() noexcept { owners.fetch_add(1, std::memory_order_relaxed); }
  void drop_owner() noexcept;

  // May the next read park before it asks the system? REQUIRES: the read lock is held.
  bool elidable() const noexcept {
    return drained && !options_touched.load(std::memory_order_seq_cst) && !pd->unusual();
  }
  // note_read records a read that returned n of the asked bytes. REQUIRES: the read lock is held.
  void note_read(std::size_t n, std::size_t asked) noexcept {
    drained = n != 0 && n < asked && may_drain &&
              (!options_touched.load(std::memory_order_seq_cst) || short_means_empty_now());
  }

  int set_deadline(side of, sched::nanotime when, poll_desc::time_is known) noexcept;

  // uninterrupted makes attempt(), one system call: its result or -errno, never -EINTR.
  template <class Attempt>
  static long uninterrupted(Attempt attempt) noexcept {
    long r;
    do {
      r = attempt();
    } while (r == -EINTR);
    return r;
  }
  // try_once is the same with a blocking region around it, if the file can't be polled.
  template <class Attempt>
  long try_once(Attempt attempt) const noexcept {
    if (blocks) [[unlikely]] {
      const sched::blocking_region others_go_on;
      return uninterrupted(attempt);
    }
    return uninterrupted(attempt);
  }

  // ready_now asks the system whether a call of that direction would not have to wait: positive, -EAGAIN, or another
  // -errno.
  long ready_now(mode m) const noexcept;

  // wait parks until the direction is ready. REQUIRES: its lock is held.
  [[nodiscard]] int wait(mode m) noexcept { return blocks ? int{not_pollable} : pd->wait(m); }

  // Constant
  poll_desc* pd = nullptr;
  int fd = -1;
  kind what = kind::other;
  bool is_socket = false;
  bool blocks = false;  // can't be polled
  std::shared_ptr<memory_link> memory;  // of an end of a pipe inside the program, which has no number
  int end = 0;                          // which of its two
  std::uint32_t generation = 0;         // pd's fdseq

  fd_mutex mutex;

  // Guarded by the read lock of mutex
  bool drained = false;    // the last read was short: the socket was empty, and whatever came since made an edge
  bool may_drain = false;  // short reads mean that; false for all but plain TCP

  // Somebody outside had the number and may have changed what a short read means; checked before the next is trusted.
  std::atomic<bool> options_touched{true};

  std::atomic<bool> keep_number{false};  // closing gives the number away instead of back to the system
  std::atomic<std::uintptr_t> released{0};
  std::atomic<std::uint32_t> owners{2};
  std::shared_ptr<poller> home;
  alignas(std::max_align_t) std::byte label_bytes[label_size]{};

 private:
  int lock_in_line(mode m, on_failure f) noexcept;

  // short_means_empty_now looks at the options again, and says what may_drain is now.
  bool short_means_empty_now() noexcept;

  static bool released_commit(sched::waiter self, void* object, std::uintptr_t word) noexcept;
};

// Streams transfer at most so much in one system call.
inline constexpr std::size_t max_transfer = std::size_t{1} << 30;

}  // namespace weft::inline v0::poll
