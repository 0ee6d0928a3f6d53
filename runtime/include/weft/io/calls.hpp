// The calls that all open files have in common, whatever they are: tcp_conn, udp_socket, os::file, ...
//
// Each class of handles derives from those that it has. How they all report a failure: the form without a
// std::error_code throws io_error, whose text names the operation, the network and both ends, and which tells how many
// bytes had been moved (canceled_error if a stop ended the call). The form with one sets it on every return, also on
// success, throws nothing, and returns the bytes moved. A handle that is closed, before or while the call waits, gives
// errc::closed; a deadline that has passed std::errc::timed_out.
//
// A std::stop_token ends that one call: it fails with std::errc::operation_canceled. What it read or wrote before is
// counted; what it did not read is still there. Deadlines are as before.
//
// Thread-safe: fibers and plain threads may make any of these calls on one handle at once. Calls of one direction go
// one at a time, so the bytes of two writes never mix. Moving, assigning and destroying the handle need it alone only
// against the start of calls: one that waits already is unaffected by a move, and gets errc::closed from the others.
#pragma once

#include <weft/buffer.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/error.hpp>
#include <weft/export.hpp>
#include <weft/netpoll/descriptor.hpp>
#include <weft/sched/park.hpp>

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <stop_token>
#include <system_error>

namespace weft::inline v0::io {

// access is what the calls below need of a handle H, which keeps them private and makes access a friend: its
// descriptor_, and name(), a value with a member describe(), returning a failed_operation without the operation. It is
// taken before each call: the handle may be gone when the call comes back. Or else H has name_by(descriptor), static, which
// finds the same in the descriptor's label: then reads and writes ask for it only when they fail.
struct access {
  template <class H>
  static poll::descriptor* descriptor(const H& h) noexcept {
    return h.descriptor_.get();
  }
  template <class H>
  static void give(H& h, poll::descriptor_ptr d) noexcept {
    h.descriptor_ = static_cast<poll::descriptor_ptr&&>(d);
  }
  template <class H>
  static auto name(const H& h) noexcept -> decltype(h.name()) {
    return h.name();
  }
  template <class H>
  static auto name_by(const poll::descriptor& d) noexcept -> decltype(H::name_by(d)) {
    return H::name_by(d);
  }
  template <class H>
  static constexpr bool has_label = requires(const poll::descriptor& d) { name_by<H>(d); };
};

namespace detail {

// fail throws what a call's outcome means. REQUIRES: poll_error is not ok.
[[noreturn]] WEFT_API void fail(int poll_error, const char* operation, failed_operation object,
                                std::size_t transferred);
WEFT_API std::error_code code_of(int poll_error) noexcept;

inline poll::io_result result_of(poll::io_result r) noexcept { return r; }
inline poll::io_result result_of(int error) noexcept { return {0, error}; }

// throwing makes call(descriptor), which gives an io_result or a bare error, and returns the bytes it moved.
template <class H, class Call>
std::size_t throwing(const H& h, const char* operation, Call call) {
  const auto name = access::name(h);
  poll::descriptor* const d = access::descriptor(h);
  const poll::io_result r = d != nullptr ? result_of(call(*d)) : poll::io_result{0, poll::closed};
  if (r.error != poll::ok) [[unlikely]]
    fail(r.error, operation, name.describe(), r.count);
  return r.count;
}

// fail_by_label is fail for a call that has kept the descriptor, or was not made for want of one.
template <class H>
[[noreturn, gnu::cold, gnu::noinline]] void fail_by_label(int poll_error, const char* operation, poll::descriptor* d,
                                                          std::size_t transferred) {
  failed_operation object;
  if (d != nullptr) {
    const auto name = access::name_by<H>(*d);
    d->let_go();
    object = name.describe();
  } else {
    object = access::name(H()).describe();
  }
  fail(poll_error, operation, static_cast<failed_operation&&>(object), transferred);
}

// moving is throwing for call(descriptor, on_failure).
template <class H, class Call>
std::size_t moving(const H& h, const char* operation, Call call) {
  if constexpr (access::has_label<H>) {
    poll::descriptor* const d = access::descriptor(h);
    const poll::io_result r = d != nullptr ? call(*d, poll::on_failure::keep) : poll::io_result{0, poll::closed};
    if (r.error != poll::ok) [[unlikely]]
      fail_by_label<H>(r.error, operation, d, r.count);
    return r.count;
  } else {
    return throwing(h, operation, [&](poll::descriptor& d) { return call(d, poll::on_failure::nothing); });
  }
}

template <class H, class Call>
std::size_t reporting(const H& h, std::error_code& ec, Call call) noexcept {
  poll::descriptor* const d = access::descriptor(h);
  const poll::io_result r = d != nullptr ? result_of(call(*d)) : poll::io_result{0, poll::closed};
  ec = code_of(r.error);
  return r.count;
}

// The system's array of buffers, made of ours; ENOMEM if there are too many for the memory left.
WEFT_API poll::io_result readv(poll::descriptor& d, std::span<const mutable_buffer> buffers) noexcept;
WEFT_API poll::io_result writev(poll::descriptor& d, std::span<const const_buffer> buffers) noexcept;

}  // namespace detail

// handle_calls: the life of the handle, and its deadlines.
template <class H>
class handle_calls {
 public:
  // close ends every call that waits, waits until those under way have returned, and gives the descriptor's number back
  // to the system. Never cancelled. A second close gives errc::closed. The destructor closes without waiting.
  void close() {
    detail::throwing(self(), "close", [](poll::descriptor& d) { return d.close(); });
  }
  void close(std::error_code& ec) noexcept {
    detail::reporting(self(), ec, [](poll::descriptor& d) { return d.close(); });
  }

