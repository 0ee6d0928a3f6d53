// pipe_pool: the system's pipes that splice needs between two sockets.
#pragma once

#include <weft/sched/spin_lock.hpp>

#include <cstddef>

namespace weft::inline v0::poll {

// Both ends, non-blocking and close-on-exec.
struct pipe_pair {
  int out = -1;  // to read from
  int in = -1;   // to write to
  std::size_t size = 0;

  bool open() const noexcept { return out >= 0; }
};

// pipe_pool keeps a few empty pipes for the next who needs one.
// Thread-safe. Lifetime: its poller's.
class pipe_pool {
 public:
  pipe_pool() noexcept = default;
  ~pipe_pool() { close(); }
  pipe_pool(const pipe_pool&) = delete;
  pipe_pool& operator=(const pipe_pool&) = delete;

  // take returns an empty pipe, of 1 MiB where the system allows it; none if it refuses.
  pipe_pair take() noexcept;
  // give_back keeps the pipe or closes it. REQUIRES: it is empty.
  void give_back(const pipe_pair& p) noexcept;
  // close closes the pipes that are kept, and keeps none from now on.
  void close() noexcept;

  static void destroy(const pipe_pair& p) noexcept;

 private:
  static constexpr std::size_t most = 16;  // guessed: as many portions may be on their way without a new pipe

  sched::spin_lock lock_;
  pipe_pair kept_[most];   // guarded by lock_
  std::size_t count_ = 0;  // guarded by lock_
  bool closed_ = false;    // guarded by lock_
};

}  // namespace weft::inline v0::poll
