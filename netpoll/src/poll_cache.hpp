// poll_cache: the poll_descs of one poller. Slots are found by number, recycled, and given back only with the poller.
#pragma once

#include "pipe_pool.hpp"
#include "poll_desc.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace weft::inline v0::poll {

class poller;

// poll_cache owns the slots and counts who is parked on them.
// Thread-safe. Lifetime: its poller's. Lock order: lock_, then a slot's lock.
//
// Chunk k holds 64 << k slots and is never moved, so that a few pointers reach any number of slots and a slot is found
// without a lock. A chunk's pages are touched slot by slot.
class poll_cache {
 public:
  explicit poll_cache(poller& owner) noexcept : owner_(owner) {}
  ~poll_cache();
  poll_cache(const poll_cache&) = delete;
  poll_cache& operator=(const poll_cache&) = delete;

  // open takes a slot for fd and registers it, unless fd is -1: the edges come from the program then. Null: `error` is an errno value of the registration, ENOMEM, or `closed`
  // after shutdown. `error` is EPERM, and the slot is returned, for a file that can't be polled if that is acceptable:
  // nobody may wait on its gates then.
  enum class unpollable : std::uint8_t { refused, accepted };
  poll_desc* open(int fd, int& error, unpollable files = unpollable::refused) noexcept;

  // close unregisters, if it is registered, and frees the slot. The number is still the caller's, so that no other file can have it before
  // the registration is gone. REQUIRES: evicted; nobody waits or queues.
  void close(poll_desc& pd) noexcept;

  // shutdown evicts whatever is open and refuses open from then on.
  void shutdown() noexcept;

  // find returns the slot an event's key names, or null if the key's generation is over. Takes no lock.
  poll_desc* find(std::uint64_t key) noexcept;

  poller& owner() const noexcept { return owner_; }

  // For transfers between its descriptors; closed by shutdown.
  pipe_pool& pipes() noexcept { return pipes_; }

  // The 64 bits that travel through the backend: generation and slot number. No key equals no_key.
  static std::uint64_t key_of(const poll_desc& pd) noexcept {
    return (std::uint64_t{pd.fdseq.load(std::memory_order_relaxed)} << 32) | pd.index;  // the owner's own store
  }
  static constexpr std::uint64_t no_key = ~std::uint64_t{0};

  std::uint64_t stale_events() const noexcept { return stale_.load(std::memory_order_relaxed); }
  std::uint32_t slots_in_use() noexcept;

  // The count of waiters parked on this poller's gates. Raised before a waiter is published and lowered when it is on a
  // run queue again, so it is never too low: too low would let the scheduler sleep on somebody.
  void raise_waiters() noexcept { waiters_.fetch_add(1, std::memory_order_seq_cst); }
  void lower_waiters(std::size_t n) noexcept { waiters_.fetch_sub(n, std::memory_order_seq_cst); }
  std::size_t waiters() const noexcept { return waiters_.load(std::memory_order_seq_cst); }

 private:
  static constexpr std::uint32_t first_chunk = 64;
  static constexpr std::size_t max_chunks = 25;  // 2^31 slots, far from no_key

  poll_desc* slot(std::uint32_t index) const noexcept;
  poll_desc* alloc() noexcept;
  void free(poll_desc& pd) noexcept;

  poller& owner_;
  std::array<std::atomic<poll_desc*>, max_chunks> chunks_{};  // set once, under lock_

  sched::spin_lock lock_;
  poll_desc* first_ = nullptr;  // guarded by lock_: free slots, last freed first
  std::uint32_t carved_ = 0;    // guarded by lock_: slots constructed so far
  std::uint32_t in_use_ = 0;    // guarded by lock_

  pipe_pool pipes_;
  std::atomic<bool> down_{false};
  std::atomic<std::uint64_t> stale_{0};
  alignas(64) std::atomic<std::size_t> waiters_{0};
};

}  // namespace weft::inline v0::poll
