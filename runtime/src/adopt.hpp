// adopt: from a number of the system to a handle.
#pragma once

#include "runtime_access.hpp"

#include <weft/io/calls.hpp>
#include <weft/netpoll/descriptor.hpp>
#include <weft/sched/sys.hpp>

#include <memory>
#include <utility>

#include <unistd.h>

namespace weft::inline v0 {

// adopt gives fd, which is non-blocking and close-on-exec, to h. Returns poll::ok, or an errno value or one of
// poll::error; fd is closed then.
template <class H>
int adopt(std::shared_ptr<poll::poller> poller, int fd, poll::kind k, H& h) noexcept {
  int error = poll::ok;
  poll::descriptor_ptr d = poll::descriptor::open(std::move(poller), fd, k, error);
  if (d == nullptr) {
    sched::sys_call(::close, fd);  // not retried when interrupted
    return error;
  }
  io::access::give(h, std::move(d));
  return poll::ok;
}

}  // namespace weft::inline v0
