#include "../io_error.hpp"
#include "socket.hpp"

#include <weft/net/tcp.hpp>
#include <weft/sched/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <string>

namespace weft::inline v0::net {

namespace {

using poll::io_result;

// The handle may be gone when a call comes back, so what an error's text needs is copied before.
struct both_ends {
  endpoint local;
  endpoint remote;

  [[noreturn, gnu::cold, gnu::noinline]] void fail(const char* operation, io_result r) const {
    std::string what = std::string(operation) + " tcp";
    if (remote) what += " " + local.to_string() + "->" + remote.to_string();
    throw_io_error(r.error, what, r.count);
  }
};

std::size_t checked(io_result r, const char* operation, const both_ends& ends) {
  if (r.error != poll::ok) [[unlikely]]
    ends.fail(operation, r);
  return r.count;
}

std::size_t reported(io_result r, std::error_code& ec) noexcept {
  ec = to_error_code(r.error);
  return r.count;
}

void checked(int error, const char* operation, const both_ends& ends) {
  if (error != poll::ok) [[unlikely]]
    ends.fail(operation, {0, error});
}

io_result read_once(poll::descriptor* d, mutable_buffer b) noexcept {
  return d == nullptr ? io_result{0, poll::closed} : d->read(b.data(), b.size());
}

io_result write_all(poll::descriptor* d, const_buffer b) noexcept {
  return d == nullptr ? io_result{0, poll::closed} : d->write(b.data(), b.size());
}

io_result read_until_full(poll::descriptor* d, mutable_buffer b) noexcept {
  return d == nullptr ? io_result{0, poll::closed} : d->read_full(b.data(), b.size());
}

// The arrays of the system's calls, without the heap for as many buffers as programs usually have.
template <class Buffer>
class vectors {
 public:
  explicit vectors(std::span<const Buffer> buffers) noexcept : count_(buffers.size()) {
    if (count_ > few_.size()) {
      many_.reset(new (std::nothrow) iovec[count_]);
      data_ = many_.get();
    }
    if (data_ == nullptr) return;
    for (std::size_t i = 0; i < count_; ++i) data_[i] = {const_cast<void*>(buffers[i].data()), buffers[i].size()};
  }

  io_result pass_to(poll::descriptor* d, io_result (poll::descriptor::*call)(const iovec*, std::size_t)) noexcept {
    if (d == nullptr) return {0, poll::closed};
    return data_ == nullptr ? io_result{0, ENOMEM} : (d->*call)(data_, count_);
  }

