// How much a TCP proxy passes on: this program is both ends. It says where it listens, is told on standard input where
// the proxy does ("HOST:PORT PID"), connects through it and sends as fast as it can. It copies nothing itself: what is
// sent comes from a file in memory, and what arrives is dropped where it is.
#define _GNU_SOURCE
#include "address.h"
#include "process.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

enum { batch = 64, chunk = 256 * 1024 };

static uint64_t received;

static int listen_somewhere(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof at;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr*)&at, length) != 0 || listen(fd, SOMAXCONN) != 0) fail(errno, "listen");
  if (getsockname(fd, (struct sockaddr*)&at, &length) != 0) fail(errno, "getsockname");
  printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
  fflush(stdout);
  return fd;
}

static void watch(int epoll, int fd, unsigned events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail(errno, "epoll_ctl");
}

// pass_on serves the ends that can send or receive. Both are level-triggered: a turn each, and the next one's.
static uint64_t pass_on(int epoll, int file) {
  struct epoll_event events[batch];
  const int n = epoll_wait(epoll, events, batch, 5000);
  if (n <= 0 && errno != EINTR) fail(n < 0 ? errno : 0, "nothing passed for 5 s");
  for (int i = 0; i < n; ++i) {
    const int fd = events[i].data.fd;
    if (events[i].events & EPOLLIN) {
      const ssize_t size = recv(fd, NULL, 4 * chunk, MSG_TRUNC | MSG_DONTWAIT);
      if (size == 0) fail(0, "the proxy closed a connection");
      if (size < 0 && errno != EAGAIN) fail(errno, "read");
      if (size > 0) received += (uint64_t)size;
    }
    if (events[i].events & EPOLLOUT) {
      off_t from = 0;
      if (sendfile(fd, file, &from, chunk) < 0 && errno != EAGAIN) fail(errno, "write");
    }
  }
  return nanoseconds(CLOCK_MONOTONIC);
}

int main(int argc, char** argv) {
  static const char usage[] =
      "usage: load_stream [--connections N] [--seconds S] [--warmup S]\n"
      "Prints 'listening on HOST:PORT'; reads 'HOST:PORT PID' of a proxy that relays to there from standard input;\n"
      "prints gbit_s, load_busy (CPUs that this program used) and the proxy's cpu_ns_kib (CPU time per KiB), busy,\n"
      "memory_kib.\n";
  static const struct option options[] = {{"connections", required_argument, NULL, 'n'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  unsigned count = 1;
  double seconds = 1, warmup = 0.2;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'n') count = (unsigned)parse_number("connections", optarg);
    else if (o == 's') seconds = parse_number("seconds", optarg);
    else if (o == 'w') warmup = parse_number("warmup", optarg);
    else if (o == 'h') return fputs(usage, stdout), 0;
    else return fputs(usage, stderr), 2;
  }
  if (optind != argc) return fputs(usage, stderr), 2;

  const int listener = listen_somewhere();
  char endpoint[64];
  int proxy = 0;
  if (scanf("%63s %d", endpoint, &proxy) != 2) fail(0, "standard input: not HOST:PORT PID");
  const struct address to = parse_address(endpoint);
  const clockid_t proxy_clock = cpu_clock_of(proxy);

  const int file = memfd_create("bytes", MFD_CLOEXEC);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (file < 0 || epoll < 0 || ftruncate(file, chunk) != 0) fail(errno, "memfd or epoll");
  // Written once, or the file would be holes, whose pages are made when they are sent.
  char* bytes = mmap(NULL, chunk, PROT_WRITE, MAP_SHARED, file, 0);
  if (bytes == MAP_FAILED) fail(errno, "mmap");
  memset(bytes, 'x', chunk);
  for (unsigned i = 0; i < count; ++i) {
    const int fd = socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr*)&to.storage, to.length) != 0) fail(errno, "connect %u", i);
    const int end = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (end < 0) fail(errno, "accept");
    // Sending must not block; connecting had to.
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail(errno, "O_NONBLOCK");
    watch(epoll, end, EPOLLIN);
    watch(epoll, fd, EPOLLOUT);
  }
  uint64_t now = nanoseconds(CLOCK_MONOTONIC);
  const uint64_t warm = now + (uint64_t)(warmup * 1e9);
  while (now < warm) now = pass_on(epoll, file);

  const uint64_t from = now, until = from + (uint64_t)(seconds * 1e9);
  const uint64_t cpu_from = nanoseconds(proxy_clock), own_from = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  received = 0;
  while (now < until) now = pass_on(epoll, file);
  const double elapsed = (double)(now - from);
  const double cpu = (double)(nanoseconds(proxy_clock) - cpu_from);
  printf("gbit_s=%.2f load_busy=%.3f cpu_ns_kib=%.2f busy=%.3f memory_kib=%llu\n", (double)received * 8 / elapsed,
         (double)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - own_from) / elapsed, cpu * 1024 / (double)received,
         cpu / elapsed, (unsigned long long)memory_of(proxy));
  return 0;
}
