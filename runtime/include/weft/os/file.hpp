// Files of the file system.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>

namespace weft::inline v0::os {

// offset is a place in a file, or a size of one, in bytes.
using offset = std::int64_t;

namespace detail {

struct file_name {
  std::shared_ptr<const std::string> path;
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

enum class seek_from : std::uint8_t { start, current, end };

// file is an open file. What the system can wait for (a FIFO, a terminal, a device) waits as a socket does and has
// deadlines. A regular file or a directory cannot be waited for: its calls block the thread, inside weft::blocking, so
// other fibers go on; deadlines are refused with errc::not_pollable, a stop is noticed when a call begins, and close
// does not wait for a call that is stuck in the system. Reading and writing at the file's own position: io/calls.hpp.
class WEFT_API file : public io::handle_calls<file>, public io::reader_calls<file>, public io::writer_calls<file> {
 public:
  file() noexcept = default;  // every call gives errc::closed

  // read_at and write_at move bytes at a place of their own and leave the position alone; any number at once. read_at
  // fills the buffer, fewer bytes mean the file's end; write_at writes everything. A file opened to append has no places
  // to write at: std::errc::invalid_argument.
  std::size_t read_at(mutable_buffer b, offset at);
  std::size_t read_at(mutable_buffer b, offset at, std::error_code& ec) noexcept;
  std::size_t read_at(mutable_buffer b, offset at, const std::stop_token& stop);
  std::size_t read_at(mutable_buffer b, offset at, const std::stop_token& stop, std::error_code& ec) noexcept;
  void write_at(const_buffer b, offset at);
  std::size_t write_at(const_buffer b, offset at, std::error_code& ec) noexcept;
  void write_at(const_buffer b, offset at, const std::stop_token& stop);
  std::size_t write_at(const_buffer b, offset at, const std::stop_token& stop, std::error_code& ec) noexcept;

  // seek moves the position and returns it, counted from the start.
  offset seek(offset to, seek_from from = seek_from::start);
  offset seek(offset to, seek_from from, std::error_code& ec) noexcept;

  offset size() const;
  offset size(std::error_code& ec) const noexcept;
  // resize cuts the file, or makes it longer by zeros.
  void resize(offset size);
  void resize(offset size, std::error_code& ec) noexcept;

  // sync returns when the file's bytes are on the device, and its times and size with it; sync_data leaves out what a
  // reader would not miss.
  void sync();
  void sync(std::error_code& ec) noexcept;
  void sync_data();
  void sync_data(std::error_code& ec) noexcept;

  // The path it was opened with; "" for a handle that was never opened.
  std::string_view path() const noexcept { return path_ != nullptr ? std::string_view(*path_) : std::string_view(); }

 private:
  friend struct io::access;
  friend struct file_access;

  detail::file_name name() const noexcept { return {path_}; }

  poll::descriptor_ptr descriptor_;
  std::shared_ptr<const std::string> path_;
  bool appends_ = false;
};

enum class file_access_mode : std::uint8_t { read, write, read_write };

struct open_options {
  explicit open_options() = default;

  file_access_mode access = file_access_mode::read;
  bool create = false;          // make it if it is not there
  bool exclusive = false;       // with create: fail if it is there
  bool truncate = false;        // empty it
  bool append = false;          // every write goes to the end
  unsigned permissions = 0666;  // of a new file, less the process's umask
};

// open_file opens a file, to read unless the options say otherwise. Blocks its thread while others go on: a FIFO waits
// for nobody (without a reader, opening it to write fails), but a file server may. Executed programs don't inherit it. Needs a runtime: errc::no_runtime.
[[nodiscard]] WEFT_API file open_file(std::string_view path);
[[nodiscard]] WEFT_API file open_file(std::string_view path, std::error_code& ec);
[[nodiscard]] WEFT_API file open_file(std::string_view path, const open_options& options);
[[nodiscard]] WEFT_API file open_file(std::string_view path, const open_options& options, std::error_code& ec);

// create_file opens a file to read and write, made anew or emptied.
[[nodiscard]] WEFT_API file create_file(std::string_view path);
[[nodiscard]] WEFT_API file create_file(std::string_view path, std::error_code& ec);

}  // namespace weft::inline v0::os
