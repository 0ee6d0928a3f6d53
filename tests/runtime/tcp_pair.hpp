// Connected sockets for tests, and what tests ask of them. No SCOPED_TRACE on a fiber that may suspend: it belongs to
// the thread.
#pragma once

#include "runtime_fixture.hpp"

#include <weft/weft.hpp>

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

namespace testing_support {

struct tcp_pair {
  weft::net::tcp_conn client;
  weft::net::tcp_conn server;
};

// connected_pair needs no second fiber: the system completes a dial before the accept.
inline tcp_pair connected_pair() {
  weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
  tcp_pair pair;
  pair.client = weft::net::dial_tcp(listener.local_endpoint());
  pair.server = listener.accept();
  return pair;
}

inline bool is_open_number(int fd) { return ::fcntl(fd, F_GETFD) != -1; }

// scaled shrinks a count for slow builds: WEFT_TEST_SCALE, at least 1.
inline int scaled(int count) {
  const char* const scale = std::getenv("WEFT_TEST_SCALE");
  const int result = scale == nullptr ? count : static_cast<int>(count * std::atof(scale));
  return result < 1 ? 1 : result;
}

// thrown_by returns the code and text of what call() throws.
template <class Call>
std::pair<std::error_code, std::string> thrown_by(Call&& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

}  // namespace testing_support
