// buffered_writer: small writes to a stream, joined to large ones.
#pragma once

#include <weft/buffer.hpp>
#include <weft/io/buffered_reader.hpp>
#include <weft/io/stream.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0::io {

// buffered_writer collects bytes and writes them when its buffer is full, or when flush says so.
// buffered_writer(conn) borrows conn, which outlives it; buffered_writer(std::move(conn)) owns it. The buffer is
// allocated by the first write that needs it.
// The destructor does not flush, since that might wait and fail: what was not flushed is dropped.
// After a write of the stream below has failed, for whatever reason, every write and flush fails with that error: some
// of the bytes are out, and what follows must not come after a gap.
// Not thread-safe: one call at a time. Movable while no call waits.
template <class W>
requires writer<std::remove_reference_t<W>>
class buffered_writer {
 public:
  explicit buffered_writer(W&& sink) : buffered_writer(std::forward<W>(sink), buffer_options()) {}
  buffered_writer(W&& sink, const buffer_options& options)
      : sink_(std::forward<W>(sink)), size_(options.size > 0 ? options.size : 1) {}

  // write takes everything, and returns its size; after an error what it took, which may be written or not. With
  // nothing buffered, what doesn't fit the buffer is written directly.
  template <class... How>
  requires detail::form<How...> std::size_t write(const_buffer b, How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form([&](std::error_code& ec) { return take(b, ec); }, how...);
  }

  // flush writes what is buffered, and returns how much that was.
  template <class... How>
  requires detail::form<How...> std::size_t flush(How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form([&](std::error_code& ec) { return empty(ec); }, how...);
  }

  std::size_t buffered() const noexcept { return used_; }
  std::size_t size() const noexcept { return size_; }
  // How much may be written before the next write of the stream below.
  std::size_t available() const noexcept { return size_ - used_; }

  // The stream below. What is written to it directly overtakes what is buffered.
  auto& sink() noexcept { return sink_; }

 private:
  friend struct access;
  auto name() const noexcept { return detail::name_of(sink_); }

  template <class Call, class... How>
  auto in_form(Call call, How&... how) noexcept(detail::reports<How&...>) {
    return detail::in_form(
        call, [&] { return detail::raise_for("write", sink_); }, how...);
  }

  std::size_t put(const_buffer b, std::error_code& ec) {
    const std::size_t n = sink_.write(b, ec);
    failure_ = ec;
    return n;
  }

  std::size_t empty(std::error_code& ec) {
    if ((ec = failure_) || used_ == 0) return 0;
    const std::size_t n = put({memory_.get(), used_}, ec);
    used_ -= n;
    if (used_ > 0) std::memmove(memory_.get(), memory_.get() + n, used_);
    return n;
  }

  std::size_t take(const_buffer b, std::error_code& ec) {
    if ((ec = failure_)) return 0;
    const auto* const data = static_cast<const char*>(b.data());
    std::size_t count = 0;
    while (b.size() - count > available()) {
      if (used_ == 0) return count + put({data + count, b.size() - count}, ec);
      count += store(data + count, available());
      empty(ec);
      if (ec) return count;
    }
    if (b.size() == count) return count;
    if (memory_ == nullptr) memory_.reset(new (std::nothrow) char[size_]);
    if (memory_ == nullptr) return count + put({data + count, b.size() - count}, ec);  // it is a buffer, not a must
    return count + store(data + count, b.size() - count);
  }

  std::size_t store(const char* data, std::size_t n) noexcept {
    std::memcpy(memory_.get() + used_, data, n);
    used_ += n;
    return n;
  }

  W sink_;
  std::unique_ptr<char[]> memory_;
  std::size_t size_;
  std::size_t used_ = 0;
  std::error_code failure_;
};

template <class W>
buffered_writer(W&&) -> buffered_writer<W>;
template <class W>
buffered_writer(W&&, const buffer_options&) -> buffered_writer<W>;

}  // namespace weft::inline v0::io
