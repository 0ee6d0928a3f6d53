// read_buffer: the bytes that a buffered_reader has read and not given yet.
#pragma once

#include <weft/buffer.hpp>
#include <weft/export.hpp>

#include <cstddef>
#include <memory>
#include <string_view>

namespace weft::inline v0::io::detail {

// read_buffer is a queue of bytes in one piece. It has no memory before the first call of room. Not thread-safe.
class WEFT_API read_buffer {
 public:
  explicit read_buffer(std::size_t size) noexcept : size_(size > 0 ? size : 1) {}
  read_buffer(read_buffer&& other) noexcept { *this = static_cast<read_buffer&&>(other); }
  read_buffer& operator=(read_buffer&& other) noexcept;
  ~read_buffer() = default;

  std::string_view view() const noexcept { return {memory_.get() + begin_, end_ - begin_}; }
  std::size_t size() const noexcept { return end_ - begin_; }

  // What the memory is, or will be.
  std::size_t capacity() const noexcept { return size_; }

  // room returns where the next bytes go, so that the queue can become `want` long at least, for which it grows if it
  // must. Empty without memory. Views end. REQUIRES: want > size().
  mutable_buffer room(std::size_t want) noexcept;
  // filled tells how many bytes were put there.
  void filled(std::size_t n) noexcept { end_ += n; }

  // consume drops the first n. REQUIRES: n <= size().
  void consume(std::size_t n) noexcept { begin_ += n; }

 private:
  std::unique_ptr<char[]> memory_;
  std::size_t size_ = 1;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace weft::inline v0::io::detail
