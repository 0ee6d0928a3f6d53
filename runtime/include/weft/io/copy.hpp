// copy: all bytes of one stream to another.
#pragma once

#include <weft/buffer.hpp>
#include <weft/error.hpp>
#include <weft/export.hpp>
#include <weft/io/buffered_reader.hpp>
#include <weft/io/limit_reader.hpp>
#include <weft/io/stream.hpp>
#include <weft/netpoll/transfer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0::io {

struct copy_options {
  explicit copy_options() = default;
  std::uint64_t limit = std::numeric_limits<std::uint64_t>::max();  // bytes to copy at most
  std::size_t buffer = 32 * 1024;  // bytes; used where the system cannot copy by itself
};

namespace detail {

struct copied {
  std::uint64_t count = 0;
  std::error_code error;
  bool writing = false;  // whose error it is
};

template <class W, class R>
void copy_through_memory(W& to, R& from, std::uint64_t limit, std::size_t size, copied& result) {
  size = static_cast<std::size_t>(std::clamp<std::uint64_t>(size, 1, std::max<std::uint64_t>(limit, 1)));
  const std::unique_ptr<char[]> memory(new (std::nothrow) char[size]);
  if (memory == nullptr) {
    result.error = std::make_error_code(std::errc::not_enough_memory);
    return;
  }
  while (limit > 0) {
    const auto portion = static_cast<std::size_t>(std::min<std::uint64_t>(size, limit));
    std::error_code read_error;
    const std::size_t n = from.read_some(mutable_buffer(memory.get(), portion), read_error);
    if (n > 0) {
      const std::size_t written = to.write(const_buffer(memory.get(), n), result.error);
      result.count += written;
      limit -= n;
      result.writing = bool(result.error);
      if (result.error) return;
    }
    result.error = read_error;
    if (read_error || n == 0) return;
  }
}

// copy_from<R>: how the bytes of an R are got at.
template <class R>
struct copy_from {
  template <class W>
  static void run(W& to, R& from, std::uint64_t limit, std::size_t size, copied& result) {
    if constexpr (handle<W> && handle<R>) {
      poll::descriptor* const target = access::descriptor(to);
      poll::descriptor* const source = access::descriptor(from);
      if (target != nullptr && source != nullptr) {
        const poll::transfer_result r = poll::transfer(*target, *source, limit);
        result.count += r.count;
        result.error = code_of(r.error);
        result.writing = r.failed == poll::mode::write;
        if (r.handled) return;
        limit -= r.count;
      }
    }
    copy_through_memory(to, from, limit, size, result);
  }
};

template <class R>
struct copy_from<limit_reader<R>> {
  template <class W>
  static void run(W& to, limit_reader<R>& from, std::uint64_t limit, std::size_t size, copied& result) {
    const std::uint64_t before = result.count;
    copy_from<std::remove_reference_t<R>>::run(to, from.source(), std::min(limit, from.remaining()), size, result);
    from.passed(result.count - before);
  }
};

template <class R>
struct copy_from<buffered_reader<R>> {
  template <class W>
  static void run(W& to, buffered_reader<R>& from, std::uint64_t limit, std::size_t size, copied& result) {
    const std::string_view ahead =
        from.buffered().substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(limit, from.buffered().size())));
    if (!ahead.empty()) {
      const std::size_t written = to.write(const_buffer(ahead), result.error);
      result.count += written;
      limit -= written;
      from.consume(written);
      result.writing = bool(result.error);
      if (result.error) return;
    }
    if (limit == 0 || (result.error = from.take_failure())) return;
    copy_from<std::remove_reference_t<R>>::run(to, from.source(), limit, size, result);
  }
};

}  // namespace detail

// copy writes what it reads from `from` to `to`, until that ends or options.limit bytes are copied, and returns how
// many bytes were written; io_error::transferred() tells it of a copy that failed, and the io_error's operation, "read"
// or "write", whose failure it was. Deadlines of both sides, close and stops end it.
//
// Between sockets, pipes and regular files the system copies where it can (splice, sendfile), with no copy in the
// program: also behind a limit_reader or a buffered_reader, whose buffered bytes go first. The position of a file moves
// by what was written.
//
// What becomes of bytes that were read when `to` fails, as for a deadline or a stop: nothing is lost of a regular file
// or a pipe that the system copies from, and of the bytes that a buffered_reader holds. Otherwise a portion, of 1 MiB
// at most or of options.buffer, may be lost. A failure of `from` loses nothing.
template <class W, class R, class... How>
requires writer<std::remove_reference_t<W>> && reader<std::remove_reference_t<R>> && detail::form<How...> std::uint64_t
copy(W&& to, R&& from, const copy_options& options, How&&... how)
noexcept(detail::reports<How...>) {
  detail::copied result;
  return detail::in_form(
      [&](std::error_code& ec) {
        detail::copy_from<std::remove_reference_t<R>>::run(to, from, options.limit, options.buffer, result);
        ec = result.error;
        return result.count;
      },
      [&] {
        return [&result, write = detail::raise_for("write", to), read = detail::raise_for("read", from)](
                   const std::error_code& code, std::uint64_t count) {
          if (result.writing) write(code, count);
          read(code, count);
        };
      },
      how...);
}
template <class W, class R, class... How>
requires writer<std::remove_reference_t<W>> && reader<std::remove_reference_t<R>> && detail::form<How...> std::uint64_t
copy(W&& to, R&& from, How&&... how)
noexcept(detail::reports<How...>) { return io::copy(to, from, copy_options(), std::forward<How>(how)...); }

}  // namespace weft::inline v0::io
