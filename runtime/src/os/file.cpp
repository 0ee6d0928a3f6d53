#include <weft/os/file.hpp>

#include "../adopt.hpp"
#include "../io_error.hpp"

#include <weft/sched/blocking.hpp>
#include <weft/sched/fault.hpp>
#include <weft/sched/sys.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace weft::inline v0::os {

using poll::io_result;
using poll::mode;
using sched::sys_call;

struct file_access {
  static void remember(file& f, std::string_view path, const open_options& options) {
    f.path_ = std::make_shared<const std::string>(path);
    f.appends_ = options.append;
  }
};

namespace {

// The most that one system call moves, as for streams.
constexpr std::size_t largest_transfer = std::size_t{1} << 30;

// shared makes one system call on a file's number, with no order among callers; -errno becomes the error.
template <class Call>
poll::descriptor::outcome shared(poll::descriptor& d, mode m, Call call) noexcept {
  return d.call(
      m, poll::turns::shared, [](void* c, int fd) -> long { return (*static_cast<Call*>(c))(fd); }, &call);
}

// done makes one system call that moves no bytes: beside deadlines, and with others going on if it blocks.
template <class Call>
int done(poll::descriptor& d, Call call) noexcept {
  if (sched::stop_requested()) return poll::canceled;
  const sched::blocking_region others_go_on;
  return static_cast<int>(d.with_fd(
      [](void* c, int fd) -> long {
        const long r = (*static_cast<Call*>(c))(fd);
        return r < 0 ? -r : 0;
      },
      &call));
}

auto read_from(mutable_buffer b, offset at) noexcept {
  return [=](poll::descriptor& d) {
    std::size_t count = 0;
    const auto r = shared(d, mode::read, [&](int fd) noexcept -> long {
      while (count < b.size()) {
        const std::size_t size = std::min(b.size() - count, largest_transfer);
        void* const to = static_cast<char*>(b.data()) + count;
        const long n = sys_call(::pread, fd, to, size, at + static_cast<offset>(count));
        if (n <= 0) return n;
        count += static_cast<std::size_t>(n);
      }
      return 0;
    });
    if (r.error == EFAULT) [[unlikely]] sched::check_fault(b.data(), b.size());
    return io_result{count, r.error};
  };
}

// All in one call, which pins the descriptor: the handle may go between two system calls.
auto write_to(const_buffer b, offset at, bool appends) noexcept {
  return [=](poll::descriptor& d) {
    std::size_t count = 0;
    if (appends) return io_result{0, EINVAL};
    const auto r = shared(d, mode::write, [&](int fd) noexcept -> long {
      do {
        const void* const from = static_cast<const char*>(b.data()) + count;
        const std::size_t size = std::min(b.size() - count, largest_transfer);
        const long n = sys_call(::pwrite, fd, from, size, at + static_cast<offset>(count));
        if (n < 0) return n;
        if (n == 0 && size != 0) return -EIO;  // took nothing, and doesn't say why
        count += static_cast<std::size_t>(n);
      } while (count < b.size());
      return 0;
    });
    if (r.error == EFAULT) [[unlikely]] sched::check_fault(b.data(), b.size());
    return io_result{count, r.error};
  };
}

auto seek_to(offset to, seek_from from, offset& position) noexcept {
  return [=, &position](poll::descriptor& d) {
    const int whence = from == seek_from::start ? SEEK_SET : from == seek_from::current ? SEEK_CUR : SEEK_END;
    // In turn with reads and writes, which use the position too.
    auto call = [=](int fd) noexcept { return sys_call(::lseek, fd, to, whence); };
    const auto r = d.call(
        mode::read, poll::turns::ordered,
        [](void* c, int fd) -> long { return (*static_cast<decltype(call)*>(c))(fd); }, &call);
    position = r.value;
    return r.error;
  };
}

auto size_of(offset& size) noexcept {
  return [&size](poll::descriptor& d) {
    return done(d, [&size](int fd) noexcept {
      struct stat s {};
      const long r = sys_call(::fstat, fd, &s);
      size = s.st_size;
      return r;
    });
  };
}

auto resize_to(offset size) noexcept {
  return [=](poll::descriptor& d) { return done(d, [=](int fd) noexcept { return sys_call(::ftruncate, fd, size); }); };
}

auto synced(int (*call)(int)) noexcept {
  return [=](poll::descriptor& d) { return done(d, [=](int fd) noexcept { return sys_call(call, fd); }); };
}

int flags_of(const open_options& o) noexcept {
  int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  switch (o.access) {
    case file_access_mode::read:
      flags |= O_RDONLY;
      break;
    case file_access_mode::write:
      flags |= O_WRONLY;
      break;
    case file_access_mode::read_write:
      flags |= O_RDWR;
      break;
  }
  if (o.create) flags |= O_CREAT;
  if (o.exclusive) flags |= O_EXCL;
  if (o.truncate) flags |= O_TRUNC;
  if (o.append) flags |= O_APPEND;
  return flags;
}

}  // namespace

