#include "poll_cache.hpp"

#include <weft/netpoll/poller.hpp>
#include <weft/sched/fatal.hpp>

#include <bit>
#include <cerrno>
#include <new>

namespace weft::inline v0::poll {

poll_cache::~poll_cache() {
  for (std::uint32_t i = 0; i < carved_; ++i) slot(i)->~poll_desc();
  for (auto& chunk : chunks_) {
    ::operator delete (chunk.load(std::memory_order_relaxed), std::align_val_t{alignof(poll_desc)});
  }
}

poll_desc* poll_cache::slot(std::uint32_t index) const noexcept {
  const std::uint64_t shifted = std::uint64_t{index} + first_chunk;
  const auto k = static_cast<std::size_t>(std::bit_width(shifted / first_chunk) - 1);
  // acquire: pairs with alloc's release; the number may have come round through the kernel
  return chunks_[k].load(std::memory_order_acquire) + (shifted - (std::uint64_t{first_chunk} << k));
}

poll_desc* poll_cache::alloc() noexcept {
  lock_.lock();
  poll_desc* pd = first_;
  if (pd != nullptr) {
    first_ = pd->link;
    pd->link = nullptr;
  } else {
    const auto k = static_cast<std::size_t>(std::bit_width((std::uint64_t{carved_} + first_chunk) / first_chunk) - 1);
    if (k < max_chunks && chunks_[k].load(std::memory_order_relaxed) == nullptr) {
      // Under the lock, because it happens once per doubling.
      void* memory = ::operator new ((std::size_t{first_chunk} << k) * sizeof(poll_desc),
                                     std::align_val_t{alignof(poll_desc)}, std::nothrow);
      chunks_[k].store(static_cast<poll_desc*>(memory), std::memory_order_release);  // pairs with slot
    }
    if (k < max_chunks && chunks_[k].load(std::memory_order_relaxed) != nullptr) {
      pd = ::new (slot(carved_)) poll_desc(*this, carved_);
      ++carved_;
      // The same pointer again, for the slot that stands behind it now: who gets its number from the kernel
      // synchronises with this.
      chunks_[k].store(chunks_[k].load(std::memory_order_relaxed), std::memory_order_release);
    }
  }
  if (pd != nullptr) ++in_use_;
  lock_.unlock();
  return pd;
}

// free ends the slot's generation, then gives the slot back. The new generation is published: it shuts out a poller
// that compared the old one just before.
void poll_cache::free(poll_desc& pd) noexcept {
  pd.lock.lock();
  pd.in_use = false;
  pd.fd = -1;
  std::uint32_t next = pd.fdseq.load(std::memory_order_relaxed) + 1;  // written under this lock only
  if (next == 0) next = 1;                                            // 0 means any
  pd.fdseq.store(next, std::memory_order_release);                    // pairs with find
  pd.publish_locked();
  pd.lock.unlock();
  lock_.lock();
  pd.link = first_;
  first_ = &pd;
  --in_use_;
  lock_.unlock();
}

poll_desc* poll_cache::open(int fd, int& error, unpollable files) noexcept {
  poll_desc* pd = alloc();
  if (pd == nullptr) {
    error = ENOMEM;
    return nullptr;
  }
  pd->lock.lock();
  if (!pd->rg.renew() || !pd->wg.renew()) sched::fatal("poll_desc: a free slot has a waiter");
  pd->fd = fd;
  pd->in_use = true;
  // shutdown sets the flag, then visits every slot under its lock: either it finds this one in use, or we find the
  // flag.
  pd->closing = down_.load(std::memory_order_seq_cst);
  const bool refused = pd->closing;
  ++pd->alarm_seq;
  pd->rd = pd->wd = 0;
  pd->info.note(0, summary::noted, 0);
  pd->publish_locked();
  const std::uint64_t key = key_of(*pd);
  pd->lock.unlock();
  error = refused ? static_cast<int>(closed) : fd < 0 ? int{ok} : owner_.netpollopen(fd, key);
  if (error == ok || (error == EPERM && files == unpollable::accepted)) return pd;
  pd->evict();
  free(*pd);
  return nullptr;
}

void poll_cache::close(poll_desc& pd) noexcept {
  if ((pd.info.load() & summary::closing) == 0) sched::fatal("poll_desc: closed without eviction");
  if (pd.rg.peek() > pdReady || pd.wg.peek() > pdReady) sched::fatal("poll_desc: closed under a waiter");
  if (!pd.rqueue.idle() || !pd.wqueue.idle()) sched::fatal("poll_desc: closed under a queue");
  if (pd.watchers.load(std::memory_order_relaxed) != nullptr) sched::fatal("poll_desc: closed under a watcher");
  if (pd.fd >= 0) (void)owner_.netpollclose(pd.fd);
  free(pd);
}

void poll_cache::shutdown() noexcept {
  down_.store(true, std::memory_order_seq_cst);
  lock_.lock();
  const std::uint32_t all = carved_;
  lock_.unlock();
  for (std::uint32_t i = 0; i < all; ++i) {
    poll_desc& pd = *slot(i);
    pd.lock.lock();
    const bool in_use = pd.in_use;
    pd.lock.unlock();
    // A slot freed or taken in between: evict does nothing to the former, and the latter refuses by itself.
    if (in_use) pd.evict();
  }
  pipes_.close();
}

poll_desc* poll_cache::find(std::uint64_t key) noexcept {
  poll_desc* pd = slot(static_cast<std::uint32_t>(key));
  if (pd->fdseq.load(std::memory_order_acquire) == static_cast<std::uint32_t>(key >> 32)) return pd;
  stale_.fetch_add(1, std::memory_order_relaxed);  // a statistic
  return nullptr;
}

std::uint32_t poll_cache::slots_in_use() noexcept {
  lock_.lock();
  const std::uint32_t n = in_use_;
  lock_.unlock();
  return n;
}

}  // namespace weft::inline v0::poll
