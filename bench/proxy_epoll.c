// The floor under every proxy measurement: a bare epoll loop that splices, for each direction through a pipe of its
// own. Edge-triggered: after each splice that moved something it tries again, until both sides have nothing to say.
#define _GNU_SOURCE
#include "listen.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { batch = 128, pipe_size = 256 * 1024 };

// One direction of a connection.
struct flow {
  int from, to;
  int pipe[2];
  size_t inside;   // bytes in the pipe
  bool ended;      // `from` has, and the end was passed on
};

struct relay {
  struct flow there, back;
};

static struct address target;

static void drop(struct relay* r) {
  for (struct flow* f = &r->there; f <= &r->back; ++f) {
    close(f->from);
    close(f->pipe[0]);
    close(f->pipe[1]);
  }
  free(r);
}

// run moves what can be moved; false: the connection broke.
static bool run(struct flow* f) {
  const unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
  for (bool moved = true; moved && !f->ended;) {
    moved = false;
    if (f->inside == 0) {
      const ssize_t n = splice(f->from, NULL, f->pipe[1], NULL, pipe_size, flags);
      if (n < 0 && errno != EAGAIN) return false;
      if (n == 0) {
        f->ended = true;
        shutdown(f->to, SHUT_WR);
      }
      if (n > 0) f->inside = (size_t)n, moved = true;
    }
    if (f->inside > 0) {
      const ssize_t n = splice(f->pipe[0], NULL, f->to, NULL, f->inside, flags);
      if (n < 0 && errno != EAGAIN) return false;
      moved = n > 0;
      if (n > 0) f->inside -= (size_t)n;
    }
  }
  return true;
}

static void watch(int epoll, int fd, void* data) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = data};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail(errno, "epoll_ctl");
}

static void open_flow(struct flow* f, int from, int to) {
  f->from = from;
  f->to = to;
  if (pipe2(f->pipe, O_NONBLOCK | O_CLOEXEC) != 0) fail(errno, "pipe");
  fcntl(f->pipe[0], F_SETPIPE_SZ, pipe_size);
}

static void accept_all(int epoll, int listener) {
  for (int client; (client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
    // Blocking, as long as it connects.
    const int server = socket(target.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0) fail(errno, "socket");
    if (connect(server, (const struct sockaddr*)&target.storage, target.length) != 0) fail(errno, "connect");
    if (fcntl(server, F_SETFL, O_NONBLOCK) != 0) fail(errno, "O_NONBLOCK");
    set_no_delay(client);
    set_no_delay(server);
    struct relay* r = calloc(1, sizeof *r);
    if (r == NULL) fail(ENOMEM, "connection");
    open_flow(&r->there, client, server);
    open_flow(&r->back, server, client);
    watch(epoll, client, r);
    watch(epoll, server, r);
  }
  if (errno != EAGAIN && errno != ECONNABORTED) fail(errno, "accept");
}

int main(int argc, char** argv) {
  static const char usage[] =
      "usage: proxy_epoll --connect HOST:PORT [--listen HOST:PORT] [--workers 1]\n"
      "A bare epoll proxy that splices, to compare with. Port 0 takes a free one.\n";
  static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                          {"connect", required_argument, NULL, 'c'},
                                          {"workers", required_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  struct address at = parse_address("127.0.0.1:0");
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'l') at = parse_address(optarg);
    else if (o == 'c') target = parse_address(optarg);
    else if (o == 'n' && strcmp(optarg, "1") == 0) continue;
    else if (o == 'h') return fputs(usage, stdout), 0;
    else return fputs(usage, stderr), 2;
  }
  if (optind != argc || target.length == 0) return fputs(usage, stderr), 2;

  signal(SIGPIPE, SIG_IGN);
  const int listener = listen_on(&at, false);
  print_endpoint(listener);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail(errno, "epoll_create1");
  static struct relay listening;
  watch(epoll, listener, &listening);
  struct epoll_event events[batch];
  for (;;) {
    const int n = epoll_wait(epoll, events, batch, -1);
    if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
    for (int i = 0; i < n; ++i) {
      struct relay* r = events[i].data.ptr;
      if (r == &listening) accept_all(epoll, listener);
      if (r == NULL || r == &listening) continue;
      const bool whole = run(&r->there) && run(&r->back);
      if (whole && !(r->there.ended && r->back.ended)) continue;
      // Both ends may have an event in this batch.
      for (int k = i + 1; k < n; ++k) {
        if (events[k].data.ptr == r) events[k].data.ptr = NULL;
      }
      drop(r);
    }
  }
}
