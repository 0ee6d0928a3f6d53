// poller: a netpoller over real descriptors, and the memory of the descriptors that are registered with it.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/netpoller.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace weft::inline v0::sched {
class scheduler;
}

namespace weft::inline v0::poll {

class poll_cache;

// What a backend saw of one descriptor, as a set of bits.
enum readiness : unsigned {
  readable = 1,    // data, a connection, urgent data, a hang-up or an error: whatever ends a read's wait
  writable = 2,    // room, a hang-up or an error
  unusual = 4,     // a hang-up of either half, an error, or urgent data was part of it
  bare_error = 8,  // an error and nothing else: the system can't really poll this file
};

// poller is the scheduler's seam plus registration. A backend derives from it and provides netpoll, netpollbreak,
// netpollopen and netpollclose; the rest is common.
// Thread-safe. Descriptors share ownership of it, so that a connection may outlive its runtime; a poller that was shut
// down refuses and wakes (every descriptor of it reports `closed`).
class WEFT_API poller : public sched::netpoller {
 public:
  ~poller() override;
  poller(const poller&) = delete;
  poller& operator=(const poller&) = delete;

  // attach names the scheduler whose timers serve the deadlines of this poller's descriptors. Once, before any is set;
  // the scheduler outlives shutdown. Without one, deadlines are refused as not_pollable.
  void attach(sched::scheduler& s) noexcept { scheduler_ = &s; }
  sched::scheduler* scheduler() const noexcept { return scheduler_; }

  // shutdown evicts every registered descriptor: waits in it end with `closed`, later ones refuse. Idempotent. Any
  // thread.
  void shutdown() noexcept;

  void delivered(std::size_t count) noexcept final;
  bool any_waiters() const noexcept final;

  // netpollopen registers fd for the rest of its life, edge-triggered, both directions: from now on each change is
  // reported with `key`, the present state first. Returns 0 or an errno value (EPERM: this file can't be polled).
  virtual int netpollopen(int fd, std::uint64_t key) noexcept = 0;
  // netpollclose ends that, before the number is closed. Events that were fetched already may still come.
  virtual int netpollclose(int fd) noexcept = 0;

  poll_cache* cache() const noexcept { return cache_.get(); }  // internal to netpoll

 protected:
  poller() noexcept;

  // A key that no descriptor has, for the backend's own use.
  static constexpr std::uint64_t no_key = ~std::uint64_t{0};

  // netpollready hands an event to the descriptor of `key` and appends whom it wakes, the reader before the writer. A
  // key whose descriptor is gone is dropped. Any thread.
  void netpollready(std::uint64_t key, unsigned what, sched::ready_list& out) noexcept;

 private:
  const std::unique_ptr<poll_cache> cache_;
  sched::scheduler* scheduler_ = nullptr;  // constant from attach on
};

// make_epoll_poller opens an epoll instance and its eventfd, both close-on-exec. Null and an errno value in `error` if
// one is refused.
[[nodiscard]] WEFT_API std::shared_ptr<poller> make_epoll_poller(int& error) noexcept;

}  // namespace weft::inline v0::poll
