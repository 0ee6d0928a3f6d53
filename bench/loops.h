// What the bare epoll servers share: a thread and a listener for each loop, the slow handlers, the command line.
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include "listen.h"

#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { batch = 128, buffer_size = 16 * 1024, slow_ms = 10 };

// --slow was given: a request that begins with 'w' is answered 10 ms later, one with 'c' after 10 ms of computing.
static bool slow_handlers;

// accept_next gives a connection, or -1 when none is left.
static inline int accept_next(int listener) {
  for (;;) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      set_no_delay(fd);
      return fd;
    }
    if (errno == EAGAIN) return -1;
    if (errno != ECONNABORTED && errno != EINTR) fail(errno, "accept");
  }
}

static inline void watch(int epoll, int fd, void* data, int operation, unsigned events) {
  struct epoll_event event = {.events = events, .data.ptr = data};
  if (epoll_ctl(epoll, operation, fd, &event) != 0) fail(errno, "epoll_ctl");
}

static inline uint64_t milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void compute(void) {
  for (const uint64_t until = milliseconds() + slow_ms; milliseconds() < until;) continue;
}

// run_loops is main: each loop gets a listener of its own (SO_REUSEPORT).
static inline int run_loops(int argc, char** argv, const char* what, void* (*loop)(void* listener)) {
  enum { max_loops = 64 };
  static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                          {"workers", required_argument, NULL, 'n'},
                                          {"slow", no_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  struct address at = parse_address("127.0.0.1:0");
  int loops = 1;
  bool wrong = false, help = false;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'l') at = parse_address(optarg);
    else if (o == 'n') loops = (int)parse_number("workers", optarg);
    else if (o == 's') slow_handlers = true;
    else if (o == 'h') help = true;
    else wrong = true;
  }
  if (help || wrong || optind != argc) {
    static const char usage[] = "usage: %s [--listen HOST:PORT] [--workers N] [--slow]\n%s Port 0 takes a free one.\n";
    fprintf(help ? stdout : stderr, usage, argv[0], what);
    return help ? 0 : 2;
  }
  if (loops > max_loops) fail(0, "--workers %d: at most %d", loops, max_loops);

  signal(SIGPIPE, SIG_IGN);
  static int listeners[max_loops];
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
  return 0;
}

#endif
