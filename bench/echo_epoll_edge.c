// The other floor: a bare edge-triggered epoll loop. A descriptor is registered once, for both directions. A short read
// tells that the socket is empty, so that a request costs no read more than with level triggering; the end of stream,
// which may stand behind a short read, has an event of its own.
#define _GNU_SOURCE
#include "loops.h"

struct connection {
  int fd;
  bool ended;     // the other side has: what there is to read is followed by the end
  bool readable;  // it may be, though no event will say so again
  // What the socket didn't take yet; null almost always. While it is there nothing is read.
  char* pending;
  size_t pending_size;
};

static void drop(struct connection* c) {
  close(c->fd);
  free(c->pending);
  free(c);
}

static void accept_all(int epoll, int listener) {
  for (int fd; (fd = accept_next(listener)) >= 0;) {
    struct connection* c = calloc(1, sizeof *c);
    if (c == NULL) fail(ENOMEM, "connection");
    c->fd = fd;
    watch(epoll, fd, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
  }
}

// put writes what it can and keeps the rest; false: the connection broke.
static bool put(struct connection* c, const char* bytes, size_t size) {
  ssize_t written = write(c->fd, bytes, size);
  if (written < 0 && errno != EAGAIN) return false;
  if (written < 0) written = 0;
  const size_t rest = size - (size_t)written;
  char* copy = NULL;
  if (rest > 0) {
    copy = malloc(rest);
    if (copy == NULL) fail(ENOMEM, "pending bytes");
    memcpy(copy, bytes + written, rest);
  }
  free(c->pending);
  c->pending = copy;
  c->pending_size = rest;
  return true;
}

static void serve(struct connection* c, unsigned events, char* buffer) {
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->ended = true;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->readable = true;
  if (c->pending != NULL && !put(c, c->pending, c->pending_size)) {
    drop(c);
    return;
  }
  while (c->readable && c->pending == NULL) {
    const ssize_t size = read(c->fd, buffer, buffer_size);
    if (size < 0 && errno == EAGAIN) {
      c->readable = false;
      return;
    }
    if (size > 0 && slow_handlers && buffer[0] == 'c') compute();
    if (size <= 0 || !put(c, buffer, (size_t)size)) {
      drop(c);
      return;
    }
    if (size < buffer_size && !c->ended) c->readable = false;
  }
}

static void* loop(void* listener_of_loop) {
  struct connection listener = {.fd = *(const int*)listener_of_loop};
  char buffer[buffer_size];
  struct epoll_event events[batch];
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail(errno, "epoll_create1");
  watch(epoll, listener.fd, &listener, EPOLL_CTL_ADD, EPOLLIN | EPOLLET);
  for (;;) {
    const int n = epoll_wait(epoll, events, batch, -1);
    if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
    for (int i = 0; i < n; ++i) {
      struct connection* c = events[i].data.ptr;
      if (c == &listener) {
        accept_all(epoll, listener.fd);
      } else {
        serve(c, events[i].events, buffer);
      }
    }
  }
  return NULL;
}

int main(int argc, char** argv) {
  return run_loops(
      argc, argv,
      "A bare edge-triggered epoll echo server, to compare with; of the slow handlers it has the one that\n"
      "computes.",
      loop);
}
