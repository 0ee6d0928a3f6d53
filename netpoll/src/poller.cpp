#include <weft/netpoll/poller.hpp>

#include "poll_cache.hpp"

#include <new>

namespace weft::inline v0::poll {

static_assert(poll_cache::no_key == ~std::uint64_t{0});

poller::poller() noexcept : cache_(new (std::nothrow) poll_cache(*this)) {}
poller::~poller() = default;

void poller::shutdown() noexcept { cache_->shutdown(); }

void poller::delivered(std::size_t count) noexcept {
  if (count != 0) cache_->lower_waiters(count);
}

bool poller::any_waiters() const noexcept { return cache_->waiters() != 0; }

void poller::netpollready(std::uint64_t key, unsigned what, sched::ready_list& out) noexcept {
  poll_desc* pd = cache_->find(key);
  if (pd == nullptr) return;
  const auto fdseq = static_cast<std::uint32_t>(key >> 32);
  // Noted before the edge, so that whoever has seen the edge has seen this too (summary, O2).
  pd->info.note_event((what & bare_error) != 0, (what & unusual) != 0, fdseq);
  poll::netpollready(out, *pd, (what & readable) != 0, (what & writable) != 0);
}

}  // namespace weft::inline v0::poll
