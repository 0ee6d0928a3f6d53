// process_state: a child, shared by its handle, its waiters and its reaper.
#pragma once

#include <weft/mutex.hpp>
#include <weft/netpoll/descriptor.hpp>
#include <weft/os/process.hpp>

#include <optional>

#include <sys/types.h>

namespace weft::inline v0::os {

struct process::state {
  // try_reap asks the system whether the child has ended. Returns whether there is an answer: in ended, or in error.
  bool try_reap() noexcept;
  // wait waits for the answer: poll::ok, an errno value, or one of poll::error.
  int wait(exit_status& status) noexcept;
  int kill(int signal) noexcept;

  // Constant
  pid_t pid = 0;
  poll::descriptor_ptr pidfd;  // null on kernels without

  weft::mutex mutex;
  std::optional<exit_status> ended;  // guarded by mutex
  int error = 0;                     // guarded by mutex: why there will be no status
};

struct process_access {
  static process make(std::shared_ptr<process::state> s) noexcept {
    process p;
    p.state_ = std::move(s);
    return p;
  }
};

}  // namespace weft::inline v0::os
