#include <weft/netpoll/watcher.hpp>

#include "memory_link.hpp"
#include "open_file.hpp"
#include "poll_cache.hpp"

#include <weft/sched/sys.hpp>

#include <poll.h>

namespace weft::inline v0::poll {

void watcher::pin() noexcept { pinned_ = descriptor_ != nullptr && open_file::of(*descriptor_).incref(); }

void watcher::unpin() noexcept {
  if (pinned_) open_file::of(*descriptor_).decref();
  pinned_ = false;
}

bool watcher::ready() noexcept {
  if (!pinned_) return true;
  open_file& file = open_file::of(*descriptor_);
  if (file.blocks || file.pd->netpollcheckerr(mode_) != ok) return true;
  return file.ready_now(mode_) != -EAGAIN;  // a refusal of the system's is the call's to report
}

void watcher::enter(sched::selection& s) noexcept {
  if (!pinned_) return;
  open_file& file = open_file::of(*descriptor_);
  poll_desc& pd = *file.pd;
  node_.of = &s;
  pd.home.raise_waiters();
  if (file.memory != nullptr && mode_ == mode::read) [[unlikely]] file.memory->watch(file.end, true);
  pd.watch(*this);
}

void watcher::leave() noexcept {
  if (!pinned_) return;
  open_file& file = open_file::of(*descriptor_);
  poll_desc& pd = *file.pd;
  pd.unwatch(*this);
  if (file.memory != nullptr && mode_ == mode::read) [[unlikely]] file.memory->watch(file.end, false);
  pd.home.lower_waiters(1);
}

}  // namespace weft::inline v0::poll
