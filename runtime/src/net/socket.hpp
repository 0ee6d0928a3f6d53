// Small steps of every socket's life, shared by listeners, dials and connections.
#pragma once

#include <weft/error.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/tcp.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <memory>
#include <system_error>
#include <utility>

namespace weft::inline v0::net {

// failure is what went wrong and in doing what; an empty code is success.
struct failure {
  std::error_code code;
  failed_operation what;
};

// open_stream_socket makes a TCP socket for the family of `e`: non-blocking, close-on-exec, with or without delay and
// keep-alive. Returns its number, or -1 and an errno value in `error`.
int open_stream_socket(const endpoint& e, bool no_delay, const keep_alive& probes, int& error) noexcept;
void close_socket(int fd) noexcept;

// new_socket closes a number that no descriptor has taken over yet.
class new_socket {
 public:
  explicit new_socket(int fd) noexcept : fd_(fd) {}
  ~new_socket() {
    if (fd_ >= 0) close_socket(fd_);
  }
  new_socket(const new_socket&) = delete;
  new_socket& operator=(const new_socket&) = delete;

  int get() const noexcept { return fd_; }
  // hand_over opens a descriptor for the number and gives that up. Null and an errno value if it is refused.
  poll::descriptor_ptr hand_over(std::shared_ptr<poll::poller> p, poll::kind k, int& error) noexcept {
    poll::descriptor_ptr d = poll::descriptor::open(std::move(p), fd_, k, error);
    if (d != nullptr) fd_ = -1;
    return d;
  }

 private:
  int fd_;
};

// These return 0 or a positive errno value.
int set_option(int fd, int level, int name, int value) noexcept;
int apply_keep_alive(int fd, const keep_alive& options) noexcept;

// pinned calls use(fd), which returns 0 or a positive errno value, while the number cannot be released. poll::closed
// if it has been, or if there is no descriptor.
template <class Use>
int pinned(poll::descriptor* d, Use use) noexcept {
  if (d == nullptr) return poll::closed;
  return static_cast<int>(
      d->with_fd([](void* context, int fd) -> long { return (*static_cast<Use*>(context))(fd); }, &use));
}

// tcp_access makes the public types from what the system gave.
class tcp_access {
 public:
  static tcp_conn connection(poll::descriptor_ptr d, const endpoint& local, const endpoint& remote) noexcept {
    tcp_conn conn;
    conn.descriptor_.reset(d.release());
    static_assert(sizeof(detail::tcp_ends) <= poll::descriptor::label_size);
    ::new (conn.descriptor_->label()) detail::tcp_ends{local, remote};
    return conn;
  }
  static tcp_listener listener(poll::descriptor_ptr d, std::shared_ptr<poll::poller> p,
                               const endpoint& local) noexcept {
    tcp_listener result;
    result.descriptor_.reset(d.release());
    result.poller_ = std::move(p);
    result.local_ = local;
    return result;
  }
};

}  // namespace weft::inline v0::net
