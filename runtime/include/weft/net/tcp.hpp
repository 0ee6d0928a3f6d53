// TCP: connections and listeners.
#pragma once

#include <weft/buffer.hpp>
#include <weft/export.hpp>
#include <weft/net/endpoint.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

namespace weft::inline v0::poll {
class descriptor;
class poller;
}  // namespace weft::inline v0::poll

namespace weft::inline v0::net {

// How every call here reports a failure: the form without a std::error_code throws io_error, whose text names the
// operation and the endpoints and which tells how many bytes had been moved (canceled_error if the fiber was stopped).
// The form with one sets it on every return, also on success, throws nothing, and returns the bytes moved. A connection
// or listener that is closed, before or while the call waits, gives errc::closed.

struct keep_alive {
  bool enabled = true;
  std::chrono::seconds idle{15};      // silence before the first probe
  std::chrono::seconds interval{15};  // between probes
  int count = 9;                      // unanswered probes that end the connection
};

enum class shutdown_side : std::uint8_t { read, write, both };

struct descriptor_deleter {
  WEFT_API void operator()(poll::descriptor* d) const noexcept;
};
using descriptor_handle = std::unique_ptr<poll::descriptor, descriptor_deleter>;

// tcp_conn is a stream of bytes to a peer: a movable handle, closed when it is destroyed. Dialled and accepted ones
// send small writes at once (TCP_NODELAY), probe a silent peer (keep_alive's defaults) and are not inherited by
// executed programs.
//
// Thread-safe: fibers and plain threads may read, write, shut down and close one connection at once; reads queue for
// one another, as do writes, whose bytes never interleave. Moving, assigning and destroying need the handle alone only
// against the start of calls: one already waiting is unaffected by a move, and gets errc::closed from the others.
class WEFT_API tcp_conn {
 public:
  tcp_conn() noexcept = default;  // every call gives errc::closed

  // read_some reads what is there, at most the buffer's size, and waits only while there is nothing. 0 is the end of
  // the stream; an empty buffer returns 0 at once.
  std::size_t read_some(mutable_buffer buffer);
  std::size_t read_some(mutable_buffer buffer, std::error_code& ec) noexcept;

  // read_full reads until the buffer is full. Fewer bytes, without an error, mean that the stream ended.
  std::size_t read_full(mutable_buffer buffer);
  std::size_t read_full(mutable_buffer buffer, std::error_code& ec) noexcept;

  // write sends everything, waiting while the peer is slow. After an error, what was sent is lost to know beyond the
  // count. Never raises SIGPIPE.
  void write(const_buffer buffer);
  std::size_t write(const_buffer buffer, std::error_code& ec) noexcept;

  // readv is read_some into several buffers in turn; writev is write of several buffers. Empty ones are allowed.
  std::size_t readv(std::span<const mutable_buffer> buffers);
  std::size_t readv(std::span<const mutable_buffer> buffers, std::error_code& ec) noexcept;
  std::size_t readv(std::initializer_list<mutable_buffer> buffers) { return readv(std::span(buffers)); }
  std::size_t readv(std::initializer_list<mutable_buffer> buffers, std::error_code& ec) noexcept {
    return readv(std::span(buffers), ec);
  }
  void writev(std::span<const const_buffer> buffers);
  std::size_t writev(std::span<const const_buffer> buffers, std::error_code& ec) noexcept;
  void writev(std::initializer_list<const_buffer> buffers) { writev(std::span(buffers)); }
  std::size_t writev(std::initializer_list<const_buffer> buffers, std::error_code& ec) noexcept {
    return writev(std::span(buffers), ec);
  }

  // shutdown ends one direction: after write, the peer reads to the end of the stream; after read, reads here give 0.
  void shutdown(shutdown_side side);
  void shutdown(shutdown_side side, std::error_code& ec) noexcept;

  // close ends every call that waits, waits until those under way have returned, and gives the descriptor's number back
  // to the system. Never cancelled. A second close gives errc::closed. The destructor closes without waiting.
  void close();
  void close(std::error_code& ec) noexcept;

  // is_open tells whether the connection was opened and not closed since. It says nothing about the peer.
  bool is_open() const noexcept;

  // The two ends, as they were when the connection was made; they stay known after close.
  const endpoint& local_endpoint() const noexcept { return local_; }
  const endpoint& remote_endpoint() const noexcept { return remote_; }

