// Pipes of the system: one direction, between fibers, threads or processes.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <system_error>

namespace weft::inline v0::os {

namespace detail {

struct pipe_name {
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

// pipe_reader is the end to read from; when every writer has gone, a read gives 0. See io/calls.hpp.
class pipe_reader : public io::handle_calls<pipe_reader>, public io::reader_calls<pipe_reader> {
 public:
  pipe_reader() noexcept = default;  // every call gives errc::closed

 private:
  friend struct io::access;
  detail::pipe_name name() const noexcept { return {}; }

  poll::descriptor_ptr descriptor_;
};

// pipe_writer is the end to write to; when every reader has gone, a write fails with std::errc::broken_pipe, and no
// signal is raised.
class pipe_writer : public io::handle_calls<pipe_writer>, public io::writer_calls<pipe_writer> {
 public:
  pipe_writer() noexcept = default;  // every call gives errc::closed

 private:
  friend struct io::access;
  detail::pipe_name name() const noexcept { return {}; }

  poll::descriptor_ptr descriptor_;
};

struct pipe_ends {
  pipe_reader reader;
  pipe_writer writer;
};

// pipe makes a pipe; programs that are executed inherit neither end. Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API pipe_ends pipe();
[[nodiscard]] WEFT_API pipe_ends pipe(std::error_code& ec) noexcept;

}  // namespace weft::inline v0::os
