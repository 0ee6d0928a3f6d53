#include "pipe_pool.hpp"

#include <weft/sched/sys.hpp>

#include <mutex>

#include <fcntl.h>
#include <unistd.h>

namespace weft::inline v0::poll {

using sched::sys_call;

pipe_pair pipe_pool::take() noexcept {
  {
    const std::lock_guard guard(lock_);
    if (count_ > 0) return kept_[--count_];
  }
  int ends[2];
  if (sys_call(::pipe2, ends, O_CLOEXEC | O_NONBLOCK) < 0) return {};
  // Refused to those who have many pipes already; then it stays as it is.
  (void)sys_call(::fcntl, ends[1], F_SETPIPE_SZ, 1 << 20);
  const long size = sys_call(::fcntl, ends[1], F_GETPIPE_SZ);
  return {ends[0], ends[1], size > 0 ? static_cast<std::size_t>(size) : std::size_t{4096}};
}

void pipe_pool::give_back(const pipe_pair& p) noexcept {
  {
    const std::lock_guard guard(lock_);
    if (!closed_ && count_ < most) {
      kept_[count_++] = p;
      return;
    }
  }
  destroy(p);
}

void pipe_pool::close() noexcept {
  for (;;) {
    pipe_pair p;
    {
      const std::lock_guard guard(lock_);
      closed_ = true;
      if (count_ == 0) return;
      p = kept_[--count_];
    }
    destroy(p);
  }
}

void pipe_pool::destroy(const pipe_pair& p) noexcept {
  (void)sys_call(::close, p.out);
  (void)sys_call(::close, p.in);
}

}  // namespace weft::inline v0::poll
