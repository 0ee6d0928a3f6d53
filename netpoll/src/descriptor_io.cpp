// The read and write loops: try, and where the system would block, park and try again.
#include "call_loop.hpp"
#include "cursor.hpp"
#include "memory_link.hpp"
#include "open_file.hpp"
#include "pipe_signal.hpp"

#include <weft/sched/fault.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace weft::inline v0::poll {

using sched::sys_call;

namespace {

constexpr std::size_t max_buffers = 1024;  // UIO_MAXIOV

// refused is the outcome of a call that has not waited for anything: its handle is still there.
[[gnu::cold]] io_result refused(open_file& file, int error, on_failure f) noexcept {
  if (f == on_failure::keep) file.add_owner();
  return {0, error};
}

io_result enter(open_file& file, on_failure f) noexcept {
  if (sched::stop_requested()) return refused(file, canceled, f);
  if (!file.incref()) return refused(file, closed, f);
  file.decref();
  return {};
}

// read_loop calls attempt(), which is one system call (open_file::try_once, if the file may be one that can't be polled), until it
// comes to something.
template <class Attempt>
io_result read_loop(open_file& file, std::size_t asked, on_failure f, Attempt attempt) noexcept {
  if (sched::stop_requested()) return refused(file, canceled, f);
  io_result result;
  result.error = file.lock_fresh(mode::read, f);
  if (result.error != ok) return result;
  result.error = begin_read(file);
  while (result.error == ok) {
    const long r = open_file::uninterrupted(attempt);
    if (r >= 0) [[likely]] {
      result.count = static_cast<std::size_t>(r);
      file.note_read(result.count, asked);
      break;
    }
    result.error = r == -EAGAIN ? file.wait(mode::read) : static_cast<int>(-r);
  }
  if (result.error != ok && f == on_failure::keep) file.add_owner();
  file.unlock(mode::read);
  return result;
}

// write_loop calls attempt(sent), which is one system call for some of the rest, until `total` bytes are out. With
// total 0 it makes one call: a datagram may be empty, and a closed peer shows.
template <class Attempt>
io_result write_loop(open_file& file, std::size_t total, on_failure f, Attempt attempt) noexcept {
  if (sched::stop_requested()) return refused(file, canceled, f);
  io_result result;
  result.error = file.lock_fresh(mode::write, f);
  if (result.error != ok) return result;
  result.error = file.pd->reset(mode::write);
  while (result.error == ok) {
    const long r = open_file::uninterrupted([attempt, sent = result.count]() noexcept { return attempt(sent); });
    if (r >= 0) [[likely]] {
      result.count += static_cast<std::size_t>(r);
      if (result.count >= total) break;
      if (r == 0) result.error = EIO;  // took nothing, and doesn't say why: no second try would differ
      continue;
    }
    result.error = r == -EAGAIN ? file.wait(mode::write) : static_cast<int>(-r);
  }
  if (result.error != ok && f == on_failure::keep) file.add_owner();
  file.unlock(mode::write);
  return result;
}

long send_some(const open_file& file, const void* data, std::size_t size) noexcept {
  if (file.is_socket) return sys_call(::send, file.fd, data, size, MSG_NOSIGNAL);
  return without_sigpipe([&]() noexcept { return sys_call(::write, file.fd, data, size); });
}

long send_some(const open_file& file, const iovec* buffers, std::size_t n) noexcept {
  if (!file.is_socket) {
    return without_sigpipe([&]() noexcept { return sys_call(::writev, file.fd, buffers, static_cast<int>(n)); });
  }
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(buffers);  // sendmsg changes neither array nor bytes
  message.msg_iovlen = n;
  return sys_call(::sendmsg, file.fd, &message, MSG_NOSIGNAL);
}

// send_from sends some of what is left. Whole buffers go out straight from the caller's array; only behind a partly
// sent or oversized one a few are copied.
long send_from(const open_file& file, const cursor& c) noexcept {
  constexpr std::size_t few = 16;
  if (c.offset == 0 && c.at->iov_len <= max_transfer) {
    std::size_t n = 0;
    for (std::size_t sum = 0; n < max_buffers && c.at + n != c.end; ++n) {
      sum += c.at[n].iov_len;
      if (sum > max_transfer || sum < c.at[n].iov_len) break;
    }
    return send_some(file, c.at, n);
  }
  iovec copy[few];
  std::size_t n = 0;
  std::size_t room = max_transfer;
  std::size_t offset = c.offset;
  for (const iovec* b = c.at; b != c.end && n < few && room > 0; ++b, offset = 0) {
    const std::size_t size = std::min(b->iov_len - offset, room);
    copy[n++] = {static_cast<char*>(b->iov_base) + offset, size};
    room -= size;
  }
  return send_some(file, copy, n);
}

// in_memory makes a call of the memory_link's, which knows nothing of on_failure.
template <class Call>
io_result in_memory(open_file& file, on_failure f, Call call) noexcept {
  if (f == on_failure::nothing) return call();
  file.add_owner();
  const io_result result = call();
  if (result.error == ok) file.drop_owner();
  return result;
}

// write_otherwise writes to what is no socket with a stream of bytes. Apart: what it needs would be in the frames of all who wait.
[[gnu::noinline, gnu::cold]] io_result write_otherwise(open_file& file, const void* data, std::size_t size, on_failure f) noexcept {
  if (file.memory != nullptr) {
    const iovec one{const_cast<void*>(data), size};
    return in_memory(file, f, [&]() noexcept { return memory_write(file, &one, 1); });
  }
  if (file.what == kind::datagram) {
    return write_loop(file, size, f, [&](std::size_t) noexcept { return send_some(file, data, size); });
  }
  return write_loop(file, size, f, [&](std::size_t sent) noexcept {
    const std::size_t some = std::min(size - sent, max_transfer);
    return file.try_once([&]() noexcept { return send_some(file, static_cast<const char*>(data) + sent, some); });
  });
}

// read_otherwise reads what is in memory, or can't be polled.
[[gnu::noinline, gnu::cold]] io_result read_otherwise(open_file& file, void* data, std::size_t size, on_failure f) noexcept {
  if (file.memory != nullptr) {
    const iovec one{data, size};
    return in_memory(file, f, [&]() noexcept { return memory_read(file, &one, 1); });
  }
  return read_loop(file, size, f, [&]() noexcept {
    return file.try_once([&]() noexcept { return sys_call(::read, file.fd, data, size); });
  });
}

void check_faults(const iovec* buffers, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) sched::check_fault(buffers[i].iov_base, buffers[i].iov_len);
}

}  // namespace