failed_operation detail::file_name::describe() const {
  return {{}, "file", {}, path != nullptr ? *path : std::string()};
}

std::size_t file::read_at(mutable_buffer b, offset at) { return io::detail::throwing(*this, "read", read_from(b, at)); }
std::size_t file::read_at(mutable_buffer b, offset at, std::error_code& ec) noexcept {
  return io::detail::reporting(*this, ec, read_from(b, at));
}
std::size_t file::read_at(mutable_buffer b, offset at, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return read_at(b, at);
}
std::size_t file::read_at(mutable_buffer b, offset at, const std::stop_token& stop, std::error_code& ec) noexcept {
  const sched::stop_link link(stop);
  return read_at(b, at, ec);
}

void file::write_at(const_buffer b, offset at) { io::detail::throwing(*this, "write", write_to(b, at, appends_)); }
std::size_t file::write_at(const_buffer b, offset at, std::error_code& ec) noexcept {
  return io::detail::reporting(*this, ec, write_to(b, at, appends_));
}
void file::write_at(const_buffer b, offset at, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  write_at(b, at);
}
std::size_t file::write_at(const_buffer b, offset at, const std::stop_token& stop, std::error_code& ec) noexcept {
  const sched::stop_link link(stop);
  return write_at(b, at, ec);
}

offset file::seek(offset to, seek_from from) {
  offset position = 0;
  io::detail::throwing(*this, "seek in", seek_to(to, from, position));
  return position;
}
offset file::seek(offset to, seek_from from, std::error_code& ec) noexcept {
  offset position = 0;
  io::detail::reporting(*this, ec, seek_to(to, from, position));
  return position;
}

offset file::size() const {
  offset size = 0;
  io::detail::throwing(*this, "get size of", size_of(size));
  return size;
}
offset file::size(std::error_code& ec) const noexcept {
  offset size = 0;
  io::detail::reporting(*this, ec, size_of(size));
  return size;
}

void file::resize(offset size) { io::detail::throwing(*this, "resize", resize_to(size)); }
void file::resize(offset size, std::error_code& ec) noexcept { io::detail::reporting(*this, ec, resize_to(size)); }

void file::sync() { io::detail::throwing(*this, "sync", synced(::fsync)); }
void file::sync(std::error_code& ec) noexcept { io::detail::reporting(*this, ec, synced(::fsync)); }
void file::sync_data() { io::detail::throwing(*this, "sync", synced(::fdatasync)); }
void file::sync_data(std::error_code& ec) noexcept { io::detail::reporting(*this, ec, synced(::fdatasync)); }

file open_file(std::string_view path, const open_options& options, std::error_code& ec) {
  file f;
  const std::shared_ptr<poll::poller> poller = current_poller();
  if (poller == nullptr || path.find('\0') != path.npos) {
    ec = poller == nullptr ? std::error_code(errc::no_runtime) : std::make_error_code(std::errc::invalid_argument);
    return f;
  }
  file_access::remember(f, path, options);
  const int flags = flags_of(options);
  long fd;
  {
    const std::string zero_terminated(path);
    const sched::blocking_region others_go_on;
    do {
      fd = sys_call(::open, zero_terminated.c_str(), flags, static_cast<mode_t>(options.permissions));
    } while (fd == -EINTR);
  }
  ec = to_error_code(fd < 0 ? static_cast<int>(-fd) : adopt(poller, static_cast<int>(fd), poll::kind::file, f));
  return ec ? file() : std::move(f);
}

file open_file(std::string_view path, const open_options& options) {
  std::error_code ec;
  file f = open_file(path, options, ec);
  if (ec) throw_failure(ec, {"open", "file", {}, std::string(path)});
  return f;
}

file open_file(std::string_view path) { return open_file(path, open_options()); }
file open_file(std::string_view path, std::error_code& ec) { return open_file(path, open_options(), ec); }

namespace {

open_options to_create() noexcept {
  open_options o;
  o.access = file_access_mode::read_write;
  o.create = o.truncate = true;
  return o;
}

}  // namespace

file create_file(std::string_view path) { return open_file(path, to_create()); }
file create_file(std::string_view path, std::error_code& ec) { return open_file(path, to_create(), ec); }

}  // namespace weft::inline v0::os
