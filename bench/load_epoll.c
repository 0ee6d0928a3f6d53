// A lean closed-loop load generator: each connection sends a request, waits for its echo, checks it and sends the next.
// One thread, one epoll, so that it costs about what the leanest server costs. Prints one line of NAME=VALUE pairs.
#define _GNU_SOURCE
#include "address.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { batch = 512 };

struct connection {
  int fd;
  size_t received;     // bytes of the current echo
  uint64_t sequence;   // the current request's, in its first bytes; 0: none was sent
  uint64_t sent_at;
};

// Latencies in log-linear buckets: 32 to a power of two, so that a value is off by at most 3 %.
enum { sub_bits = 5, sub_count = 1 << sub_bits, bucket_count = 64 * sub_count };
static uint64_t histogram[bucket_count];

static unsigned bucket_of(uint64_t value) {
  if (value < sub_count) return (unsigned)value;
  const unsigned shift = 63u - (unsigned)__builtin_clzll(value) - sub_bits;
  return (shift + 1) * sub_count + (unsigned)(value >> shift) - sub_count;
}

static uint64_t middle_of(unsigned bucket) {
  if (bucket < sub_count) return bucket;
  const unsigned shift = bucket / sub_count - 1;
  return ((uint64_t)(bucket % sub_count + sub_count) << shift) + ((1ull << shift) >> 1);
}

static double percentile_us(uint64_t total, double share) {
  const uint64_t rank = (uint64_t)((double)total * share);
  uint64_t seen = 0;
  for (unsigned b = 0; b < bucket_count; ++b) {
    seen += histogram[b];
    if (seen > rank) return (double)middle_of(b) / 1e3;
  }
  return 0;
}

static uint64_t nanoseconds(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t) != 0) fail(errno, "clock_gettime");
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct {
  size_t size;
  char* request;   // of the current sender; only its first bytes differ between requests
  char* echo;
  uint64_t requests;
  uint64_t wrong;
  uint64_t slowest;
} load;

static void stamp(uint64_t sequence) {
  memcpy(load.request, &sequence, load.size < sizeof sequence ? load.size : sizeof sequence);
}

// send_request expects room for one request in the socket's buffer: the echo of the last one has been read.
static void send_request(struct connection* c, uint64_t now) {
  ++c->sequence;
  c->received = 0;
  c->sent_at = now;
  stamp(c->sequence);
  const ssize_t n = send(c->fd, load.request, load.size, MSG_NOSIGNAL);
  if (n < 0) fail(errno, "write");
  if ((size_t)n < load.size) fail(0, "write: %zd of %zu bytes taken; choose a smaller --size", n, load.size);
}

// receive is true when the echo is complete.
static bool receive(struct connection* c) {
  const size_t missing = load.size - c->received;
  const ssize_t n = recv(c->fd, load.echo, missing, 0);
  if (n < 0 && errno == EAGAIN) return false;
  if (n < 0) fail(errno, "read");
  if (n == 0) fail(0, "read: the server closed the connection");
  stamp(c->sequence);
  if (memcmp(load.echo, load.request + c->received, (size_t)n) != 0) ++load.wrong;
  c->received += (size_t)n;
  return c->received == load.size;
}

static void connect_all(struct connection* connections, unsigned count, int epoll, const struct address* to) {
  for (unsigned i = 0; i < count; ++i) {
    struct connection* c = &connections[i];
    c->fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail(errno, "socket for connection %u", i);
    if (connect(c->fd, (const struct sockaddr*)&to->storage, to->length) != 0) fail(errno, "connect %u", i);
    set_no_delay(c->fd);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) fail(errno, "epoll_ctl");
  }
}

// serve_batch takes one batch of events. The clock is read after each echo: a batch is not a moment.
static uint64_t serve_batch(int epoll) {
  struct epoll_event events[batch];
  const int n = epoll_wait(epoll, events, batch, 5000);
  if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
  if (n == 0) fail(0, "no answer for 5 s");
  uint64_t now = 0;
  for (int i = 0; i < n; ++i) {
    struct connection* c = events[i].data.ptr;
    if (!receive(c)) continue;
    now = nanoseconds(CLOCK_MONOTONIC);
    const uint64_t latency = now - c->sent_at;
    if (latency > load.slowest) load.slowest = latency;
    ++histogram[bucket_of(latency)];
    ++load.requests;
    send_request(c, now);
  }
  return now != 0 ? now : nanoseconds(CLOCK_MONOTONIC);
}

