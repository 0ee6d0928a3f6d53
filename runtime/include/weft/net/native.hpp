// Descriptors that somebody else made: terminals, timers, serial lines, sockets of another library.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/io/raw_calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <system_error>

namespace weft::inline v0::net {

namespace detail {

struct native_name {
  int number;
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

// native_conn is a descriptor of the user's as a handle: it reads, writes and waits as the library's own do, and makes
// the user's own system calls. See io/calls.hpp and io/raw_calls.hpp.
class WEFT_API native_conn : public io::handle_calls<native_conn>,
                             public io::reader_calls<native_conn>,
                             public io::writer_calls<native_conn>,
                             public io::raw_calls<native_conn> {
 public:
  native_conn() noexcept = default;  // every call gives errc::closed

  // release closes the handle but gives the number back to the caller, as it was: blocking, inherited by executed
  // programs; -1 if the handle was closed before.
  [[nodiscard]] int release() noexcept;

 private:
  friend struct io::access;
  friend struct native_access;

  detail::native_name name() const noexcept { return {number_}; }

  poll::descriptor_ptr descriptor_;
  int number_ = -1;
  int file_flags_ = 0;    // as they were: of the open file, O_NONBLOCK among them
  int number_flags_ = 0;  // of the number, FD_CLOEXEC
};

// from_native takes over a descriptor's number and closes it with the handle. It is made close-on-exec and
// non-blocking; the latter is a property of the open file, which duplicates and other processes may share (a terminal's,
// for one), and outlives close: release puts it back, close does not. What the system cannot wait for, such as a regular file, is refused with
// errc::not_pollable; the number is still the caller's then, as after any failure. A socket has been connected, or its
// connect was issued. Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API native_conn from_native(int fd);
[[nodiscard]] WEFT_API native_conn from_native(int fd, std::error_code& ec) noexcept;

}  // namespace weft::inline v0::net
