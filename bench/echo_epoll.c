// The floor under every echo measurement: a bare level-triggered epoll loop, as small as it can be and still be right.
// One thread does everything. With --loops N there are N such threads, each with a listener of its own (SO_REUSEPORT).
#define _GNU_SOURCE
#include "address.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { batch = 128, buffer_size = 4096 };

struct connection {
  int fd;
  // What the socket didn't take yet; null almost always. While it is there nothing is read.
  char* pending;
  size_t pending_size;
};

static int listen_on(const struct address* at, int reuse_port) {
  const int on = 1;
  const int fd = socket(at->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail(errno, "socket");
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) fail(errno, "SO_REUSEADDR");
  if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) fail(errno, "SO_REUSEPORT");
  if (bind(fd, (const struct sockaddr*)&at->storage, at->length) != 0) fail(errno, "bind");
  if (listen(fd, SOMAXCONN) != 0) fail(errno, "listen");
  return fd;
}

static void drop(struct connection* c) {
  close(c->fd);
  free(c->pending);
  free(c);
}

static void watch(int epoll, struct connection* c, int operation, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll, operation, c->fd, &event) != 0) fail(errno, "epoll_ctl");
}

static void accept_all(int epoll, int listener) {
  for (;;) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN) return;
      if (errno == ECONNABORTED || errno == EINTR) continue;
      fail(errno, "accept");
    }
    set_no_delay(fd);
    struct connection* c = calloc(1, sizeof *c);
    if (c == NULL) fail(ENOMEM, "connection");
    c->fd = fd;
    watch(epoll, c, EPOLL_CTL_ADD, EPOLLIN);
  }
}

// keep remembers what the socket didn't take and waits for room.
static void keep(int epoll, struct connection* c, const char* rest, size_t size) {
  char* copy = malloc(size);
  if (copy == NULL) fail(ENOMEM, "pending bytes");
  memcpy(copy, rest, size);
  free(c->pending);
  c->pending = copy;
  c->pending_size = size;
  watch(epoll, c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void serve(int epoll, struct connection* c, char* buffer) {
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
  }
  ssize_t written = write(c->fd, bytes, (size_t)size);
  if (written < 0 && errno == EAGAIN) written = 0;
  if (written < 0) {
    drop(c);
  } else if (written < size) {
    keep(epoll, c, bytes + written, (size_t)(size - written));
  } else if (c->pending != NULL) {
    free(c->pending);
    c->pending = NULL;
    watch(epoll, c, EPOLL_CTL_MOD, EPOLLIN);
  }
}

static void* loop(void* listener_of_loop) {
  struct connection listener = {.fd = *(const int*)listener_of_loop};
  char buffer[buffer_size];
  struct epoll_event events[batch];
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail(errno, "epoll_create1");
  watch(epoll, &listener, EPOLL_CTL_ADD, EPOLLIN);
  for (;;) {
    const int n = epoll_wait(epoll, events, batch, -1);
    if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
    for (int i = 0; i < n; ++i) {
      struct connection* c = events[i].data.ptr;
      if (c == &listener) {
        accept_all(epoll, listener.fd);
      } else {
        serve(epoll, c, buffer);
      }
    }
  }
  return NULL;
}

static void print_endpoint(int fd) {
  struct address at = {.length = sizeof at.storage};
  char host[64], port[8];
  if (getsockname(fd, (struct sockaddr*)&at.storage, &at.length) != 0) fail(errno, "getsockname");
  getnameinfo((struct sockaddr*)&at.storage, at.length, host, sizeof host, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  printf(strchr(host, ':') != NULL ? "listening on [%s]:%s\n" : "listening on %s:%s\n", host, port);
  fflush(stdout);
}

int main(int argc, char** argv) {
  enum { max_loops = 64 };
  static const char usage[] =
      "usage: echo_epoll [--listen HOST:PORT] [--loops N]\n"
      "A bare level-triggered epoll echo server, to compare with. Port 0 takes a free one.\n";
  static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                          {"loops", required_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  struct address at = parse_address("127.0.0.1:0");
  int loops = 1;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'l') at = parse_address(optarg);
    else if (o == 'n') loops = (int)parse_number("loops", optarg);
    else if (o == 'h') return fputs(usage, stdout), 0;
    else return fputs(usage, stderr), 2;
  }
  if (optind != argc) return fputs(usage, stderr), 2;
  if (loops > max_loops) fail(0, "--loops %d: at most %d", loops, max_loops);

  signal(SIGPIPE, SIG_IGN);
  int listeners[max_loops];
  for (int i = 0; i < loops; ++i) {
    listeners[i] = listen_on(&at, loops > 1);
    // The first listener found the port that the others share.
    if (i == 0 && getsockname(listeners[0], (struct sockaddr*)&at.storage, &at.length) != 0) fail(errno, "getsockname");
  }
  for (int i = 1; i < loops; ++i) {
    pthread_t thread;
    const int error = pthread_create(&thread, NULL, loop, &listeners[i]);
    if (error != 0) fail(error, "pthread_create");
  }
  print_endpoint(listeners[0]);
  loop(&listeners[0]);
}
