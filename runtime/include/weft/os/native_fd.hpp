// native_fd: the owner of a descriptor's number.
#pragma once

#include <weft/export.hpp>

#include <utility>

namespace weft::inline v0::os {

// native_fd closes its number when it goes. A movable value that knows nothing of pollers: what arrives from another
// process is one, until it is made something of (net::from_native(fd.release())).
class native_fd {
 public:
  native_fd() noexcept = default;
  explicit native_fd(int number) noexcept : number_(number) {}
  native_fd(native_fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  native_fd& operator=(native_fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.number_, -1));
    return *this;
  }
  ~native_fd() { reset(); }

  int get() const noexcept { return number_; }  // -1: none
  explicit operator bool() const noexcept { return number_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }
  WEFT_API void reset(int number = -1) noexcept;  // closes the present one

 private:
  int number_ = -1;
};

}  // namespace weft::inline v0::os
