// fd_mutex: who uses a descriptor, who reads and writes it, and whether it is closed, in one word. Go's fdMutex.
#pragma once

#include "lock_queue.hpp"

#include <weft/netpoll/descriptor.hpp>
#include <weft/sched/fatal.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::poll {

// What a call to rwlock came to. If `last` is set, the caller has just dropped the last reference of a closed
// descriptor and must destroy it.
struct lock_result {
  int error = ok;  // ok: locked and referenced; closed; canceled
  bool last = false;
};

enum class entry : std::uint8_t { fresh, referenced };

// basic_fd_mutex lets one reader and one writer in at a time, counts everybody inside, and says who is the last to
// leave after the close. Thread-safe. Atomic and Queue are stand-ins under the model tests. Lifetime: its descriptor's.
//
// The descriptor's word
// States     bit 0  closed      set by incref_and_close, for good
//            bit 1  rlock       the read direction is taken          set: rwlock(read)    left: rwunlock(read)
//            bit 2  wlock       the write direction is taken         set: rwlock(write)   left: rwunlock(write)
//            20 bits refs       calls inside: every lock holder, everybody in a queue, every incref
//            20 bits rwaiters   of those queued for rlock, how many nobody has granted a wake yet
//            20 bits wwaiters   likewise for wlock
// Ownership  A reference keeps descriptor, slot and number; the one who takes refs of a closed word to 0 destroys them,
//            and nobody else touches them any more. A grant belongs to whoever takes it from the queue.
// Invariants I1 per direction: waiters + grants made and not used == calls between joining the queue and leaving it
//            I2 lock free and somebody queued => a grant is under way: each unlock with waiters makes one, and who gets
//               it takes the lock, or finds it taken (the holder's unlock makes the next)
//            I3 once closed is set no lock and no reference is given out, and every queued call has a grant
// Orderings  O1 unlocking releases, locking acquires: what the lock guards
//            O2 dropping a reference releases, dropping the last acquires: destroying comes after all uses
// Not here   waking whoever is parked on the gates (poll_desc::evict), the memory (open_file's owners)
//
// Unlike Go's, a queued call holds a reference: the queue must outlive whoever stands in it, and nobody collects it
// later.
template <template <class> class Atomic = std::atomic, class Queue = lock_queue>
class basic_fd_mutex {
 public:
  // incref admits a call that needs no direction. False: closed.
  [[nodiscard]] bool incref() noexcept {
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    for (;;) {
      if ((old & closed_bit) != 0) return false;
      if (state_.compare_exchange_weak(old, with_ref(old), std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
  }

  // decref ends what incref began. True: the last one of a closed descriptor; the caller must destroy it.
  [[nodiscard]] bool decref() noexcept {
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    for (;;) {
      if ((old & ref_mask) == 0) inconsistent("decref", old);
      const std::uint64_t next = old - ref;
      if (state_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) {  // O2
        return is_last(next);
      }
    }
  }

  // incref_and_close closes: later calls are refused, queued ones get a grant and will find it closed. The caller has a
  // reference then. False: it was closed already.
  [[nodiscard]] bool incref_and_close(Queue& readers, Queue& writers) noexcept {
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    for (;;) {
      if ((old & closed_bit) != 0) return false;
      const std::uint64_t next = (with_ref(old) | closed_bit) & ~(field(read_wait) | field(write_wait));
      if (!state_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      readers.release(count(old, read_wait));
      writers.release(count(old, write_wait));
      return true;
    }
  }

  // rwlock takes a reference and the direction, queueing for it first if it is taken. A caller that has a reference
  // already passes it on: it is part of the lock then, or is dropped.
  [[nodiscard]] lock_result rwlock(mode m, Queue& queue, entry how = entry::fresh) noexcept {
    const direction d = direction_of(m);
    bool referenced = how == entry::referenced;
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    for (;;) {
      if ((old & closed_bit) != 0) return {closed, referenced && decref()};
      std::uint64_t next = referenced ? old : with_ref(old);
      if ((old & d.lock) == 0) {
        // O1
        if (state_.compare_exchange_weak(old, next | d.lock, std::memory_order_acquire, std::memory_order_relaxed)) {
          return {};
        }
        continue;
      }
      next += d.wait;
      if ((next & field(d.wait)) == 0) too_many();
      if (!state_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      referenced = true;
      if (!queue.acquire(stoppable::yes, d.why)) return leave_queue(d, m, queue);
      old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    }
  }

  // try_rwlock takes a reference and a direction that is free. False: it is not, or closed, or the word has just been changed;
  // rwlock tells.
  [[nodiscard]] bool try_rwlock(mode m) noexcept {
    const direction d = direction_of(m);
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    if ((old & (closed_bit | d.lock)) != 0 || (old & ref_mask) == ref_mask) [[unlikely]] return false;
    // O1
    return state_.compare_exchange_strong(old, (old + ref) | d.lock, std::memory_order_acquire, std::memory_order_relaxed);
  }

  // rwunlock drops the direction and the reference, and wakes the next in line. True: as decref.
  // The queue is not touched if it returns true, and otherwise only while somebody in it holds a reference.
  [[nodiscard]] bool rwunlock(mode m, Queue& queue) noexcept {
    const direction d = direction_of(m);
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    // Open, and nobody waits.
    if ((old & (closed_bit | field(d.wait))) == 0 && (old & d.lock) != 0 && (old & ref_mask) != 0) [[likely]] {
      // O1, O2
      if (state_.compare_exchange_weak(old, (old & ~d.lock) - ref, std::memory_order_release, std::memory_order_relaxed))
          [[likely]] {
        return false;
      }
    }
    return unlock_for_others(m, queue, old);
  }

  std::uint64_t peek() const noexcept { return state_.load(std::memory_order_seq_cst); }

  static constexpr std::uint64_t closed_bit = 1;
  static constexpr std::uint64_t read_lock = 2;
  static constexpr std::uint64_t write_lock = 4;
  static constexpr std::uint64_t ref = std::uint64_t{1} << 3;
  static constexpr std::uint64_t read_wait = std::uint64_t{1} << 23;
  static constexpr std::uint64_t write_wait = std::uint64_t{1} << 43;
  static constexpr std::uint64_t limit = (std::uint64_t{1} << 20) - 1;  // of each count
  static constexpr std::uint64_t field(std::uint64_t one) noexcept { return one * limit; }
  static constexpr std::uint32_t count(std::uint64_t state, std::uint64_t one) noexcept {
    return static_cast<std::uint32_t>((state / one) & limit);
  }

 private:
  // unlock_for_others goes on from what was last seen of the word.
  [[gnu::noinline, gnu::cold]] bool unlock_for_others(mode m, Queue& queue, std::uint64_t old) noexcept {
    const direction d = direction_of(m);
    for (;;) {
      if ((old & d.lock) == 0 || (old & ref_mask) == 0) inconsistent("unlock", old);
      const bool grant = (old & field(d.wait)) != 0;
      const std::uint64_t next = (old & ~d.lock) - ref - (grant ? d.wait : 0);
      // O1
      if (!state_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      if (grant) queue.release(1);
      return is_last(next);
    }
  }

  static constexpr std::uint64_t ref_mask = field(ref);

  struct direction {
    std::uint64_t lock;
    std::uint64_t wait;
    sched::wait_reason why;
  };
  static constexpr direction direction_of(mode m) noexcept {
    return m == mode::read ? direction{read_lock, read_wait, sched::wait_reason::read_turn}
                           : direction{write_lock, write_wait, sched::wait_reason::write_turn};
  }

  static constexpr bool is_last(std::uint64_t state) noexcept {
    return (state & (closed_bit | ref_mask)) == closed_bit;
  }

  static std::uint64_t with_ref(std::uint64_t state) noexcept {
    if ((state & ref_mask) == ref_mask) too_many();
    return state + ref;
  }

  // leave_queue is for a call that was stopped while it waited for a grant and got none. By I1 it is counted in the
  // waiters, or else a grant was made for it that it must use up; and having one, it answers for I2.
  lock_result leave_queue(const direction& d, mode m, Queue& queue) noexcept {
    std::uint64_t old = state_.load(std::memory_order_relaxed);  // corrected by the CAS
    while ((old & field(d.wait)) != 0) {
      const std::uint64_t next = old - d.wait - ref;
      if (state_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) {  // O2
        return {canceled, is_last(next)};
      }
    }
    (void)queue.acquire(stoppable::no, d.why);  // made already, or about to be
    old = state_.load(std::memory_order_relaxed);
    for (;;) {
      if ((old & closed_bit) != 0) return {closed, decref()};
      const bool free = (old & d.lock) == 0;
      const std::uint64_t next = free ? old | d.lock : old - ref;
      // O2
      if (!state_.compare_exchange_weak(old, next, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      if (free) return {canceled, rwunlock(m, queue)};  // passes the grant on
      return {canceled, false};                         // the holder's unlock sees to the others
    }
  }

  [[noreturn]] static void too_many() noexcept {
    sched::fatal("too many concurrent operations on one descriptor (%lu)", static_cast<unsigned long>(limit));
  }
  [[noreturn]] static void inconsistent(const char* what, std::uint64_t state) noexcept {
    sched::fatal("descriptor lock: %s without holding it (state %#llx)", what, static_cast<unsigned long long>(state));
  }

  Atomic<std::uint64_t> state_{0};
};

using fd_mutex = basic_fd_mutex<>;

}  // namespace weft::inline v0::poll
