// pipe: a connection inside the program.
#pragma once

#include <weft/error.hpp>
#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <system_error>
#include <utility>

namespace weft::inline v0::io {

namespace detail {

struct pipe_name {
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

// pipe_end is one end of a connection that has no system below it: what is written here is read at the other end, and
// the other way round. It behaves as a tcp_conn does, for tests and between the parts of a program; but nothing is in
// between: a write waits until a reader has taken all of it, or the other end is closed, and an empty one doesn't wait.
// A reader gets at most 64 KiB at a time.
// After the close of the other end reads give 0, though a deadline has passed, and writes std::errc::broken_pipe; what
// a write offered and nobody took is not read any more. A movable handle, closed when it is destroyed. It has no native
// handle (-1). Reading, writing, deadlines, close: io/calls.hpp.
class WEFT_API pipe_end : public handle_calls<pipe_end>, public reader_calls<pipe_end>, public writer_calls<pipe_end> {
 public:
  pipe_end() noexcept = default;  // every call gives errc::closed

  int release() = delete;

 private:
  friend struct access;

  static detail::pipe_name name() noexcept { return {}; }

  poll::descriptor_ptr descriptor_;
};

// pipe makes both ends. Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API std::pair<pipe_end, pipe_end> pipe();
[[nodiscard]] WEFT_API std::pair<pipe_end, pipe_end> pipe(std::error_code& ec) noexcept;

}  // namespace weft::inline v0::io
