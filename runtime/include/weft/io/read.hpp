// Reading as much as is wanted.
#pragma once

#include <weft/buffer.hpp>
#include <weft/error.hpp>
#include <weft/io/stream.hpp>

#include <algorithm>
#include <cstddef>
#include <new>
#include <string>
#include <system_error>

namespace weft::inline v0::io {

namespace detail {

template <class R>
std::size_t read_full(R& from, mutable_buffer b, std::error_code& ec) {
  std::size_t count = 0;
  while (count < b.size()) {
    const std::size_t n = from.read_some({static_cast<char*>(b.data()) + count, b.size() - count}, ec);
    count += n;
    if (count == b.size()) break;
    if (ec) return count;
    if (n > 0) continue;
    if (count > 0) ec = errc::end_of_stream;
    return count;
  }
  ec.clear();  // of an error that came with the last bytes
  return count;
}

// The room for the next read: twice as much, but no more than one byte above the limit, which shows that it is
// exceeded.
inline void grow(std::string& all, std::size_t limit) {
  const std::size_t most = limit + 1 != 0 ? limit + 1 : limit;
  all.resize(std::min(std::max<std::size_t>(all.size() * 2, 4096), most));
}

template <class R>
void read_all(R& from, std::size_t limit, std::string& into, std::error_code& ec) {
  std::size_t count = 0;
  try {
    for (;;) {
      if (count == into.size()) grow(into, limit);
      const std::size_t n = from.read_some({into.data() + count, into.size() - count}, ec);
      count += n;
      if (count > limit) {
        count = limit;
        ec = errc::too_long;
      }
      if (ec || n == 0) break;
    }
  } catch (const std::bad_alloc&) {
    ec = std::make_error_code(std::errc::not_enough_memory);
  }
  into.resize(count);
}

}  // namespace detail

// read_full fills the buffer, and returns its size; or 0 if the stream is at its end. A stream that ends in the middle
// is errc::end_of_stream. (The handles' own read_full returns less instead.)
template <reader R, class... How>
requires detail::form<How...> std::size_t read_full(R& from, mutable_buffer b, How&&... how)
noexcept(detail::reports<How...>) {
  return detail::in_form([&](std::error_code& ec) { return detail::read_full(from, b, ec); },
                         [&] { return detail::raise_for("read", from); }, how...);
}

// read_all reads to the end of the stream. More than `limit` bytes are errc::too_long; then, and after another error,
// the form with an error_code returns what it has, and the throwing one nothing: the bytes have left the stream.
template <reader R, class... How>
requires detail::form<How...> std::string read_all(R& from, std::size_t limit, How&&... how)
noexcept(detail::reports<How...>) {
  return detail::in_form(
      [&](std::error_code& ec) {
        std::string all;
        detail::read_all(from, limit, all, ec);
        return all;
      },
      [&] { return detail::raise_for("read", from); }, how...);
}

}  // namespace weft::inline v0::io
