// Open files of every sort as handles, and what tests of copying ask of them.
#pragma once

#include "runtime_access.hpp"
#include "tcp_pair.hpp"

#include <weft/io.hpp>

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>

namespace testing_support {

// native is any open file as a handle.
class native : public weft::io::handle_calls<native>,
               public weft::io::reader_calls<native>,
               public weft::io::writer_calls<native> {
 public:
  native() = default;
  native(int fd, weft::poll::kind k) {
    int error = 0;
    descriptor_ = weft::poll::descriptor::open(weft::current_poller(), fd, k, error);
    EXPECT_EQ(error, 0);
  }

 private:
  friend struct weft::io::access;
  struct label {
    weft::failed_operation describe() const { return {{}, "native", {}, {}}; }
  };
  static label name() noexcept { return {}; }
  weft::poll::descriptor_ptr descriptor_;
};

struct ends {
  native out, in;
};
inline ends system_pipe() {
  int fds[2];
  EXPECT_EQ(::pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
  return {native(fds[0], weft::poll::kind::other), native(fds[1], weft::poll::kind::other)};
}
inline ends local_sockets() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
  return {native(fds[0], weft::poll::kind::stream), native(fds[1], weft::poll::kind::stream)};
}
inline native file_of(const std::string& content) {
  const int fd = ::memfd_create("content", MFD_CLOEXEC);
  EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
  ::lseek(fd, 0, SEEK_SET);
  return native(fd, weft::poll::kind::file);
}

inline weft::io::copy_options at_most(std::uint64_t limit) {
  weft::io::copy_options options;
  options.limit = limit;
  return options;
}

inline off_t position(const native& file) { return ::lseek(file.native_handle(), 0, SEEK_CUR); }

// Whether the system copies by itself, asked at the seam.
template <class W, class R>
weft::poll::transfer_result transfer(W& to, R& from, std::uint64_t limit) {
  return weft::poll::transfer(*weft::io::access::descriptor(to), *weft::io::access::descriptor(from), limit);
}

}  // namespace testing_support
