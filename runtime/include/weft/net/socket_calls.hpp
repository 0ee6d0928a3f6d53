// The calls that all sockets have in common: their options.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>

namespace weft::inline v0::net {

enum class shutdown_side : std::uint8_t { read, write, both };

namespace detail {

// These return 0, an errno value or poll::closed.
WEFT_API int set_option(poll::descriptor& d, int level, int name, const void* value, std::size_t size) noexcept;
WEFT_API int get_option(poll::descriptor& d, int level, int name, void* value, std::size_t size) noexcept;
WEFT_API int shutdown(poll::descriptor& d, shutdown_side side) noexcept;
WEFT_API int set_buffer(poll::descriptor& d, bool receive, int bytes) noexcept;
WEFT_API int get_buffer(poll::descriptor& d, bool receive, int& bytes) noexcept;

}  // namespace detail

// socket_calls are those of a socket, of whatever kind. See io/calls.hpp.
template <class H>
class socket_calls {
 public:
  // set_option and get_option reach what has no name here: setsockopt(2) and getsockopt(2) with the system's numbers
  // for level and name. T is the type that the option has in C, int for most.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void set_option(int level, int name, const T& value) {
    io::detail::throwing(self(), "set option of", set(level, name, value));
  }
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void set_option(int level, int name, const T& value, std::error_code& ec) noexcept {
    io::detail::reporting(self(), ec, set(level, name, value));
  }
  template <class T = int>
    requires std::is_trivially_copyable_v<T>
  T get_option(int level, int name) const {
    T value{};
    io::detail::throwing(self(), "get option of", get(level, name, value));
    return value;
  }
  template <class T = int>
    requires std::is_trivially_copyable_v<T>
  T get_option(int level, int name, std::error_code& ec) const noexcept {
    T value{};
    io::detail::reporting(self(), ec, get(level, name, value));
    return value;
  }

  // The system's buffers, in bytes; Linux doubles what is set, for its own bookkeeping, and returns the doubled value.
  void set_receive_buffer(int bytes) { io::detail::throwing(self(), "set receive buffer of", resize(true, bytes)); }
  void set_receive_buffer(int bytes, std::error_code& ec) noexcept {
    io::detail::reporting(self(), ec, resize(true, bytes));
  }
  void set_send_buffer(int bytes) { io::detail::throwing(self(), "set send buffer of", resize(false, bytes)); }
  void set_send_buffer(int bytes, std::error_code& ec) noexcept {
    io::detail::reporting(self(), ec, resize(false, bytes));
  }
  int receive_buffer() const {
    int bytes = 0;
    io::detail::throwing(self(), "get receive buffer of", size_of(true, bytes));
    return bytes;
  }
  int receive_buffer(std::error_code& ec) const noexcept {
    int bytes = 0;
    io::detail::reporting(self(), ec, size_of(true, bytes));
    return bytes;
  }
  int send_buffer() const {
    int bytes = 0;
    io::detail::throwing(self(), "get send buffer of", size_of(false, bytes));
    return bytes;
  }
  int send_buffer(std::error_code& ec) const noexcept {
    int bytes = 0;
    io::detail::reporting(self(), ec, size_of(false, bytes));
    return bytes;
  }

 protected:
  socket_calls() noexcept = default;
  ~socket_calls() = default;
  socket_calls(socket_calls&&) noexcept = default;
  socket_calls& operator=(socket_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }

  template <class T>
  static auto set(int level, int name, const T& value) noexcept {
    return [=, &value](poll::descriptor& d) { return detail::set_option(d, level, name, &value, sizeof value); };
  }
  template <class T>
  static auto get(int level, int name, T& value) noexcept {
    return [=, &value](poll::descriptor& d) { return detail::get_option(d, level, name, &value, sizeof value); };
  }
  static auto resize(bool receive, int bytes) noexcept {
    return [=](poll::descriptor& d) { return detail::set_buffer(d, receive, bytes); };
  }
  static auto size_of(bool receive, int& bytes) noexcept {
    return [=, &bytes](poll::descriptor& d) { return detail::get_buffer(d, receive, bytes); };
  }
};

// shutdown_calls are those of a socket that is connected.
template <class H>
class shutdown_calls {
 public:
  // shutdown ends one direction: after write, the peer reads to the end of the stream; after read, reads here give 0.
  void shutdown(shutdown_side side) { io::detail::throwing(self(), "shutdown", end(side)); }
  void shutdown(shutdown_side side, std::error_code& ec) noexcept { io::detail::reporting(self(), ec, end(side)); }

 protected:
  shutdown_calls() noexcept = default;
  ~shutdown_calls() = default;
  shutdown_calls(shutdown_calls&&) noexcept = default;
  shutdown_calls& operator=(shutdown_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }
  static auto end(shutdown_side side) noexcept {
    return [=](poll::descriptor& d) { return detail::shutdown(d, side); };
  }
};

}  // namespace weft::inline v0::net
