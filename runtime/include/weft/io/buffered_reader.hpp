// buffered_reader: small reads of a stream, lines among them, made of large ones.
#pragma once

#include <weft/buffer.hpp>
#include <weft/error.hpp>
#include <weft/io/detail/read_buffer.hpp>
#include <weft/io/stream.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0::io {

struct buffer_options {
  explicit buffer_options() = default;
  std::size_t size = 4096;  // bytes
};

// buffered_reader reads from a stream ahead of what is asked for. buffered_reader(conn) borrows conn, which outlives
// it; buffered_reader(std::move(conn)) owns it. The buffer is allocated by the first call that reads, and grows for a
// peek, or a line, that is longer. Failures: bytes that came before an error are given first. A call that fails, be it
// for a deadline or a stop, has taken nothing, or tells how much: the rest is in the buffer, and the call can be made
// again. Without memory: std::errc::not_enough_memory. Not thread-safe: one call at a time. Movable while no call
// waits.
template <class R>
requires reader<std::remove_reference_t<R>>
class buffered_reader {
 public:
  explicit buffered_reader(R&& source) : buffered_reader(std::forward<R>(source), buffer_options()) {}
  buffered_reader(R&& source, const buffer_options& options)
      : source_(std::forward<R>(source)), buffer_(options.size) {}

  // read_some gives what is buffered, or else reads once. Large buffers are read into directly.
  template <class... How>
  requires detail::form<How...> std::size_t read_some(mutable_buffer b, How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form([&](std::error_code& ec) { return read_once(b, ec); }, how...);
  }

  // read_full reads until the buffer is full. Fewer bytes, without an error, mean that the stream ended.
  template <class... How>
  requires detail::form<How...> std::size_t read_full(mutable_buffer b, How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form(
        [&](std::error_code& ec) {
          std::size_t count = 0;
          while (count < b.size()) {
            const std::size_t n = read_once({static_cast<char*>(b.data()) + count, b.size() - count}, ec);
            count += n;
            if (n == 0) break;
          }
          return count;
        },
        how...);
  }

  // peek shows the next n bytes, which stay in the stream; fewer at its end. The view is good until the next call.
  template <class... How>
  requires detail::form<How...> std::string_view peek(std::size_t n, How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form(
        [&](std::error_code& ec) {
          while (buffer_.size() < n && fill(n, ec) > 0) {
          }
          return buffer_.view().substr(0, n);
        },
        how...);
  }

  // read_byte: nothing at the end of the stream.
  template <class... How>
  requires detail::form<How...> std::optional<std::byte> read_byte(How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form(
        [&](std::error_code& ec) -> std::optional<std::byte> {
          if (buffer_.size() == 0 && fill(1, ec) == 0) return std::nullopt;
          const auto byte = static_cast<std::byte>(buffer_.view().front());
          buffer_.consume(1);
          return byte;
        },
        how...);
  }

  // read_until puts what comes before the next delimiter into `text`, and drops the delimiter. What stands before the
  // end of the stream is given likewise; after that it returns false. More than `limit` bytes without a delimiter are
  // errc::too_long: they stay in the stream, to be read otherwise, with another limit, or dropped by discard_until.
  // If it fails, `text` is as before.
  template <class... How>
  requires detail::form<How...>
  bool read_until(std::string& text, char delimiter, std::size_t limit,
                  How&&... how) noexcept(detail::reports<How...>) {
    return in_form([&](std::error_code& ec) { return give(text, find(delimiter, limit, false, ec), ec); }, how...);
  }

  // read_line is read_until for lines, which end with LF or CR LF; neither is given.
  template <class... How>
  requires detail::form<How...>
  bool read_line(std::string& line, std::size_t limit, How&&... how) noexcept(detail::reports<How...>) {
    return in_form([&](std::error_code& ec) { return give(line, find('\n', limit, true, ec), ec); }, how...);
  }

  // discard drops n bytes, fewer at the end of the stream; returns how many.
  template <class... How>
  requires detail::form<How...> std::uint64_t discard(std::uint64_t n, How&&... how)
  noexcept(detail::reports<How...>) {
    return in_form(
        [&](std::error_code& ec) {
          std::uint64_t count = 0;
          while (count < n && (buffer_.size() > 0 || fill(1, ec) > 0)) {
            const auto some = static_cast<std::size_t>(std::min<std::uint64_t>(n - count, buffer_.size()));
            buffer_.consume(some);
            count += some;
          }
          return count;
        },
        how...);
  }

