// Local sockets (AF_UNIX): connections, as streams or in packets, between processes of one machine.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/io/raw_calls.hpp>
#include <weft/net/local_endpoint.hpp>
#include <weft/net/local_message.hpp>
#include <weft/net/socket_calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0::net {

// local_conn is a stream of bytes to another process, as tcp_conn is. See io/calls.hpp.
class local_conn : public io::handle_calls<local_conn>,
                   public io::reader_calls<local_conn>,
                   public io::writer_calls<local_conn>,
                   public io::raw_calls<local_conn>,
                   public message_calls<local_conn>,
                   public connected_calls<local_conn>,
                   public shutdown_calls<local_conn>,
                   public socket_calls<local_conn> {
 public:
  local_conn() noexcept = default;  // every call gives errc::closed

  const local_endpoint& local() const noexcept { return local_; }
  const local_endpoint& remote() const noexcept { return remote_; }

 private:
  friend struct io::access;
  friend struct local_access;
  detail::local_ends name() const noexcept { return {"unix", local_, remote_}; }

  poll::descriptor_ptr descriptor_;
  local_endpoint local_;
  local_endpoint remote_;
};

// local_packet_conn is a connection that keeps the bounds of messages (SOCK_SEQPACKET). send_message with no
// descriptors sends a packet, receive_message takes one; size 0 is the end, as an empty packet cannot be told from it.
class local_packet_conn : public io::handle_calls<local_packet_conn>,
                          public io::readable_calls<local_packet_conn>,
                          public io::writable_calls<local_packet_conn>,
                          public io::raw_calls<local_packet_conn>,
                          public message_calls<local_packet_conn>,
                          public connected_calls<local_packet_conn>,
                          public shutdown_calls<local_packet_conn>,
                          public socket_calls<local_packet_conn> {
 public:
  local_packet_conn() noexcept = default;  // every call gives errc::closed

  const local_endpoint& local() const noexcept { return local_; }
  const local_endpoint& remote() const noexcept { return remote_; }

 private:
  friend struct io::access;
  friend struct local_access;
  detail::local_ends name() const noexcept { return {"unixpacket", local_, remote_}; }

  poll::descriptor_ptr descriptor_;
  local_endpoint local_;
  local_endpoint remote_;
};

namespace detail {

// socket_file removes the file that a listener's bind has made when the listener goes, unless somebody has put another
// one in its place.
class WEFT_API socket_file {
 public:
  socket_file() noexcept = default;
  explicit socket_file(const local_endpoint& path) noexcept;
  socket_file(socket_file&& other) noexcept { swap(other); }
  socket_file& operator=(socket_file&& other) noexcept {
    swap(other);
    return *this;
  }
  ~socket_file() { remove(); }
  void remove() noexcept;

 private:
  void swap(socket_file& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(device_, other.device_);
    std::swap(inode_, other.inode_);
  }

  local_endpoint path_;  // unnamed: nothing to remove
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
};

WEFT_API poll::descriptor_ptr accept_local(poll::descriptor* listener, const std::shared_ptr<poll::poller>& poller,
                                           poll::kind k, local_endpoint& peer, int& error) noexcept;

}  // namespace detail

// basic_local_listener is where connections arrive; any number of fibers may accept at once. close, and the destructor,
// remove the socket's file, as Go does, unless the options said to keep it.
template <class Conn>
class basic_local_listener : public io::handle_calls<basic_local_listener<Conn>>,
                             public io::raw_calls<basic_local_listener<Conn>>,
                             public socket_calls<basic_local_listener<Conn>> {
 public:
  basic_local_listener() noexcept = default;  // every call gives errc::closed

  [[nodiscard]] Conn accept() {
    const auto ends = name();
    int error = poll::ok;
    Conn conn = accept_one(error);
    if (error != poll::ok) io::detail::fail(error, "accept", ends.describe(), 0);
    return conn;
  }
  [[nodiscard]] Conn accept(std::error_code& ec) noexcept {
    int error = poll::ok;
    Conn conn = accept_one(error);
    ec = io::detail::code_of(error);
    return conn;
  }
  [[nodiscard]] Conn accept(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return accept();
  }
  [[nodiscard]] Conn accept(const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return accept(ec);
  }

  void close() {
    file_.remove();
    io::handle_calls<basic_local_listener>::close();
  }
  void close(std::error_code& ec) noexcept {
    file_.remove();
    io::handle_calls<basic_local_listener>::close(ec);
  }

  const local_endpoint& local() const noexcept { return local_; }

 private:
  friend struct io::access;
  friend struct local_access;
  detail::local_ends name() const noexcept { return {network, local_, {}}; }
  static constexpr const char* network = std::is_same_v<Conn, local_conn> ? "unix" : "unixpacket";

  Conn accept_one(int& error) noexcept;

  poll::descriptor_ptr descriptor_;
  std::shared_ptr<poll::poller> poller_;
  local_endpoint local_;
  detail::socket_file file_;
};
using local_listener = basic_local_listener<local_conn>;
using local_packet_listener = basic_local_listener<local_packet_conn>;
extern template class WEFT_API basic_local_listener<local_conn>;
extern template class WEFT_API basic_local_listener<local_packet_conn>;