 private:
  std::array<iovec, 16> few_;
  std::unique_ptr<iovec[]> many_;
  iovec* data_ = few_.data();
  std::size_t count_;
};

int end_side(poll::descriptor* d, shutdown_side side) noexcept {
  if (d == nullptr) return poll::closed;
  switch (side) {
    case shutdown_side::read:
      return d->shutdown_side(SHUT_RD);
    case shutdown_side::write:
      return d->shutdown_side(SHUT_WR);
    case shutdown_side::both:
      return d->shutdown_side(SHUT_RDWR);
  }
  return EINVAL;
}

int close_descriptor(poll::descriptor* d) noexcept { return d == nullptr ? int{poll::closed} : d->close(); }

int set(poll::descriptor* d, int level, int name, int value) noexcept {
  return pinned(d, [=](int fd) { return set_option(fd, level, name, value); });
}

int get(poll::descriptor* d, int level, int name, int& value) noexcept {
  return pinned(d, [&](int fd) {
    socklen_t size = sizeof value;
    return static_cast<int>(-sched::sys_call(getsockopt, fd, level, name, static_cast<void*>(&value), &size));
  });
}

int linger_for(poll::descriptor* d, std::optional<std::chrono::seconds> time) noexcept {
  linger value{};
  if (time) {
    value.l_onoff = 1;
    value.l_linger = static_cast<int>(std::clamp<std::int64_t>(time->count(), 0, std::numeric_limits<int>::max()));
  }
  return pinned(d, [=](int fd) {
    return static_cast<int>(-sched::sys_call(setsockopt, fd, SOL_SOCKET, SO_LINGER, static_cast<const void*>(&value),
                                             static_cast<socklen_t>(sizeof value)));
  });
}

int keep_alive_with(poll::descriptor* d, const keep_alive& options) noexcept {
  return pinned(d, [&](int fd) { return apply_keep_alive(fd, options); });
}

}  // namespace

void descriptor_deleter::operator()(poll::descriptor* d) const noexcept { poll::descriptor::deleter()(d); }

std::size_t tcp_conn::read_some(mutable_buffer buffer) {
  const both_ends ends{local_, remote_};
  return checked(read_once(descriptor_.get(), buffer), "read", ends);
}
std::size_t tcp_conn::read_some(mutable_buffer buffer, std::error_code& ec) noexcept {
  return reported(read_once(descriptor_.get(), buffer), ec);
}

std::size_t tcp_conn::read_full(mutable_buffer buffer) {
  const both_ends ends{local_, remote_};
  return checked(read_until_full(descriptor_.get(), buffer), "read", ends);
}
std::size_t tcp_conn::read_full(mutable_buffer buffer, std::error_code& ec) noexcept {
  return reported(read_until_full(descriptor_.get(), buffer), ec);
}

void tcp_conn::write(const_buffer buffer) {
  const both_ends ends{local_, remote_};
  checked(write_all(descriptor_.get(), buffer), "write", ends);
}
std::size_t tcp_conn::write(const_buffer buffer, std::error_code& ec) noexcept {
  return reported(write_all(descriptor_.get(), buffer), ec);
}

std::size_t tcp_conn::readv(std::span<const mutable_buffer> buffers) {
  const both_ends ends{local_, remote_};
  return checked(vectors(buffers).pass_to(descriptor_.get(), &poll::descriptor::readv), "read", ends);
}
std::size_t tcp_conn::readv(std::span<const mutable_buffer> buffers, std::error_code& ec) noexcept {
  return reported(vectors(buffers).pass_to(descriptor_.get(), &poll::descriptor::readv), ec);
}

void tcp_conn::writev(std::span<const const_buffer> buffers) {
  const both_ends ends{local_, remote_};
  checked(vectors(buffers).pass_to(descriptor_.get(), &poll::descriptor::writev), "write", ends);
}
std::size_t tcp_conn::writev(std::span<const const_buffer> buffers, std::error_code& ec) noexcept {
  return reported(vectors(buffers).pass_to(descriptor_.get(), &poll::descriptor::writev), ec);
}

void tcp_conn::shutdown(shutdown_side side) {
  const both_ends ends{local_, remote_};
  checked(end_side(descriptor_.get(), side), "shutdown", ends);
}
void tcp_conn::shutdown(shutdown_side side, std::error_code& ec) noexcept {
  ec = to_error_code(end_side(descriptor_.get(), side));
}

void tcp_conn::close() {
  const both_ends ends{local_, remote_};
  checked(close_descriptor(descriptor_.get()), "close", ends);
}
void tcp_conn::close(std::error_code& ec) noexcept { ec = to_error_code(close_descriptor(descriptor_.get())); }

bool tcp_conn::is_open() const noexcept { return native_handle() >= 0; }

int tcp_conn::native_handle() const noexcept {
  int number = -1;
  pinned(descriptor_.get(), [&](int fd) {
    number = fd;
    return 0;
  });
  return number;
}

void tcp_conn::set_no_delay(bool on) {
  const both_ends ends{local_, remote_};
  checked(set(descriptor_.get(), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0), "set no_delay of", ends);
}
void tcp_conn::set_no_delay(bool on, std::error_code& ec) noexcept {
  ec = to_error_code(set(descriptor_.get(), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0));
}

void tcp_conn::set_keep_alive(const keep_alive& options) {
  const both_ends ends{local_, remote_};
  checked(keep_alive_with(descriptor_.get(), options), "set keep_alive of", ends);
}
void tcp_conn::set_keep_alive(const keep_alive& options, std::error_code& ec) noexcept {
  ec = to_error_code(keep_alive_with(descriptor_.get(), options));
}

void tcp_conn::set_linger(std::optional<std::chrono::seconds> time) {
  const both_ends ends{local_, remote_};
  checked(linger_for(descriptor_.get(), time), "set linger of", ends);
}
void tcp_conn::set_linger(std::optional<std::chrono::seconds> time, std::error_code& ec) noexcept {
  ec = to_error_code(linger_for(descriptor_.get(), time));
}

void tcp_conn::set_receive_buffer(int bytes) {
  const both_ends ends{local_, remote_};
  checked(set(descriptor_.get(), SOL_SOCKET, SO_RCVBUF, bytes), "set receive buffer of", ends);
}
void tcp_conn::set_receive_buffer(int bytes, std::error_code& ec) noexcept {
  ec = to_error_code(set(descriptor_.get(), SOL_SOCKET, SO_RCVBUF, bytes));
}

void tcp_conn::set_send_buffer(int bytes) {
  const both_ends ends{local_, remote_};
  checked(set(descriptor_.get(), SOL_SOCKET, SO_SNDBUF, bytes), "set send buffer of", ends);
}
void tcp_conn::set_send_buffer(int bytes, std::error_code& ec) noexcept {
  ec = to_error_code(set(descriptor_.get(), SOL_SOCKET, SO_SNDBUF, bytes));
}

int tcp_conn::receive_buffer() const {
  const both_ends ends{local_, remote_};
  int bytes = 0;
  checked(get(descriptor_.get(), SOL_SOCKET, SO_RCVBUF, bytes), "get receive buffer of", ends);
  return bytes;
}
int tcp_conn::receive_buffer(std::error_code& ec) const noexcept {
  int bytes = 0;
  ec = to_error_code(get(descriptor_.get(), SOL_SOCKET, SO_RCVBUF, bytes));
  return bytes;
}

int tcp_conn::send_buffer() const {
  const both_ends ends{local_, remote_};
  int bytes = 0;
  checked(get(descriptor_.get(), SOL_SOCKET, SO_SNDBUF, bytes), "get send buffer of", ends);
  return bytes;
}
int tcp_conn::send_buffer(std::error_code& ec) const noexcept {
  int bytes = 0;
  ec = to_error_code(get(descriptor_.get(), SOL_SOCKET, SO_SNDBUF, bytes));
  return bytes;
}

}  // namespace weft::inline v0::net