  // is_open tells whether the handle was opened and not closed since. It says nothing about the other end.
  bool is_open() const noexcept {
    poll::descriptor* const d = access::descriptor(self());
    return d != nullptr && d->with_fd([](void*, int) -> long { return 0; }, nullptr) == 0;
  }

  // native_handle lends the descriptor's number, -1 when closed; it is good only while nobody closes the handle.
  int native_handle() const noexcept {
    poll::descriptor* const d = access::descriptor(self());
    if (d == nullptr) return -1;
    return static_cast<int>(d->with_fd([](void*, int fd) -> long { return fd; }, nullptr));
  }

  // release closes the handle but gives the number, which is non-blocking, to the caller; -1 if it was closed before.
  [[nodiscard]] int release() noexcept {
    poll::descriptor* const d = access::descriptor(self());
    return d != nullptr ? d->release() : -1;
  }

  // set_deadline makes all calls fail with std::errc::timed_out from then on, those that wait already included, though
  // there be data: until the deadline is moved or cleared, which is possible at any time. A duration counts from now;
  // one of zero or less, and a time that has come, end the waits at once. time_point::max() clears the deadline, as
  // clear_deadline does. Nothing fires early. Moving a deadline later costs next to nothing.
  // set_read_deadline and set_write_deadline concern one direction alone; accept and receive are reads.
  template <class When>
  void set_deadline(When when) {
    set_deadline_of(poll::side::both, when);
  }
  template <class When>
  void set_deadline(When when, std::error_code& ec) noexcept {
    set_deadline_of(poll::side::both, when, ec);
  }
  template <class When>
  void set_read_deadline(When when) {
    set_deadline_of(poll::side::read, when);
  }
  template <class When>
  void set_read_deadline(When when, std::error_code& ec) noexcept {
    set_deadline_of(poll::side::read, when, ec);
  }
  template <class When>
  void set_write_deadline(When when) {
    set_deadline_of(poll::side::write, when);
  }
  template <class When>
  void set_write_deadline(When when, std::error_code& ec) noexcept {
    set_deadline_of(poll::side::write, when, ec);
  }
  void clear_deadline() { set_deadline(std::chrono::steady_clock::time_point::max()); }
  void clear_deadline(std::error_code& ec) noexcept { set_deadline(std::chrono::steady_clock::time_point::max(), ec); }

 protected:
  handle_calls() noexcept = default;
  ~handle_calls() = default;
  handle_calls(handle_calls&&) noexcept = default;
  handle_calls& operator=(handle_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }

  template <class Rep, class Period>
  static int set_on(poll::descriptor& d, poll::side of, const std::chrono::duration<Rep, Period>& delay) noexcept {
    return d.set_deadline_after(of, weft::detail::saturated(delay));
  }
  template <class Duration>
  static int set_on(poll::descriptor& d, poll::side of,
                    const std::chrono::time_point<std::chrono::steady_clock, Duration>& when) noexcept {
    return d.set_deadline(of, weft::detail::to_nanotime(when));
  }
  template <class When>
  void set_deadline_of(poll::side of, When when) {
    detail::throwing(self(), "set deadline of", [=](poll::descriptor& d) { return set_on(d, of, when); });
  }
  template <class When>
  void set_deadline_of(poll::side of, When when, std::error_code& ec) noexcept {
    detail::reporting(self(), ec, [=](poll::descriptor& d) { return set_on(d, of, when); });
  }
};

// readable_calls: waiting for something to read.
template <class H>
class readable_calls {
 public:
  // wait_readable waits until a read would not have to: for data, the end or an error. It holds no buffer, so a
  // connection that is idle in it costs a stack and nothing else.
  void wait_readable() { detail::throwing(self(), "wait to read", ready()); }
  void wait_readable(std::error_code& ec) noexcept { detail::reporting(self(), ec, ready()); }
  void wait_readable(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    wait_readable();
  }
  void wait_readable(const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    wait_readable(ec);
  }

 protected:
  readable_calls() noexcept = default;
  ~readable_calls() = default;
  readable_calls(readable_calls&&) noexcept = default;
  readable_calls& operator=(readable_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto ready() noexcept {
    return [](poll::descriptor& d) { return d.wait_ready(poll::mode::read); };
  }
};

// reader_calls: a stream of bytes to read.
template <class H>
class reader_calls : public readable_calls<H> {
 public:
  // read_some reads what is there, at most the buffer's size, and waits only while there is nothing. 0 is the end of
  // the stream; an empty buffer returns 0 at once.
  std::size_t read_some(mutable_buffer b) { return detail::moving(self(), "read", read(b)); }
  std::size_t read_some(mutable_buffer b, std::error_code& ec) noexcept {
    return detail::reporting(self(), ec, read(b));
  }
  std::size_t read_some(mutable_buffer b, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return read_some(b);
  }
  std::size_t read_some(mutable_buffer b, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return read_some(b, ec);
  }

