// cursor: how far an array of buffers has been worked off.
#pragma once

#include <algorithm>
#include <cstddef>

#include <sys/uio.h>

namespace weft::inline v0::poll {

// A place in an array of buffers that somebody else keeps unchanged.
struct cursor {
  const iovec* at = nullptr;
  const iovec* end = nullptr;
  std::size_t offset = 0;  // of *at, done already

  void skip_empty() noexcept {
    while (at != end && at->iov_len == offset) {
      ++at;
      offset = 0;
    }
  }
  void advance(std::size_t n) noexcept {
    while (n > 0) {
      const std::size_t step = std::min(n, at->iov_len - offset);
      offset += step;
      n -= step;
      skip_empty();
    }
  }
};

}  // namespace weft::inline v0::poll
