#include <weft/net/native.hpp>

#include "../io_error.hpp"
#include "../runtime_access.hpp"

#include <weft/error.hpp>
#include <weft/sched/sys.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

namespace weft::inline v0::net {

using sched::sys_call;

struct native_access {
  static void remember(native_conn& c, int fd, bool was_blocking) noexcept {
    c.number_ = fd;
    c.was_blocking_ = was_blocking;
  }
};

namespace {

// A stream of TCP is a stream like others here: whoever has its number elsewhere may have changed what a short read means.
poll::kind kind_of(int fd) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  if (sys_call(::getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) return poll::kind::other;
  return type == SOCK_STREAM ? poll::kind::stream : poll::kind::datagram;
}

}  // namespace

failed_operation detail::native_name::describe() const {
  return {{}, "descriptor", {}, number >= 0 ? std::to_string(number) : std::string()};
}

native_conn from_native(int fd, std::error_code& ec) noexcept {
  native_conn conn;
  std::shared_ptr<poll::poller> poller = current_poller();
  if (poller == nullptr) {
    ec = errc::no_runtime;
    return conn;
  }
  const long flags = sys_call(::fcntl, fd, F_GETFL);
  const bool blocks = flags >= 0 && (flags & O_NONBLOCK) == 0;
  long r = flags;
  if (blocks) r = sys_call(::fcntl, fd, F_SETFL, static_cast<int>(flags | O_NONBLOCK));
  int error = r < 0 ? static_cast<int>(-r) : int{poll::ok};
  if (error == poll::ok) {
    poll::descriptor_ptr d = poll::descriptor::open(std::move(poller), fd, kind_of(fd), error);
    if (d != nullptr) {
      io::access::give(conn, std::move(d));
      native_access::remember(conn, fd, blocks);
    } else if (blocks) {
      sys_call(::fcntl, fd, F_SETFL, static_cast<int>(flags));
    }
  }
  ec = error == EPERM ? std::error_code(errc::not_pollable) : to_error_code(error);
  return conn;
}

native_conn from_native(int fd) {
  std::error_code ec;
  native_conn conn = from_native(fd, ec);
  if (ec) {
    failed_operation what = detail::native_name{fd}.describe();
    what.operation = "use";
    throw_failure(ec, std::move(what));
  }
  return conn;
}

int native_conn::release() noexcept {
  const int fd = io::handle_calls<native_conn>::release();
  if (fd >= 0 && was_blocking_) {
    const long flags = sys_call(::fcntl, fd, F_GETFL);
    if (flags >= 0) sys_call(::fcntl, fd, F_SETFL, static_cast<int>(flags & ~O_NONBLOCK));
  }
  return fd;
}

}  // namespace weft::inline v0::net