  // set_no_delay(false) lets the system hold back small writes to join them (Nagle).
  void set_no_delay(bool on);
  void set_no_delay(bool on, std::error_code& ec) noexcept;

  void set_keep_alive(const keep_alive& options);
  void set_keep_alive(const keep_alive& options, std::error_code& ec) noexcept;

  // set_linger decides what becomes of unsent bytes when the connection is closed: without a value the system goes on
  // sending them (the default), zero drops them and resets the connection, more bounds the time.
  void set_linger(std::optional<std::chrono::seconds> time);
  void set_linger(std::optional<std::chrono::seconds> time, std::error_code& ec) noexcept;

  // The system's buffers, in bytes; Linux doubles what is set, for its own bookkeeping, and returns the doubled value.
  void set_receive_buffer(int bytes);
  void set_receive_buffer(int bytes, std::error_code& ec) noexcept;
  void set_send_buffer(int bytes);
  void set_send_buffer(int bytes, std::error_code& ec) noexcept;
  int receive_buffer() const;
  int receive_buffer(std::error_code& ec) const noexcept;
  int send_buffer() const;
  int send_buffer(std::error_code& ec) const noexcept;

  // native_handle lends the descriptor's number, -1 when closed; it is good only while nobody closes the connection.
  int native_handle() const noexcept;

 private:
  friend class tcp_access;

  descriptor_handle descriptor_;
  endpoint local_;
  endpoint remote_;
};

struct listen_options {
  explicit listen_options() = default;

  int backlog = 0;          // connections that may wait to be accepted; 0: as many as the system allows
  bool reuse_port = false;  // let several listeners share the address, and the system spread connections over them
};

// tcp_listener is where connections arrive: a movable handle, closed when it is destroyed. Thread-safe as tcp_conn is;
// any number of fibers may accept at once.
class WEFT_API tcp_listener {
 public:
  tcp_listener() noexcept = default;  // every call gives errc::closed

  // accept waits for the next connection. Those that their peer aborted while they waited are passed over. Without a
  // free descriptor (EMFILE, ENFILE) or memory it fails and the connection stays queued: a later call finds it.
  [[nodiscard]] tcp_conn accept();
  [[nodiscard]] tcp_conn accept(std::error_code& ec) noexcept;

  // close ends every accept that waits with errc::closed and refuses the connections still queued. Otherwise as
  // tcp_conn's.
  void close();
  void close(std::error_code& ec) noexcept;

  bool is_open() const noexcept;

  // Where it listens, with the port that the system chose if 0 was asked for; known after close too.
  const endpoint& local_endpoint() const noexcept { return local_; }

  // As tcp_conn::native_handle.
  int native_handle() const noexcept;

 private:
  friend class tcp_access;

  descriptor_handle descriptor_;
  std::shared_ptr<poll::poller> poller_;  // accepted connections join the poller of their listener
  endpoint local_;
};

// listen_tcp listens at "HOST:PORT": a numeric address, ":PORT" for every interface (both families where there are
// both, as "[::]:PORT" does), or a name, of which the first IPv4 address is taken, else the first. Port 0 lets the
// system choose. An address in use by an ended program is taken over (SO_REUSEADDR). Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API tcp_listener listen_tcp(std::string_view address);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(std::string_view address, std::error_code& ec);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(std::string_view address, const listen_options& options);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(std::string_view address, const listen_options& options,
                                               std::error_code& ec);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(const endpoint& address);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(const endpoint& address, std::error_code& ec);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(const endpoint& address, const listen_options& options);
[[nodiscard]] WEFT_API tcp_listener listen_tcp(const endpoint& address, const listen_options& options,
                                               std::error_code& ec);

// dial_tcp connects to "HOST:PORT". A name is looked up by the system (getaddrinfo, while other fibers go on) and its
// addresses are tried in turn; the error is that of the first. Without a host, this machine. Needs a runtime.
[[nodiscard]] WEFT_API tcp_conn dial_tcp(std::string_view address);
[[nodiscard]] WEFT_API tcp_conn dial_tcp(std::string_view address, std::error_code& ec);
[[nodiscard]] WEFT_API tcp_conn dial_tcp(const endpoint& address);
[[nodiscard]] WEFT_API tcp_conn dial_tcp(const endpoint& address, std::error_code& ec);

// lookup_category holds the codes of failed name lookups: getaddrinfo's EAI_ values.
WEFT_API const std::error_category& lookup_category() noexcept;

}  // namespace weft::inline v0::net
