// Listeners of the C programs of bench/, and how they say where they are.
#ifndef BENCH_LISTEN_H
#define BENCH_LISTEN_H

#include "address.h"

#include <stdbool.h>

static inline int listen_on(const struct address* at, bool reuse_port) {
  const int on = 1;
  const int fd = socket(at->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail(errno, "socket");
  if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) fail(errno, "SO_REUSEADDR");
  if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) fail(errno, "SO_REUSEPORT");
  if (bind(fd, (const struct sockaddr*)&at->storage, at->length) != 0) fail(errno, "bind");
  if (listen(fd, SOMAXCONN) != 0) fail(errno, "listen");
  return fd;
}

static inline void print_endpoint(int fd) {
  struct address at = {.length = sizeof at.storage};
  char host[64], port[8];
  if (getsockname(fd, (struct sockaddr*)&at.storage, &at.length) != 0) fail(errno, "getsockname");
  getnameinfo((struct sockaddr*)&at.storage, at.length, host, sizeof host, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  printf(strchr(host, ':') != NULL ? "listening on [%s]:%s\n" : "listening on %s:%s\n", host, port);
  fflush(stdout);
}

#endif