int main(int argc, char** argv) {
  static const char usage[] =
      "usage: load_epoll --connect HOST:PORT [--connections N] [--size BYTES] [--seconds S] [--warmup S]\n"
      "                  [--requests N] [--server-pid PID]\n"
      "Closed-loop echo load; prints requests, seconds, rps, p50_us, p99_us, max_us, wrong and, of the server with\n"
      "that PID, cpu_ns (per request) and busy (CPUs in use). --requests N ends after N requests instead of a time.\n";
  static const struct option options[] = {
      {"connect", required_argument, NULL, 'c'},    {"connections", required_argument, NULL, 'n'},
      {"size", required_argument, NULL, 'b'},       {"seconds", required_argument, NULL, 's'},
      {"warmup", required_argument, NULL, 'w'},     {"requests", required_argument, NULL, 'r'},
      {"server-pid", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
      {0}};
  struct address to = {0};
  unsigned count = 64;
  double seconds = 2, warmup = 0.2;
  uint64_t requests = UINT64_MAX;
  pid_t server = 0;
  load.size = 64;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'c') to = parse_address(optarg);
    else if (o == 'n') count = (unsigned)parse_number("connections", optarg);
    else if (o == 'b') load.size = (size_t)parse_number("size", optarg);
    else if (o == 's') seconds = parse_number("seconds", optarg);
    else if (o == 'w') warmup = parse_number("warmup", optarg);
    else if (o == 'r') requests = (uint64_t)parse_number("requests", optarg);
    else if (o == 'p') server = (pid_t)parse_number("server-pid", optarg);
    else if (o == 'h') return fputs(usage, stdout), 0;
    else return fputs(usage, stderr), 2;
  }
  if (optind != argc || to.length == 0) return fputs(usage, stderr), 2;
  if (requests != UINT64_MAX) seconds = 1e6;

  // The kernel's account of every thread of the server, to the nanosecond; /proc/PID/stat counts ticks of 10 ms.
  clockid_t server_clock = 0;
  if (server != 0) {
    const int error = clock_getcpuclockid(server, &server_clock);
    if (error != 0) fail(error, "--server-pid %d", server);
  }

  struct connection* connections = calloc(count, sizeof *connections);
  load.request = malloc(load.size);
  load.echo = malloc(load.size);
  if (connections == NULL || load.request == NULL || load.echo == NULL) fail(ENOMEM, "buffers");
  for (size_t i = 0; i < load.size; ++i) load.request[i] = (char)('a' + i % 26);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail(errno, "epoll_create1");
  connect_all(connections, count, epoll, &to);

  uint64_t now = nanoseconds(CLOCK_MONOTONIC);
  const uint64_t warm = now + (uint64_t)(warmup * 1e9);
  for (unsigned i = 0; i < count; ++i) send_request(&connections[i], nanoseconds(CLOCK_MONOTONIC));
  while (now < warm && load.requests < requests) now = serve_batch(epoll);

  // A count of requests takes in the warm-up, so that the server was asked exactly so often.
  if (requests == UINT64_MAX) {
    load.requests = load.slowest = 0;
    memset(histogram, 0, sizeof histogram);
  }
  const uint64_t cpu_from = server != 0 ? nanoseconds(server_clock) : 0;
  const uint64_t from = now;
  const uint64_t until = from + (uint64_t)(seconds * 1e9);
  while (now < until && load.requests < requests) now = serve_batch(epoll);
  const uint64_t cpu = server != 0 ? nanoseconds(server_clock) - cpu_from : 0;

  const double elapsed = (double)(now - from) / 1e9;
  const double n = (double)load.requests;
  printf("requests=%.0f seconds=%.3f rps=%.0f p50_us=%.1f p99_us=%.1f max_us=%.1f wrong=%llu", n, elapsed, n / elapsed,
         percentile_us(load.requests, 0.50), percentile_us(load.requests, 0.99), (double)load.slowest / 1e3,
         (unsigned long long)load.wrong);
  if (server != 0) printf(" cpu_ns=%.1f busy=%.3f", (double)cpu / n, (double)cpu / 1e9 / elapsed);
  putchar('\n');
  return load.wrong != 0;
}
