// Where local sockets come from.
#include "../adopt.hpp"
#include "../io_error.hpp"
#include "local_address.hpp"
#include "socket.hpp"

#include <weft/net/local.hpp>
#include <weft/net/local_datagram.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>

namespace weft::inline v0::net {

using sched::sys_call;

struct local_access {
  template <class Conn>
  static void name(Conn& c, const local_endpoint& local, const local_endpoint& remote) noexcept {
    c.local_ = local;
    c.remote_ = remote;
  }
  template <class Listener>
  static void finish(Listener& l, std::shared_ptr<poll::poller> poller, const local_endpoint& local, bool keep_file) {
    l.poller_ = std::move(poller);
    l.local_ = local;
    if (!keep_file) l.file_ = detail::socket_file(local);
  }
};

namespace {

template <class Handle>
constexpr int type_of = SOCK_STREAM;
template <>
constexpr int type_of<local_packet_conn> = SOCK_SEQPACKET;
template <>
constexpr int type_of<local_packet_listener> = SOCK_SEQPACKET;
template <>
constexpr int type_of<local_datagram> = SOCK_DGRAM;

template <class Handle>
constexpr poll::kind kind_of = type_of<Handle> == SOCK_STREAM ? poll::kind::stream : poll::kind::datagram;

template <class Handle>
constexpr const char* network_of = type_of<Handle> == SOCK_STREAM      ? "unix"
                                   : type_of<Handle> == SOCK_SEQPACKET ? "unixpacket"
                                                                       : "unixgram";

int make_socket(int type, int& error) noexcept {
  const long fd = sys_call(::socket, AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  error = fd < 0 ? static_cast<int>(-fd) : 0;
  return fd < 0 ? -1 : static_cast<int>(fd);
}

int bind_to(int fd, const local_address& where) noexcept {
  return static_cast<int>(-sys_call(::bind, fd, &where.any, where.size));
}

// connect tries once: 0, EAGAIN for a full queue, or another errno value. Local sockets connect at once or not at all.
int connect_once(int fd, const local_address& where) noexcept {
  long r;
  do {
    r = sys_call(::connect, fd, &where.any, where.size);
  } while (r == -EINTR);
  return static_cast<int>(-r);
}

// Nobody listens at a path if connecting to it is refused; then the file is only in the way.
bool is_stale(const local_endpoint& e) noexcept {
  int error = 0;
  new_socket probe(make_socket(SOCK_STREAM, error));
  if (probe.get() < 0) return false;
  error = connect_once(probe.get(), local_address(e));
  return error == ECONNREFUSED;
}

std::string path_of(const local_endpoint& e) { return std::string(e.text()); }

int bind_and_listen(int fd, const local_endpoint& where, const local_listen_options& options) {
  const local_address address(where);
  int error = bind_to(fd, address);
  if (error == EADDRINUSE && options.replace_stale && where.is_path() && is_stale(where)) {
    sys_call(::unlink, path_of(where).c_str());
    error = bind_to(fd, address);
  }
  // Before anybody can connect.
  if (error == 0 && options.permissions && where.is_path()) {
    error = static_cast<int>(-sys_call(::chmod, path_of(where).c_str(), static_cast<mode_t>(*options.permissions)));
  }
  if (error != 0) return error;
  const int backlog = options.backlog > 0 ? options.backlog : std::numeric_limits<int>::max();
  return static_cast<int>(-sys_call(::listen, fd, backlog));
}

// opened parses `where`, makes a socket, and gives both to `use`, which returns 0 or an errno value or one of
// poll::error.
template <class Handle, class Use>
Handle opened(const char* operation, std::string_view where, failure& f, Use use) {
  Handle h;
  f.what = {operation, network_of<Handle>, {}, std::string(where)};
  const local_endpoint e = local_endpoint::parse(where, f.code);
  if (f.code) return h;
  std::shared_ptr<poll::poller> poller = current_poller();
  if (poller == nullptr) {
    f.code = errc::no_runtime;
    return h;
  }
  int error = 0;
  new_socket made(make_socket(type_of<Handle>, error));
  if (error == 0) error = use(made, poller, e, h);
  f.code = to_error_code(error);
  return f.code ? Handle() : std::move(h);
}

template <class Handle>
int hand_over(new_socket& made, const std::shared_ptr<poll::poller>& poller, poll::kind k, Handle& h) noexcept {
  int error = 0;
  poll::descriptor_ptr d = made.hand_over(poller, k, error);
  if (d != nullptr) io::access::give(h, std::move(d));
  return error;
}

template <class Listener>
Listener listen_at(std::string_view where, const local_listen_options& options, failure& f) {
  const auto use = [&](new_socket& made, const std::shared_ptr<poll::poller>& poller, const local_endpoint& e,
                       Listener& l) {
    int error = bind_and_listen(made.get(), e, options);
    if (error != 0) return error;
    local_access::finish(l, poller, local_name_of(made.get()), options.keep_file);
    return hand_over(made, poller, poll::kind::listener, l);
  };
  return opened<Listener>("listen", where, f, use);
}

// A full queue gives no edge when there is room again.
int connect_patiently(int fd, const local_address& where, sched::nanotime until) noexcept {
  constexpr sched::nanotime millisecond = 1'000'000;
  for (sched::nanotime pause = millisecond;; pause = std::min(2 * pause, 64 * millisecond)) {
    const int error = connect_once(fd, where);
    if (error != EAGAIN) return error;
    if (sched::now() >= until) return poll::timed_out;
    if (!sched::sleep_until(std::min(sched::after(pause), until))) return poll::canceled;
  }
}

template <class Conn>
Conn dial(std::string_view where, const local_dial_options& options, failure& f) {
  const sched::nanotime until = options.timeout ? weft::detail::to_nanotime(*options.timeout) : sched::never;
  const auto use = [&](new_socket& made, const std::shared_ptr<poll::poller>& poller, const local_endpoint& e,
                       Conn& c) {
    if (sched::stop_requested()) return int{poll::canceled};
    const int error = connect_patiently(made.get(), local_address(e), until);
    if (error != 0) return error;
    local_access::name(c, local_name_of(made.get()), e);
    return hand_over(made, poller, kind_of<Conn>, c);
  };
  return opened<Conn>("dial", where, f, use);
}

local_datagram bind_datagram(std::string_view where, failure& f) {
  const auto use = [](new_socket& made, const std::shared_ptr<poll::poller>& poller, const local_endpoint& e,
                      local_datagram& s) {
    const int error = bind_to(made.get(), local_address(e));
    if (error != 0) return error;
    local_access::name(s, local_name_of(made.get()), {});
    return hand_over(made, poller, poll::kind::datagram, s);
  };
  return opened<local_datagram>("listen", where, f, use);
}

// "@" alone asks the system for an abstract name: an address that has only a family.
int bind_local_end(int fd, std::string_view local) noexcept {
  if (local.empty()) return 0;
  std::error_code ec;
  const local_endpoint own = local_endpoint::parse(local, ec);
  if (ec) return EINVAL;
  local_address address(own);
  if (local == "@") address.size = sizeof address.local.sun_family;
  return bind_to(fd, address);
}

local_datagram connect_datagram(std::string_view where, std::string_view local, failure& f) {
  const auto use = [&](new_socket& made, const std::shared_ptr<poll::poller>& poller, const local_endpoint& e,
                       local_datagram& s) {
    int error = bind_local_end(made.get(), local);
    if (error == 0) error = connect_once(made.get(), local_address(e));
    if (error != 0) return error;
    local_access::name(s, local_name_of(made.get()), e);
    return hand_over(made, poller, poll::kind::datagram, s);
  };
  return opened<local_datagram>("dial", where, f, use);
}

template <class Handle>
Handle checked(Handle h, const failure& f) {
  if (f.code) throw_failure(f.code, f.what);
  return h;
}

template <class Handle>
Handle reported(Handle h, const failure& f, std::error_code& ec) {
  ec = f.code;
  return h;
}

template <class Conn>
local_ends_of<Conn> pair() {
  local_ends_of<Conn> ends;
  const std::shared_ptr<poll::poller> poller = current_poller();
  std::error_code code = errc::no_runtime;
  if (poller != nullptr) {
    int fds[2];
    const long r = sys_call(::socketpair, AF_UNIX, type_of<Conn> | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
    int error = static_cast<int>(-r);
    if (r >= 0) {
      error = adopt(poller, fds[0], kind_of<Conn>, ends.first);
      if (error == poll::ok) {
        error = adopt(poller, fds[1], kind_of<Conn>, ends.second);
      } else {
        close_socket(fds[1]);
      }
    }
    code = to_error_code(error);
  }
  if (code) throw_failure(code, {"make a pair of", network_of<Conn>, {}, {}});
  return ends;
}

}  // namespace

detail::socket_file::socket_file(const local_endpoint& path) noexcept {
  if (!path.is_path()) return;
  struct stat s;
  if (sys_call(::lstat, local_address(path).local.sun_path, &s) < 0) return;
  path_ = path;
  device_ = s.st_dev;
  inode_ = s.st_ino;
}

void detail::socket_file::remove() noexcept {
  if (!path_) return;
  const local_address address(std::exchange(path_, local_endpoint()));
  struct stat s;
  if (sys_call(::lstat, address.local.sun_path, &s) < 0 || s.st_dev != device_ || s.st_ino != inode_) return;
  sys_call(::unlink, address.local.sun_path);
}

poll::descriptor_ptr detail::accept_local(poll::descriptor* listener, const std::shared_ptr<poll::poller>& poller,
                                          poll::kind k, local_endpoint& peer, int& error) noexcept {
  error = poll::closed;
  if (listener == nullptr) return nullptr;
  local_address from;
  const poll::descriptor::accepted got = listener->accept(&from.any, &from.size);
  error = got.error;
  if (error != poll::ok) return nullptr;
  peer = from.to_endpoint();
  new_socket made(got.fd);
  return made.hand_over(poller, k, error);
}

template <class Conn>
Conn basic_local_listener<Conn>::accept_one(int& error) noexcept {
  Conn conn;
  const local_endpoint own = local_;
  local_endpoint peer;
  poll::descriptor_ptr d = detail::accept_local(descriptor_.get(), poller_, kind_of<Conn>, peer, error);
  if (d != nullptr) {
    io::access::give(conn, std::move(d));
    local_access::name(conn, own, peer);
  }
  return conn;
}

template class basic_local_listener<local_conn>;
template class basic_local_listener<local_packet_conn>;

local_listener listen_local(std::string_view where, const local_listen_options& options) {
  failure f;
  return checked(listen_at<local_listener>(where, options, f), f);
}
local_listener listen_local(std::string_view where, const local_listen_options& options, std::error_code& ec) {
  failure f;
  return reported(listen_at<local_listener>(where, options, f), f, ec);
}
local_packet_listener listen_local_packet(std::string_view where, const local_listen_options& options) {
  failure f;
  return checked(listen_at<local_packet_listener>(where, options, f), f);
}
local_packet_listener listen_local_packet(std::string_view where, const local_listen_options& options,
                                          std::error_code& ec) {
  failure f;
  return reported(listen_at<local_packet_listener>(where, options, f), f, ec);
}
local_conn dial_local(std::string_view where, const local_dial_options& options) {
  failure f;
  return checked(dial<local_conn>(where, options, f), f);
}
local_conn dial_local(std::string_view where, const local_dial_options& options, std::error_code& ec) {
  failure f;
  return reported(dial<local_conn>(where, options, f), f, ec);
}
local_packet_conn dial_local_packet(std::string_view where, const local_dial_options& options) {
  failure f;
  return checked(dial<local_packet_conn>(where, options, f), f);
}
local_packet_conn dial_local_packet(std::string_view where, const local_dial_options& options, std::error_code& ec) {
  failure f;
  return reported(dial<local_packet_conn>(where, options, f), f, ec);
}
local_datagram listen_local_datagram(std::string_view where) {
  failure f;
  return checked(bind_datagram(where, f), f);
}
local_datagram listen_local_datagram(std::string_view where, std::error_code& ec) {
  failure f;
  return reported(bind_datagram(where, f), f, ec);
}
local_datagram dial_local_datagram(std::string_view where, std::string_view local) {
  failure f;
  return checked(connect_datagram(where, local, f), f);
}
local_datagram dial_local_datagram(std::string_view where, std::string_view local, std::error_code& ec) {
  failure f;
  return reported(connect_datagram(where, local, f), f, ec);
}
local_ends_of<local_conn> local_pair() { return pair<local_conn>(); }
local_ends_of<local_packet_conn> local_packet_pair() { return pair<local_packet_conn>(); }
local_ends_of<local_datagram> local_datagram_pair() { return pair<local_datagram>(); }

}  // namespace weft::inline v0::net
