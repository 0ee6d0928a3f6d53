// limit_reader: the beginning of a stream, as a stream.
#pragma once

#include <weft/buffer.hpp>
#include <weft/io/stream.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0::io {

// limit_reader ends after `limit` bytes of its source, or where that ends. It reads no more of it than that.
// limit_reader(conn, n) borrows conn, which outlives it; limit_reader(std::move(conn), n) owns it.
// As thread-safe as its source, but for the count: one call at a time.
template <class R>
requires reader<std::remove_reference_t<R>>
class limit_reader {
 public:
  limit_reader(R&& source, std::uint64_t limit) : source_(std::forward<R>(source)), remaining_(limit) {}

  template <class... How>
  requires detail::form<How...> std::size_t read_some(mutable_buffer b, How&&... how)
  noexcept(detail::reports<How...>) {
    return detail::in_form(
        [&](std::error_code& ec) -> std::size_t {
          if (remaining_ == 0) return 0;
          const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(b.size(), remaining_));
          const std::size_t n = source_.read_some(mutable_buffer(b.data(), size), ec);
          remaining_ -= n;
          return n;
        },
        [&] { return detail::raise_for("read", source_); }, how...);
  }

  // How many bytes may still come.
  std::uint64_t remaining() const noexcept { return remaining_; }

  // The stream below. What is taken from it directly is not counted.
  auto& source() noexcept { return source_; }

  // passed counts n bytes that were taken from the source directly. REQUIRES: n <= remaining().
  void passed(std::uint64_t n) noexcept { remaining_ -= n; }

 private:
  friend struct access;
  auto name() const noexcept { return detail::name_of(source_); }

  R source_;
  std::uint64_t remaining_;
};

template <class R>
limit_reader(R&&, std::uint64_t) -> limit_reader<R>;

}  // namespace weft::inline v0::io
