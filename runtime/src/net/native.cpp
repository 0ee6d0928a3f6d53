#include <weft/net/native.hpp>

#include "../io_error.hpp"
#include "../runtime_access.hpp"

#include <weft/error.hpp>
#include <weft/sched/sys.hpp>

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

namespace weft::inline v0::net {

using sched::sys_call;

struct native_access {
  static void remember(native_conn& c, int fd, int file_flags, int number_flags) noexcept {
    c.number_ = fd;
    c.file_flags_ = file_flags;
    c.number_flags_ = number_flags;
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

// change sets the flags in which `wanted` differs from `present`; 0 or an errno value.
int change(int fd, int command, int present, int wanted) noexcept {
  return present == wanted ? 0 : static_cast<int>(-sys_call(::fcntl, fd, command, wanted));
}

void give_back(int fd, int file_flags, int number_flags) noexcept {
  static_cast<void>(change(fd, F_SETFL, file_flags | O_NONBLOCK, file_flags));
  static_cast<void>(change(fd, F_SETFD, number_flags | FD_CLOEXEC, number_flags));
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
  const long r = sys_call(::fcntl, fd, F_GETFL);
  const long on_number = sys_call(::fcntl, fd, F_GETFD);
  if (r < 0 || on_number < 0) {
    ec = to_error_code(static_cast<int>(-std::min(r, on_number)));
    return conn;
  }
  const int file_flags = static_cast<int>(r);
  const int number_flags = static_cast<int>(on_number);
  int error = change(fd, F_SETFL, file_flags, file_flags | O_NONBLOCK);
  if (error == 0) error = change(fd, F_SETFD, number_flags, number_flags | FD_CLOEXEC);
  if (error == 0) {
    poll::descriptor_ptr d = poll::descriptor::open(std::move(poller), fd, kind_of(fd), error);
    if (d != nullptr) {
      io::access::give(conn, std::move(d));
      native_access::remember(conn, fd, file_flags, number_flags);
    }
  }
  if (error != 0) give_back(fd, file_flags, number_flags);
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
  if (fd >= 0) give_back(fd, file_flags_, number_flags_);
  return fd;
}

}  // namespace weft::inline v0::net
