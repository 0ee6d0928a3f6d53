// The floor under every echo measurement: a bare level-triggered epoll loop, as small as it can be and still be right.
// One thread does everything; further ones have listeners of their own.
#define _GNU_SOURCE
#include "loops.h"

struct connection {
  int fd;
  // What the socket didn't take yet; null almost always. While it is there nothing is read.
  char* pending;
  size_t pending_size;
  // When `pending` may be written; 0: a slow handler doesn't have it.
  uint64_t due;
  struct connection* next;
};

// Those that wait for their time. All wait equally long: the first to come is the first to go.
struct waiting {
  struct connection* first;
  struct connection** last;
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
    watch(epoll, fd, c, EPOLL_CTL_ADD, EPOLLIN);
  }
}

// keep remembers what the socket didn't take, or may not have yet, and watches for `events` alone.
static void keep(int epoll, struct connection* c, const char* rest, size_t size, unsigned events) {
  char* copy = malloc(size);
  if (copy == NULL) fail(ENOMEM, "pending bytes");
  memcpy(copy, rest, size);
  free(c->pending);
  c->pending = copy;
  c->pending_size = size;
  watch(epoll, c->fd, c, EPOLL_CTL_MOD, events);
}

// handle_slowly is true if the answer is for later.
static bool handle_slowly(int epoll, struct connection* c, const char* bytes, size_t size, struct waiting* slow) {
  if (bytes[0] == 'c') compute();
  if (bytes[0] != 'w') return false;
  keep(epoll, c, bytes, size, 0);
  c->due = milliseconds() + slow_ms;
  c->next = NULL;
  *slow->last = c;
  slow->last = &c->next;
  return true;
}

static void serve(int epoll, struct connection* c, char* buffer, struct waiting* slow) {
  const char* bytes = c->pending;
  ssize_t size = (ssize_t)c->pending_size;
  if (bytes == NULL) {
    bytes = buffer;
    size = read(c->fd, buffer, buffer_size);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      drop(c);
      return;
    }
    if (slow_handlers && handle_slowly(epoll, c, bytes, (size_t)size, slow)) return;
  }
  ssize_t written = write(c->fd, bytes, (size_t)size);
  if (written < 0 && errno == EAGAIN) written = 0;
  if (written < 0) {
    drop(c);
  } else if (written < size) {
    keep(epoll, c, bytes + written, (size_t)(size - written), EPOLLOUT);
  } else if (c->pending != NULL) {
    free(c->pending);
    c->pending = NULL;
    watch(epoll, c->fd, c, EPOLL_CTL_MOD, EPOLLIN);
  }
}

// serve_due answers those whose time has come, and gives the time until the next one in ms; -1: there is none.
static int serve_due(int epoll, char* buffer, struct waiting* slow) {
  const uint64_t now = milliseconds();
  while (slow->first != NULL && slow->first->due <= now) {
    struct connection* c = slow->first;
    slow->first = c->next;
    if (slow->first == NULL) slow->last = &slow->first;
    c->due = 0;
    serve(epoll, c, buffer, slow);
  }
  return slow->first != NULL ? (int)(slow->first->due - now) : -1;
}

static void* loop(void* listener_of_loop) {
  struct connection listener = {.fd = *(const int*)listener_of_loop};
  struct waiting slow = {.last = &slow.first};
  char buffer[buffer_size];
  struct epoll_event events[batch];
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail(errno, "epoll_create1");
  watch(epoll, listener.fd, &listener, EPOLL_CTL_ADD, EPOLLIN);
  for (int timeout = -1;;) {
    const int n = epoll_wait(epoll, events, batch, timeout);
    if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
    for (int i = 0; i < n; ++i) {
      struct connection* c = events[i].data.ptr;
      if (c == &listener) {
        accept_all(epoll, listener.fd);
      } else if (c->due == 0) {
        serve(epoll, c, buffer, &slow);
      }
    }
    if (slow_handlers) timeout = serve_due(epoll, buffer, &slow);
  }
  return NULL;
}

int main(int argc, char** argv) {
  return run_loops(argc, argv, "A bare level-triggered epoll echo server, to compare with.", loop);
}
