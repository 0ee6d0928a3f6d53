// A library to preload: one in three reads and writes of sockets moves only a part of what it was asked to, one in seven is
// interrupted.
#include <atomic>
#include <cerrno>
#include <cstddef>

#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

std::atomic<unsigned> calls{0};

// share gives how much of size bytes this call moves; 0: it is interrupted.
std::size_t share(std::size_t size) {
  const unsigned n = calls.fetch_add(1, std::memory_order_relaxed);
  if (n % 7 == 3) return 0;
  return n % 3 == 0 && size > 1 ? 1 + n * 2654435761u % size : size;
}

bool is_socket(int fd) {
  int type;
  socklen_t size = sizeof type;
  const int before = errno;
  const bool yes = ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
  errno = before;
  return yes;
}

template <class Function, class Data, class... Flags>
ssize_t shortened(const char* name, int fd, Data* data, std::size_t size, Flags... flags) {
  const auto next = reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
  if (size == 0 || !is_socket(fd)) return next(fd, data, size, flags...);
  const std::size_t part = share(size);
  if (part != 0) return next(fd, data, part, flags...);
  errno = EINTR;
  return -1;
}

}  // namespace

extern "C" {

ssize_t read(int fd, void* data, std::size_t size) { return shortened<decltype(read)>("read", fd, data, size); }
ssize_t write(int fd, const void* data, std::size_t size) { return shortened<decltype(write)>("write", fd, data, size); }
ssize_t send(int fd, const void* data, std::size_t size, int flags) {
  return shortened<decltype(send)>("send", fd, data, size, flags);
}
ssize_t recv(int fd, void* data, std::size_t size, int flags) {
  return shortened<decltype(recv)>("recv", fd, data, size, flags);
}
}
