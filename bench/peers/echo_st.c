// The echo server with state-threads: a thread of the library for each connection, in one thread of the system.
// Debian's library is built without epoll; then it is poll, which is slower the more connections there are.
#define _GNU_SOURCE
#include "../loops.h"

#include <st.h>

static void handle_slowly(char kind) {
  if (kind == 'c') compute();
  if (kind == 'w') st_usleep(slow_ms * 1000);
}

static void* echo(void* connection) {
  st_netfd_t fd = connection;
  char buffer[buffer_size];
  for (ssize_t n; (n = st_read(fd, buffer, sizeof buffer, ST_UTIME_NO_TIMEOUT)) > 0;) {
    if (slow_handlers) handle_slowly(buffer[0]);
    if (st_write(fd, buffer, (size_t)n, ST_UTIME_NO_TIMEOUT) != n) break;
  }
  st_netfd_close(fd);
  return NULL;
}

static void* serve(void* listener) {
  // A build without epoll takes ST_EVENTSYS_ALT for nothing, and then the second call; the other one refuses that.
  if (st_set_eventsys(ST_EVENTSYS_ALT) != 0 || (st_set_eventsys(ST_EVENTSYS_POLL) != 0 && errno != EBUSY)) {
    fail(errno, "st_set_eventsys");
  }
  if (st_init() != 0) fail(errno, "st_init");
  st_netfd_t at = st_netfd_open_socket(*(const int*)listener);
  if (at == NULL) fail(errno, "st_netfd_open_socket");
  for (;;) {
    st_netfd_t fd = st_accept(at, NULL, NULL, ST_UTIME_NO_TIMEOUT);
    if (fd == NULL) fail(errno, "accept");
    set_no_delay(st_netfd_fileno(fd));
    if (st_thread_create(echo, fd, 0, 0) == NULL) fail(errno, "st_thread_create");
  }
  return NULL;
}

int main(int argc, char** argv) {
  return run_loops(argc, argv, "An echo server with state-threads, to compare with; it has one worker.", serve);
}