io_result descriptor::read(void* data, std::size_t size, on_failure f) noexcept {
  open_file& file = open_file::of(*this);
  if (size == 0) return enter(file, f);
  const std::size_t asked = std::min(size, max_transfer);
  io_result result;
  if (file.memory == nullptr && !file.blocks) [[likely]] {
    result = read_loop(file, asked, f, [fd = file.fd, data, asked]() noexcept { return sys_call(::read, fd, data, asked); });
  } else {
    result = read_otherwise(file, data, asked, f);
  }
  if (result.error == EFAULT) [[unlikely]] sched::check_fault(data, asked);
  return result;
}

io_result descriptor::read_full(void* data, std::size_t size) noexcept {
  open_file& file = open_file::of(*this);
  if (!file.incref()) return {0, closed};  // or else the memory might go between two reads
  io_result result;
  do {
    const io_result part = read(static_cast<char*>(data) + result.count, size - result.count);
    result.count += part.count;
    result.error = part.error;
    if (part.count == 0) break;
  } while (result.error == ok && result.count < size);
  file.decref();
  return result;
}

io_result descriptor::readv(const iovec* buffers, std::size_t n) noexcept {
  open_file& file = open_file::of(*this);
  while (n > 0 && buffers->iov_len == 0) {
    ++buffers;
    --n;
  }
  if (n == 0) return enter(file, on_failure::nothing);
  if (file.memory != nullptr) [[unlikely]] return memory_read(file, buffers, n);
  if (buffers->iov_len >= max_transfer) return read(buffers->iov_base, max_transfer);
  std::size_t asked = 0;
  std::size_t used = 0;
  while (used < n && used < max_buffers && buffers[used].iov_len <= max_transfer - asked) {
    asked += buffers[used++].iov_len;
  }
  const io_result result = read_loop(file, asked, on_failure::nothing, [&]() noexcept {
    return file.try_once([&]() noexcept { return sys_call(::readv, file.fd, buffers, static_cast<int>(used)); });
  });
  if (result.error == EFAULT) [[unlikely]] check_faults(buffers, used);
  return result;
}

io_result descriptor::write(const void* data, std::size_t size, on_failure f) noexcept {
  open_file& file = open_file::of(*this);
  io_result result;
  if (file.is_socket && file.what != kind::datagram) [[likely]] {
    result = write_loop(file, size, f, [fd = file.fd, data, size](std::size_t sent) noexcept {
      return sys_call(::send, fd, static_cast<const char*>(data) + sent, std::min(size - sent, max_transfer), MSG_NOSIGNAL);
    });
  } else {
    result = write_otherwise(file, data, size, f);
  }
  if (result.error == EFAULT) [[unlikely]] sched::check_fault(data, size);
  return result;
}

io_result descriptor::writev(const iovec* buffers, std::size_t n) noexcept {
  open_file& file = open_file::of(*this);
  std::size_t total = 0;
  for (std::size_t i = 0; i < n; ++i) total += buffers[i].iov_len;
  if (total == 0) return write("", 0);
  if (file.memory != nullptr) [[unlikely]] return memory_write(file, buffers, n);
  if (file.what == kind::datagram) {
    return write_loop(file, total, on_failure::nothing, [&](std::size_t) noexcept { return send_some(file, buffers, n); });
  }
  cursor c{buffers, buffers + n};
  c.skip_empty();
  std::size_t known = 0;
  const io_result result = write_loop(file, total, on_failure::nothing, [&](std::size_t sent) noexcept {
    c.advance(sent - known);
    known = sent;
    return file.try_once([&]() noexcept { return send_from(file, c); });
  });
  if (result.error == EFAULT) [[unlikely]] check_faults(buffers, n);
  return result;
}

}  // namespace weft::inline v0::poll
