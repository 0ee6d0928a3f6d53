// The life of a descriptor: open, pin, close, destroy.
#include "interposed.hpp"
#include "memory_link.hpp"
#include "open_file.hpp"

#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <cerrno>
#include <new>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace weft::inline v0::poll {

using sched::sys_call;

namespace {

// Short reads of a TCP socket mean "empty" unless the socket waits for more than one byte before it wakes a reader, or
// a protocol above it (kernel TLS) cuts the stream into records.
bool short_means_empty(int fd) noexcept {
  int low_water = 0;
  socklen_t size = sizeof low_water;
  if (sys_call(::getsockopt, fd, SOL_SOCKET, SO_RCVLOWAT, &low_water, &size) < 0 || low_water > 1) return false;
  char protocol[16] = {};
  size = sizeof protocol;
  return sys_call(::getsockopt, fd, IPPROTO_TCP, TCP_ULP, protocol, &size) < 0 || size == 0;
}

}  // namespace

std::unique_ptr<descriptor, descriptor::deleter> descriptor::open(std::shared_ptr<poller> p, int fd, kind k,
                                                                  int& error) noexcept {
  auto* file = new (std::nothrow) open_file;
  if (file == nullptr) {
    error = ENOMEM;
    return nullptr;
  }
  file->fd = fd;
  file->what = k;
  file->is_socket = k != kind::other && k != kind::file && k != kind::memory;
  file->may_drain = k == kind::tcp && !reads_interposed();
  if (k == kind::other) {
    int type = 0;
    socklen_t size = sizeof type;
    file->is_socket = sys_call(::getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
  }
  using files = poll_cache::unpollable;
  file->pd = p->cache()->open(fd, error, k == kind::file ? files::accepted : files::refused);
  if (file->pd == nullptr) {
    delete file;
    return nullptr;
  }
  file->blocks = error == EPERM;
  error = ok;
  file->generation =
      file->pd->fdseq.load(std::memory_order_relaxed);  // ours: it doesn't change while the slot is in use
  file->home = static_cast<std::shared_ptr<poller>&&>(p);
  return std::unique_ptr<descriptor, descriptor::deleter>(file);
}

bool descriptor::open_pair(std::shared_ptr<poller> p, std::unique_ptr<descriptor, deleter> (&ends)[2],
                           int& error) noexcept {
  std::shared_ptr<memory_link> link;
  try {
    link = std::make_shared<memory_link>(p);
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
    return false;
  }
  for (int i = 0; i < 2; ++i) {
    ends[i] = open(p, -1, kind::memory, error);
    if (ends[i] == nullptr) return false;
    open_file& file = open_file::of(*ends[i]);
    link->attach(i, *file.pd);
    file.end = i;
  }
  // Only now: the first end's close would look for the second.
  for (auto& end : ends) open_file::of(*end).memory = link;
  return true;
}

kind descriptor::what() const noexcept { return static_cast<const open_file*>(this)->what; }
const void* descriptor::label() const noexcept { return static_cast<const open_file*>(this)->label_bytes; }
void descriptor::let_go() noexcept { open_file::of(*this).drop_owner(); }

void open_file::drop_owner() noexcept {
  // acq_rel: the last one deletes after everybody else's uses
  if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

// Who stands in line may come back when there is no handle any more, and no reference: an owner is added before.
int open_file::lock_in_line(mode m, on_failure f) noexcept {
  if (f == on_failure::keep) add_owner();
  const int error = lock(m);
  if (error == ok && f == on_failure::keep) drop_owner();
  return error;
}

bool open_file::begin_close() noexcept {
  if (!mutex.incref_and_close(pd->rqueue, pd->wqueue)) return false;
  pd->evict();
  if (memory != nullptr) memory->close_end(end);
  return true;
}

int open_file::destroy() noexcept {
  // In this order: the number is ours until the registration is gone and the slot's generation is over.
  home->cache()->close(*pd);
  long r = 0;
  // relaxed: ordered by the references. Closing is not retried on EINTR: the number is gone.
  if (fd >= 0 && !keep_number.load(std::memory_order_relaxed)) r = sys_call(::close, fd);
  const std::uintptr_t old = released.exchange(1, std::memory_order_acq_rel);  // O1
  if (old > 1) sched::ready(sched::waiter::from_bits(old));
  drop_owner();
  return static_cast<int>(-r);
}

bool open_file::released_commit(sched::waiter self, void* object, std::uintptr_t) noexcept {
  auto& word = static_cast<open_file*>(object)->released;
  std::uintptr_t expected = 0;
  return word.compare_exchange_strong(expected, self.bits(), std::memory_order_acq_rel,  // O1
                                      std::memory_order_acquire);
}

void open_file::wait_released() noexcept {
  while (released.load(std::memory_order_acquire) != 1) {  // pairs with destroy's exchange
    sched::park({&open_file::released_commit, this, 0}, {sched::wait_reason::close, this});
  }
}

int open_file::end_close() noexcept {
  add_owner();
  int error = ok;
  if (mutex.decref()) {
    error = destroy();
  } else if (!blocks) {
    wait_released();
  }  // else a call may be stuck in the system, and closing doesn't wake it
  drop_owner();
  return error;
}

int descriptor::close() noexcept {
  open_file& file = open_file::of(*this);
  return file.begin_close() ? file.end_close() : int{closed};
}

int descriptor::release() noexcept {
  open_file& file = open_file::of(*this);
  if (!file.begin_close()) return -1;
  const int fd = file.fd;
  // The reference that we have now keeps the file from being destroyed before this is set, and orders it.
  file.keep_number.store(true, std::memory_order_relaxed);
  (void)file.end_close();
  return fd;
}

int open_file::set_deadline(side of, sched::nanotime when, poll_desc::time_is known) noexcept {
  if (blocks) [[unlikely]] {
    if (!incref()) return closed;
    decref();
    return not_pollable;
  }
  // No reference: the slot's lock and generation tell whether it is still ours, and the memory of slots never goes.
  return pd->set_deadline(generation, of, when, known);
}

int descriptor::set_deadline(side of, sched::nanotime when) noexcept {
  return open_file::of(*this).set_deadline(of, when, poll_desc::time_is::any);
}

int descriptor::set_deadline_after(side of, sched::nanotime delay) noexcept {
  if (delay <= 0) return set_deadline(of, 0);
  return open_file::of(*this).set_deadline(of, sched::after(delay), poll_desc::time_is::ahead);
}

void descriptor::deleter::operator()(descriptor* d) const noexcept {
  open_file& file = open_file::of(*d);
  if (file.begin_close()) file.decref();
  file.drop_owner();
}

bool open_file::short_means_empty_now() noexcept {
  // Cleared before the look: who touches the options during it sets the flag again, and no elision trusts the look.
  options_touched.store(false, std::memory_order_seq_cst);
  may_drain = short_means_empty(fd);
  return may_drain;
}

long descriptor::with_fd(long (*use)(void* context, int fd), void* context) noexcept {
  open_file& file = open_file::of(*this);
  if (!file.incref()) return closed;
  file.options_touched.store(true, std::memory_order_seq_cst);  // a read that begins now doesn't park first
  const long result = use(context, file.fd);
  file.options_touched.store(true, std::memory_order_seq_cst);  // a check that ran meanwhile is worth nothing
  file.decref();
  return result;
}

int descriptor::shutdown_side(int how) noexcept {
  open_file& file = open_file::of(*this);
  if (!file.incref()) return closed;
  // A read that parks first would see the shutdown's edge too; it asks again all the same.
  file.options_touched.store(true, std::memory_order_seq_cst);
  const long r = sys_call(::shutdown, file.fd, how);
  file.decref();
  return static_cast<int>(-r);
}

}  // namespace weft::inline v0::poll
