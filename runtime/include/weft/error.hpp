// Errors: the library's own codes, and the exceptions it throws.
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace weft::inline v0 {

// errc holds what std::errc has no word for. A passed deadline is std::errc::timed_out, a cancelled call
// std::errc::operation_canceled, an operating system's refusal its errno value in std::system_category().
enum class errc {
  closed = 1,        // the object was closed, before or while the call waited
  no_runtime = 2,    // the call needs a runtime, and the caller is neither a fiber nor inside runtime::enter()
  not_pollable = 3,  // the call would have to wait for, or set a deadline of, a file that the system cannot wait for
  end_of_stream = 4, // the stream ended in the middle of what was to be read
  too_long = 5,      // what was to be read does not end within the limit
};

// error_category names the codes of errc ("weft").
WEFT_API const std::error_category& error_category() noexcept;
WEFT_API std::error_code make_error_code(errc e) noexcept;

// What kind of failure a code is. The answers are Go's:
// is_timeout: a deadline has passed, of the program's (std::errc::timed_out) or of the system's own.
// is_temporary: the same call may succeed later though nothing about the object changes: a timeout; no descriptor left
// (EMFILE, ENFILE); an interruption; a connection that was gone before it was accepted.
// is_closed: this side closed the object.
WEFT_API bool is_timeout(const std::error_code& code) noexcept;
WEFT_API bool is_temporary(const std::error_code& code) noexcept;
WEFT_API bool is_closed(const std::error_code& code) noexcept;

// failed_operation says what a call was doing when it failed. `network` is "tcp", "udp", "unix", "file", ...; empty
// where there is none, as are ends that are not known. Printed as "read tcp 10.0.0.1:5000->10.0.0.2:80".
struct failed_operation {
  std::string operation;  // "read", "dial", ...
  std::string network;
  std::string source;  // the local end
  std::string target;  // the remote end, the path, or the address that was asked for
  WEFT_API std::string to_string() const;
};

// io_error is what a failed call on a descriptor throws. what() is the operation, its object and the cause:
// "dial tcp 127.0.0.1:1: connection refused". Copying throws nothing.
class WEFT_API io_error : public std::system_error {
 public:
  io_error(std::error_code code, failed_operation operation, std::size_t transferred = 0);
  io_error(std::error_code code, std::string_view operation, std::size_t transferred = 0);
  io_error(const io_error&) noexcept = default;
  io_error& operator=(const io_error&) noexcept = default;
  ~io_error() override;

  const char* what() const noexcept override;
  const failed_operation& operation() const noexcept;

  // The bytes that had been transferred when the call failed.
  std::size_t transferred() const noexcept { return transferred_; }

  bool timeout() const noexcept { return is_timeout(code()); }
  bool temporary() const noexcept { return is_temporary(code()); }
  bool closed() const noexcept { return is_closed(code()); }

 private:
  struct details;
  std::shared_ptr<const details> details_;
  std::size_t transferred_;
};

// canceled_error is what a call throws that began, or waited, while a stop of its fiber, or of the token that it was
// given, stood. Its code is std::errc::operation_canceled.
class WEFT_API canceled_error : public std::system_error {
 public:
  explicit canceled_error(std::string_view operation, std::size_t transferred = 0);
  canceled_error(const canceled_error&) noexcept = default;
  canceled_error& operator=(const canceled_error&) noexcept = default;
  ~canceled_error() override;

  const char* what() const noexcept override;

  // The bytes that had been transferred when the call was cancelled.
  std::size_t transferred() const noexcept { return transferred_; }

 private:
  std::shared_ptr<const std::string> text_;
  std::size_t transferred_;
};

}  // namespace weft::inline v0

template <>
struct std::is_error_code_enum<weft::errc> : std::true_type {};
