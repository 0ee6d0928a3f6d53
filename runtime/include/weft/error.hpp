// Errors: the library's own codes, and the exceptions it throws.
#pragma once

#include <weft/export.hpp>

#include <cstddef>
#include <string>
#include <system_error>
#include <type_traits>

namespace weft::inline v0 {

// errc holds what std::errc has no word for. A passed deadline is std::errc::timed_out, a cancelled call
// std::errc::operation_canceled, an operating system's refusal its errno value in std::system_category().
enum class errc {
  closed = 1,        // the object was closed, before or while the call waited
  no_runtime = 2,    // the call needs a runtime, and the caller is neither a fiber nor inside runtime::enter()
  not_pollable = 3,  // the call would have to wait for a file that the system cannot wait for
};

// error_category names the codes of errc ("weft").
WEFT_API const std::error_category& error_category() noexcept;
WEFT_API std::error_code make_error_code(errc e) noexcept;

// io_error is what a failed call on a descriptor throws.
class WEFT_API io_error : public std::system_error {
 public:
  io_error(std::error_code code, const std::string& what, std::size_t transferred = 0);
  ~io_error() override;

  // The bytes that had been transferred when the call failed.
  std::size_t transferred() const noexcept { return transferred_; }

 private:
  std::size_t transferred_;
};

// canceled_error is what a call throws that began, or waited, while a stop of its fiber stood. Its code is
// std::errc::operation_canceled.
class WEFT_API canceled_error : public std::system_error {
 public:
  explicit canceled_error(const std::string& what, std::size_t transferred = 0);
  ~canceled_error() override;

  // The bytes that had been transferred when the call was cancelled.
  std::size_t transferred() const noexcept { return transferred_; }

 private:
  std::size_t transferred_;
};

}  // namespace weft::inline v0

template <>
struct std::is_error_code_enum<weft::errc> : std::true_type {};