struct local_listen_options {
  explicit local_listen_options() = default;

  int backlog = 0;                      // connections that may wait to be accepted; 0: as many as the system allows
  std::optional<unsigned> permissions;  // of the socket's file; without: what the process's umask leaves
  bool replace_stale = false;           // remove a socket's file at which nobody listens any more
  bool keep_file = false;               // leave the file when the listener is closed
};

// listen_local listens at a path or an abstract name. dial_local connects to it. A listener whose queue is full cannot
// be waited for by the system: the dial tries again, after 1 ms, doubling up to 64 ms, until its time is up. Need a
// runtime: errc::no_runtime. Error texts: "listen unix /a/path: address already in use".
[[nodiscard]] WEFT_API local_listener listen_local(std::string_view where, const local_listen_options& options);
[[nodiscard]] WEFT_API local_listener listen_local(std::string_view where, const local_listen_options& options,
                                                   std::error_code& ec);
[[nodiscard]] inline local_listener listen_local(std::string_view where) {
  return listen_local(where, local_listen_options());
}
[[nodiscard]] inline local_listener listen_local(std::string_view where, std::error_code& ec) {
  return listen_local(where, local_listen_options(), ec);
}
[[nodiscard]] WEFT_API local_packet_listener listen_local_packet(std::string_view where,
                                                                 const local_listen_options& options);
[[nodiscard]] WEFT_API local_packet_listener listen_local_packet(std::string_view where,
                                                                 const local_listen_options& options,
                                                                 std::error_code& ec);
[[nodiscard]] inline local_packet_listener listen_local_packet(std::string_view where) {
  return listen_local_packet(where, local_listen_options());
}

struct local_dial_options {
  explicit local_dial_options() = default;
  std::optional<std::chrono::steady_clock::duration> timeout;  // for all of it; without: none
};

[[nodiscard]] WEFT_API local_conn dial_local(std::string_view where, const local_dial_options& options);
[[nodiscard]] WEFT_API local_conn dial_local(std::string_view where, const local_dial_options& options,
                                             std::error_code& ec);
[[nodiscard]] inline local_conn dial_local(std::string_view where) { return dial_local(where, local_dial_options()); }
[[nodiscard]] inline local_conn dial_local(std::string_view where, std::error_code& ec) {
  return dial_local(where, local_dial_options(), ec);
}
[[nodiscard]] inline local_conn dial_local(std::string_view where, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return dial_local(where);
}
[[nodiscard]] inline local_conn dial_local(std::string_view where, const std::stop_token& stop, std::error_code& ec) {
  const sched::stop_link link(stop);
  return dial_local(where, ec);
}
[[nodiscard]] WEFT_API local_packet_conn dial_local_packet(std::string_view where, const local_dial_options& options);
[[nodiscard]] WEFT_API local_packet_conn dial_local_packet(std::string_view where, const local_dial_options& options,
                                                           std::error_code& ec);
[[nodiscard]] inline local_packet_conn dial_local_packet(std::string_view where) {
  return dial_local_packet(where, local_dial_options());
}

// These make two connected, unnamed sockets.
[[nodiscard]] WEFT_API local_ends_of<local_conn> local_pair();
[[nodiscard]] WEFT_API local_ends_of<local_packet_conn> local_packet_pair();

}  // namespace weft::inline v0::net
