// poller: a netpoller over real descriptors, and the memory of the descriptors that are registered with it.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/netpoller.hpp>

#include <memory>

namespace weft::inline v0::poll {

class poll_cache;

// poller is what a backend implements: the scheduler's seam, plus registration. Descriptors share ownership of it, so that a
// connection may outlive its runtime; a closed poller refuses and wakes (every descriptor of it reports `closed`).
class WEFT_API poller : public sched::netpoller {
 public:
  // Evicts every registered descriptor: waits in it end with `closed`, later ones refuse. Idempotent. Any thread.
  virtual void shutdown() noexcept = 0;
};

// make_epoll_poller opens an epoll instance and its eventfd, both close-on-exec. Null and an errno value in `error` if
// one is refused.
[[nodiscard]] WEFT_API std::shared_ptr<poller> make_epoll_poller(int& error) noexcept;

}  // namespace weft::inline v0::poll