  // discard_until drops everything up to the next delimiter, and that. False: the stream ended before.
  template <class... How>
  requires detail::form<How...>
  bool discard_until(char delimiter, How&&... how) noexcept(detail::reports<How...>) {
    return in_form(
        [&](std::error_code& ec) {
          while (buffer_.size() > 0 || fill(1, ec) > 0) {
            const std::size_t at = buffer_.view().find(delimiter);
            buffer_.consume(at == std::string_view::npos ? buffer_.size() : at + 1);
            if (at != std::string_view::npos) return true;
          }
          return false;
        },
        how...);
  }

  // buffered: the bytes that were read ahead. The view is good until the next call.
  std::string_view buffered() const noexcept { return buffer_.view(); }
  // consume drops the first n of them. REQUIRES: there are as many.
  void consume(std::size_t n) noexcept { buffer_.consume(n); }

  // take_failure hands over an error that came with bytes which are all given by now, and would be the next call's.
  std::error_code take_failure() noexcept {
    return buffer_.size() == 0 ? std::exchange(pending_, std::error_code()) : std::error_code();
  }

  // The stream below; what is read from it directly comes after what is buffered.
  auto& source() noexcept { return source_; }

 private:
  friend struct access;
  auto name() const noexcept { return detail::name_of(source_); }

  template <class Call, class... How>
  auto in_form(Call call, How&... how) noexcept(detail::reports<How&...>) {
    return detail::in_form(
        call, [&] { return detail::raise_for("read", source_); }, how...);
  }

  std::size_t read_source(mutable_buffer b, std::error_code& ec) {
    if (pending_) {
      ec = std::exchange(pending_, std::error_code());
      return 0;
    }
    const std::size_t n = source_.read_some(b, ec);
    if (n > 0 && ec) pending_ = std::exchange(ec, std::error_code());
    return n;
  }

  // fill reads once, so that `want` bytes may be there. 0: the end, or an error.
  std::size_t fill(std::size_t want, std::error_code& ec) {
    const mutable_buffer room = buffer_.room(want);
    if (room.empty()) {
      ec = std::make_error_code(std::errc::not_enough_memory);
      return 0;
    }
    const std::size_t n = read_source(room, ec);
    buffer_.filled(n);
    return n;
  }

  std::size_t read_once(mutable_buffer b, std::error_code& ec) {
    if (b.empty()) return 0;
    if (buffer_.size() == 0) {
      if (b.size() >= buffer_.capacity()) return read_source(b, ec);
      if (fill(1, ec) == 0) return 0;
    }
    const std::size_t n = std::min(b.size(), buffer_.size());
    std::memcpy(b.data(), buffer_.view().data(), n);
    buffer_.consume(n);
    return n;
  }

  // A piece of text at the head of the buffer, and what to drop with it.
  struct piece {
    std::size_t size = 0;
    std::size_t with_end = 0;  // 0: there is none
  };

  piece find(char delimiter, std::size_t limit, bool lines, std::error_code& ec) {
    limit = std::min(limit, std::numeric_limits<std::size_t>::max() - 2);
    for (std::size_t seen = 0;;) {
      const std::string_view text = buffer_.view().substr(0, limit + (lines ? 2 : 1));
      const std::size_t at = text.find(delimiter, seen);
      seen = text.size();
      const bool found = at != std::string_view::npos;
      std::size_t size = found ? at : seen;
      const bool carriage = lines && size > 0 && text[size - 1] == '\r';
      if (found && carriage) --size;
      if (size > limit && (found || !carriage || size > limit + 1)) break;
      if (found) return {size, at + 1};
      if (fill(seen + 1, ec) > 0) continue;
      if (!ec && size > limit) break;
      return ec ? piece{} : piece{size, size};
    }
    ec = errc::too_long;
    return {};
  }

  bool give(std::string& text, const piece& p, std::error_code& ec) {
    if (ec) return false;
    try {
      text.assign(buffer_.view().substr(0, p.size));
    } catch (const std::bad_alloc&) {
      ec = std::make_error_code(std::errc::not_enough_memory);
      return false;
    }
    buffer_.consume(p.with_end);
    return p.with_end > 0;
  }

  R source_;
  detail::read_buffer buffer_;
  std::error_code pending_;  // came with bytes that were to be given first
};

template <class R>
buffered_reader(R&&) -> buffered_reader<R>;
template <class R>
buffered_reader(R&&, const buffer_options&) -> buffered_reader<R>;

}  // namespace weft::inline v0::io