  // read_full reads until the buffer is full. Fewer bytes, without an error, mean that the stream ended.
  std::size_t read_full(mutable_buffer b) { return detail::throwing(self(), "read", fill(b)); }
  std::size_t read_full(mutable_buffer b, std::error_code& ec) noexcept {
    return detail::reporting(self(), ec, fill(b));
  }
  std::size_t read_full(mutable_buffer b, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return read_full(b);
  }
  std::size_t read_full(mutable_buffer b, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return read_full(b, ec);
  }

  // readv is read_some into several buffers in turn. Empty ones are allowed.
  std::size_t readv(std::span<const mutable_buffer> bs) { return detail::throwing(self(), "read", scatter(bs)); }
  std::size_t readv(std::span<const mutable_buffer> bs, std::error_code& ec) noexcept {
    return detail::reporting(self(), ec, scatter(bs));
  }
  std::size_t readv(std::span<const mutable_buffer> bs, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return readv(bs);
  }
  std::size_t readv(std::span<const mutable_buffer> bs, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return readv(bs, ec);
  }
  std::size_t readv(std::initializer_list<mutable_buffer> bs) { return readv(std::span(bs)); }
  std::size_t readv(std::initializer_list<mutable_buffer> bs, std::error_code& ec) noexcept {
    return readv(std::span(bs), ec);
  }

 protected:
  reader_calls() noexcept = default;
  ~reader_calls() = default;
  reader_calls(reader_calls&&) noexcept = default;
  reader_calls& operator=(reader_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto read(mutable_buffer b) noexcept {
    return [=](poll::descriptor& d, poll::on_failure f = {}) { return d.read(b.data(), b.size(), f); };
  }
  static auto fill(mutable_buffer b) noexcept {
    return [=](poll::descriptor& d) { return d.read_full(b.data(), b.size()); };
  }
  static auto scatter(std::span<const mutable_buffer> bs) noexcept {
    return [=](poll::descriptor& d) { return detail::readv(d, bs); };
  }
};

// writable_calls: waiting for room to write.
template <class H>
class writable_calls {
 public:
  // wait_writable waits until a write would not have to: for room, or an error.
  void wait_writable() { detail::throwing(self(), "wait to write", ready()); }
  void wait_writable(std::error_code& ec) noexcept { detail::reporting(self(), ec, ready()); }
  void wait_writable(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    wait_writable();
  }
  void wait_writable(const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    wait_writable(ec);
  }

 protected:
  writable_calls() noexcept = default;
  ~writable_calls() = default;
  writable_calls(writable_calls&&) noexcept = default;
  writable_calls& operator=(writable_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto ready() noexcept {
    return [](poll::descriptor& d) { return d.wait_ready(poll::mode::write); };
  }
};

// writer_calls: a stream of bytes to write.
template <class H>
class writer_calls : public writable_calls<H> {
 public:
  // write sends everything, waiting while the other end is slow. After an error, what arrived there is not known beyond
  // the count of what was handed over. Never raises SIGPIPE.
  void write(const_buffer b) { detail::moving(self(), "write", send(b)); }
  std::size_t write(const_buffer b, std::error_code& ec) noexcept { return detail::reporting(self(), ec, send(b)); }
  void write(const_buffer b, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    write(b);
  }
  std::size_t write(const_buffer b, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return write(b, ec);
  }

  // writev is write of several buffers, any number of them, empty ones included.
  void writev(std::span<const const_buffer> bs) { detail::throwing(self(), "write", gather(bs)); }
  std::size_t writev(std::span<const const_buffer> bs, std::error_code& ec) noexcept {
    return detail::reporting(self(), ec, gather(bs));
  }
  void writev(std::span<const const_buffer> bs, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    writev(bs);
  }
  std::size_t writev(std::span<const const_buffer> bs, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return writev(bs, ec);
  }
  void writev(std::initializer_list<const_buffer> bs) { writev(std::span(bs)); }
  std::size_t writev(std::initializer_list<const_buffer> bs, std::error_code& ec) noexcept {
    return writev(std::span(bs), ec);
  }

 protected:
  writer_calls() noexcept = default;
  ~writer_calls() = default;
  writer_calls(writer_calls&&) noexcept = default;
  writer_calls& operator=(writer_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto send(const_buffer b) noexcept {
    return [=](poll::descriptor& d, poll::on_failure f = {}) { return d.write(b.data(), b.size(), f); };
  }
  static auto gather(std::span<const const_buffer> bs) noexcept {
    return [=](poll::descriptor& d) { return detail::writev(d, bs); };
  }
};

}  // namespace weft::inline v0::io
