// split: a connection as two handles, one that reads and one that writes, for two fibers.
#pragma once

#include <weft/io/calls.hpp>
#include <weft/net/socket_calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <memory>
#include <system_error>
#include <utility>

namespace weft::inline v0::net {

namespace detail {

// half is what the two halves of a connection have in common: the connection, and its name in errors.
template <class Conn>
class half {
 protected:
  half() noexcept = default;
  explicit half(std::shared_ptr<Conn> conn) noexcept
      : conn_(std::move(conn)), descriptor_(conn_, io::access::descriptor(*conn_)) {}
  half(half&&) noexcept = default;
  half& operator=(half&& other) noexcept {
    std::swap(conn_, other.conn_);
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~half() = default;

  // apply calls f with the connection, or with one that was never opened.
  template <class F>
  void apply(F f) {
    Conn none;
    f(conn_ != nullptr ? *conn_ : none);
  }

  friend struct io::access;
  auto name() const noexcept { return conn_ != nullptr ? io::access::name(*conn_) : io::access::name(Conn()); }

  template <class C = Conn>
  static auto name_by(const poll::descriptor& d) noexcept -> decltype(io::access::name_by<C>(d)) {
    return io::access::name_by<C>(d);
  }

  std::shared_ptr<Conn> conn_;
  std::shared_ptr<poll::descriptor> descriptor_;  // conn_'s
};

}  // namespace detail

// read_half and write_half own a connection together, which is closed when both have gone. Their calls and those of the
// other half may be under way at once. The handle that was split names them in errors. Assigning exchanges.
template <class Conn>
class read_half : public detail::half<Conn>, public io::reader_calls<read_half<Conn>> {
 public:
  read_half() noexcept = default;  // every call gives errc::closed
  explicit read_half(std::shared_ptr<Conn> conn) noexcept : detail::half<Conn>(std::move(conn)) {}

  // set_deadline is that of the reads alone; see io/calls.hpp.
  template <class When>
  void set_deadline(When when) {
    this->apply([&](Conn& c) { c.set_read_deadline(when); });
  }
  template <class When>
  void set_deadline(When when, std::error_code& ec) noexcept {
    this->apply([&](Conn& c) { c.set_read_deadline(when, ec); });
  }
};

template <class Conn>
class write_half : public detail::half<Conn>, public io::writer_calls<write_half<Conn>> {
 public:
  write_half() noexcept = default;  // every call gives errc::closed
  explicit write_half(std::shared_ptr<Conn> conn) noexcept : detail::half<Conn>(std::move(conn)) {}
  write_half(write_half&&) noexcept = default;
  write_half& operator=(write_half&&) noexcept = default;
  // Ends the stream: the other end reads up to here.
  ~write_half() {
    std::error_code ignored;
    if (this->conn_ != nullptr) this->conn_->shutdown(shutdown_side::write, ignored);
  }

  // shutdown ends the stream now.
  void shutdown() {
    this->apply([](Conn& c) { c.shutdown(shutdown_side::write); });
  }

  // set_deadline is that of the writes alone; see io/calls.hpp.
  template <class When>
  void set_deadline(When when) {
    this->apply([&](Conn& c) { c.set_write_deadline(when); });
  }
  template <class When>
  void set_deadline(When when, std::error_code& ec) noexcept {
    this->apply([&](Conn& c) { c.set_write_deadline(when, ec); });
  }
};

template <class Conn>
struct halves {
  read_half<Conn> reader;
  write_half<Conn> writer;
};

// split takes a connection apart: auto [reader, writer] = weft::net::split(std::move(conn)); Throws std::bad_alloc.
template <class Conn>
[[nodiscard]] halves<Conn> split(Conn conn) {
  auto shared = std::make_shared<Conn>(std::move(conn));
  return {read_half<Conn>(shared), write_half<Conn>(shared)};
}

}  // namespace weft::inline v0::net
