// wait_set: several sockets that one caller waits for at the same time.
#pragma once

#include <weft/export.hpp>
#include <weft/netpoll/descriptor.hpp>
#include <weft/netpoll/poller.hpp>
#include <weft/sched/clock.hpp>

#include <cstddef>
#include <memory>

namespace weft::inline v0::poll {

// wait_set watches descriptors of a foreign library that opens, uses and closes them itself (a resolver's, a database
// client's), and parks the caller until one of them is ready. Level-triggered: what is still ready is reported again.
// Used by one fiber or thread at a time. Its descriptors are not the poller's own: they have no deadlines, and need no
// poll::descriptor.
class WEFT_API wait_set {
 public:
  struct event {
    int fd = -1;
    unsigned what = 0;  // of readable | writable; a hang-up and an error are both
  };

  wait_set() noexcept = default;
  ~wait_set() = default;  // the watched descriptors stay open
  wait_set(const wait_set&) = delete;
  wait_set& operator=(const wait_set&) = delete;

  // open registers the set, once, before anything else. Returns ok or an errno value.
  int open(std::shared_ptr<poller> p) noexcept;

  // watch sets what is waited for on fd, as bits of readiness; 0 forgets it, which is due before fd is closed. Doesn't
  // suspend. Returns ok or an errno value.
  int watch(int fd, unsigned what) noexcept;

  // wait parks until a watched descriptor is ready or `until` has come, and writes up to n events. `count` is how many;
  // 0 means that the time has come. Returns ok, canceled, closed or an errno value.
  int wait(event* events, std::size_t n, sched::nanotime until, std::size_t& count) noexcept;

 private:
  descriptor_ptr descriptor_;
  int fd_ = -1;  // the descriptor's
};

}  // namespace weft::inline v0::poll
