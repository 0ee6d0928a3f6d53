// A lean load generator: its connections send requests, wait for their echoes and check them. One thread, one epoll, so
// that it costs about what the leanest server costs. Prints one line of NAME=VALUE pairs.
//
// Closed loop: an echo makes room for the next request. Open loop (--rate): requests have their times, whatever became
// of those before, and a latency counts from that time: what a request waits because an earlier one was late is part of
// it (no coordinated omission). So does what was never answered, with its age at the end.
#define _GNU_SOURCE
#include "address.h"
#include "histogram.h"
#include "process.h"

#include <getopt.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { batch = 512, kind_at = 0, sequence_at = 1 };

struct connection {
  int fd;
  bool idle;           // sends one request, and no other one
  unsigned in_flight;
  size_t received;     // bytes of the oldest echo under way
  uint64_t sequence;   // of the next request
  uint64_t next_tick;  // open loop: the time of the next request, in ticks
  uint64_t* since;     // when each request under way was due, by sequence modulo depth
};

static struct {
  struct address to;
  struct connection* connections;
  unsigned count;      // those that are active come first
  unsigned active;
  unsigned depth;      // requests under way on each connection
  size_t size;
  bool churn;          // each request has a connection of its own
  double slow;         // the share of requests that ask for a slow handler
  char slow_kind;
  int epoll;
  char* requests;      // room for `depth` of them
  char* echoes;
  char* expected;
  uint64_t done;
  uint64_t wrong;
  unsigned never_answered;   // connections that have still to answer for the first time
  struct histogram latency;
  struct histogram slow_latency;   // of the requests that asked for it

  // Open loop. A tick is the time of one request, of the connections in turn.
  double tick_ns;      // 0: closed loop
  bool sleep;          // between requests
  uint64_t start;
  uint64_t ticks;      // those that have passed
  uint64_t empty_ns;   // time in polls that found nothing
} load;

// kind_of is what the request asks of the handler, told by its first byte: to answer at once, or not.
static char kind_of(const struct connection* c, uint64_t sequence) {
  if (load.slow == 0) return '.';
  const uint64_t which = (uint64_t)(c - load.connections);
  const uint64_t mixed = ((sequence + 1) * 0x9e3779b97f4a7c15u) ^ (which * 0xd1342543de82ef95u);
  return (double)(mixed * 0x9e3779b97f4a7c15u >> 11) < load.slow * 0x1p53 ? load.slow_kind : '.';
}

// stamp makes a request of what is in `request` already: only its first bytes differ between requests.
static void stamp(char* request, const struct connection* c, uint64_t sequence) {
  request[kind_at] = kind_of(c, sequence);
  const size_t room = load.size - sequence_at;
  memcpy(request + sequence_at, &sequence, room < sizeof sequence ? room : sizeof sequence);
}

// send_requests expects room for them in the socket's buffer: the echoes of those before have been read.
static void send_requests(struct connection* c, unsigned n, uint64_t since) {
  for (unsigned i = 0; i < n; ++i) {
    stamp(load.requests + i * load.size, c, c->sequence);
    c->since[c->sequence++ % load.depth] = since;
  }
  c->in_flight += n;
  const size_t size = n * load.size;
  const ssize_t sent = send(c->fd, load.requests, size, MSG_NOSIGNAL);
  if (sent < 0) fail(errno, "write");
  if ((size_t)sent < size) fail(0, "write: %zd of %zu bytes taken; choose a smaller --size or --depth", sent, size);
}

static void open_connection(struct connection* c) {
  const unsigned i = (unsigned)(c - load.connections);
  c->fd = socket(load.to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail(errno, "socket for connection %u", i);
  if (load.churn && load.to.storage.ss_family == AF_INET) {
    // Each end of a connection keeps its port for a minute: one address has too few of them.
    const int on = 1;
    static uint32_t last;
    const struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + last++ % 64)};
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (const struct sockaddr*)&from, sizeof from) != 0) fail(errno, "bind");
  }
  if (connect(c->fd, (const struct sockaddr*)&load.to.storage, load.to.length) != 0) fail(errno, "connect %u", i);
  set_no_delay(c->fd);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) fail(errno, "epoll_ctl");
}

// receive takes what is there and gives the number of echoes that it completed. The clock is read after each receive: a
// batch of events is not a moment.
static unsigned receive(struct connection* c, uint64_t* now) {
  const ssize_t n = recv(c->fd, load.echoes, c->in_flight * load.size - c->received, 0);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n < 0) fail(errno, "read");
  if (n == 0) fail(0, "read: the server closed the connection");
  *now = nanoseconds(CLOCK_MONOTONIC);
  unsigned completed = 0;
  for (size_t at = 0; at < (size_t)n;) {
    const uint64_t sequence = c->sequence - c->in_flight;
    const size_t missing = load.size - c->received;
    const size_t part = (size_t)n - at < missing ? (size_t)n - at : missing;
    stamp(load.expected, c, sequence);
    if (memcmp(load.echoes + at, load.expected + c->received, part) != 0) ++load.wrong;
    at += part;
    c->received += part;
    if (c->received < load.size) break;
    c->received = 0;
    --c->in_flight;
    ++completed;
    const bool slow = load.slow != 0 && load.expected[kind_at] == load.slow_kind;
    record(slow ? &load.slow_latency : &load.latency, *now - c->since[sequence % load.depth]);
    if (sequence == 0) --load.never_answered;
  }
  load.done += completed;
  return completed;
}

static uint64_t time_of(uint64_t tick) { return load.start + (uint64_t)((double)tick * load.tick_ns); }

// go_on sends what follows the echoes that were completed.
static void go_on(struct connection* c, unsigned completed, uint64_t now) {
  if (c->idle || completed == 0) return;
  if (load.tick_ns != 0) {
    while (c->next_tick < load.ticks && c->in_flight < load.depth) {
      send_requests(c, 1, time_of(c->next_tick));
      c->next_tick += load.active;
    }
    return;
  }
  if (load.churn) {
    close(c->fd);
    open_connection(c);
  }
  send_requests(c, completed, now);
}

// send_due sends the requests whose time has come, if their connections are free; the result is the time.
static uint64_t send_due(uint64_t now) {
  bool sent = false;
  for (; time_of(load.ticks) <= now; ++load.ticks) {
    struct connection* c = &load.connections[load.ticks % load.active];
    if (c->next_tick != load.ticks || c->in_flight == load.depth) continue;
    send_requests(c, 1, time_of(load.ticks));
    c->next_tick += load.active;
    sent = true;
  }
  return sent ? nanoseconds(CLOCK_MONOTONIC) : now;
}

// wait_for_events: the open loop has its next request to send in time, and doesn't sleep unless it was told to; waking
// up would be late.
static int wait_for_events(struct epoll_event* events, uint64_t now) {
  if (load.tick_ns == 0) return epoll_wait(load.epoll, events, batch, 5000);
  if (!load.sleep) return epoll_wait(load.epoll, events, batch, 0);
  const uint64_t next = time_of(load.ticks);
  const uint64_t rest = next > now ? next - now : 0;
  const struct timespec timeout = {.tv_sec = (time_t)(rest / 1000000000u), .tv_nsec = (long)(rest % 1000000000u)};
  return epoll_pwait2(load.epoll, events, batch, &timeout, NULL);
}

// serve_batch takes one batch of events; the result is the time.
static uint64_t serve_batch(uint64_t before) {
  struct epoll_event events[batch];
  const bool open = load.tick_ns != 0;
  if (open) before = send_due(before);
  const int n = wait_for_events(events, before);
  if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
  if (n == 0 && !open) fail(0, "no answer for 5 s");
  uint64_t now = 0;
  for (int i = 0; i < n; ++i) {
    struct connection* c = events[i].data.ptr;
    const unsigned completed = receive(c, &now);
    go_on(c, completed, now);
  }
  if (now == 0) now = nanoseconds(CLOCK_MONOTONIC);
  if (n == 0) load.empty_ns += now - before;
  return now;
}

// count_unanswered records what was due and has no echo, with its age.
static void count_unanswered(uint64_t now) {
  for (unsigned i = 0; i < load.active; ++i) {
    const struct connection* c = &load.connections[i];
    for (unsigned k = 1; k <= c->in_flight; ++k) record(&load.latency, now - c->since[(c->sequence - k) % load.depth]);
    for (uint64_t t = c->next_tick; t < load.ticks; t += load.active) record(&load.latency, now - time_of(t));
  }
}

static void begin_open_loop(double rate, uint64_t now) {
  load.tick_ns = 1e9 / rate;
  load.start = now;
  for (unsigned i = 0; i < load.active; ++i) load.connections[i].next_tick = i;
}

static void allocate(void) {
  const size_t bytes = load.size * load.depth;
  load.connections = calloc(load.count, sizeof *load.connections);
  load.requests = malloc(bytes);
  load.echoes = malloc(bytes);
  load.expected = malloc(load.size);
  uint64_t* since = calloc((size_t)load.count * load.depth, sizeof *since);
  if (!load.connections || !load.requests || !load.echoes || !load.expected || !since) fail(ENOMEM, "buffers");
  for (size_t i = 0; i < bytes; ++i) load.requests[i] = (char)('A' + i % load.size % 26);
  memcpy(load.expected, load.requests, load.size);
  for (unsigned i = 0; i < load.count; ++i) {
    load.connections[i].since = since + (size_t)i * load.depth;
    load.connections[i].idle = i >= load.active;
  }
}

int main(int argc, char** argv) {
  static const char usage[] =
      "usage: load_epoll --connect HOST:PORT [--connections N] [--idle N] [--size BYTES] [--depth N] [--churn]\n"
      "                  [--rate R [--sleep]] [--slow wait=SHARE | --slow compute=SHARE] [--seconds S] [--warmup S]\n"
      "                  [--requests N] [--server-pid PID]\n"
      "Echo load. --idle: so many connections more, which send one request and then nothing. --depth: requests\n"
      "under way on each connection. --churn: a connection for each request. --rate: open loop, so many requests a\n"
      "second in all, else closed loop; --sleep: it sleeps between them, for a CPU that the server needs, too.\n"
      "--slow: that share of requests begins with 'w' or 'c', which servers with --slow know. --requests N ends\n"
      "after N requests instead of a time.\n"
      "Prints requests, seconds, rps, p50_us, p99_us, p999_us, max_us, wrong, load_busy (the CPU time of this\n"
      "program; of an open loop that doesn't sleep, its time without polls that found nothing), slow_p50_us; and,\n"
      "of the server with that PID, cpu_ns (per request), busy (CPUs in use), memory_kib (with page tables),\n"
      "added_kib (since before the connections).\n";
  static const struct option options[] = {
      {"connect", required_argument, NULL, 'c'},    {"connections", required_argument, NULL, 'n'},
      {"size", required_argument, NULL, 'b'},       {"seconds", required_argument, NULL, 's'},
      {"warmup", required_argument, NULL, 'w'},     {"requests", required_argument, NULL, 'r'},
      {"server-pid", required_argument, NULL, 'p'}, {"idle", required_argument, NULL, 'i'},
      {"depth", required_argument, NULL, 'd'},      {"churn", no_argument, NULL, 'u'},
      {"rate", required_argument, NULL, 't'},       {"slow", required_argument, NULL, 'l'},
      {"sleep", no_argument, NULL, 'z'},            {"help", no_argument, NULL, 'h'},
      {0}};
  double seconds = 2, warmup = 0.2, rate = 0;
  uint64_t requests = UINT64_MAX;
  unsigned idle = 0;
  pid_t server = 0;
  load.active = 64;
  load.size = 64;
  load.depth = 1;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'c') load.to = parse_address(optarg);
    else if (o == 'n') load.active = (unsigned)parse_number("connections", optarg);
    else if (o == 'i') idle = (unsigned)parse_number("idle", optarg);
    else if (o == 'b') load.size = (size_t)parse_number("size", optarg);
    else if (o == 'd') load.depth = (unsigned)parse_number("depth", optarg);
    else if (o == 'u') load.churn = true;
    else if (o == 't') rate = parse_number("rate", optarg);
    else if (o == 'z') load.sleep = true;
    else if (o == 's') seconds = parse_number("seconds", optarg);
    else if (o == 'w') warmup = parse_number("warmup", optarg);
    else if (o == 'r') requests = (uint64_t)parse_number("requests", optarg);
    else if (o == 'p') server = (pid_t)parse_number("server-pid", optarg);
    else if (o == 'h') return fputs(usage, stdout), 0;
    else if (o == 'l' && (strncmp(optarg, "wait=", 5) == 0 || strncmp(optarg, "compute=", 8) == 0)) {
      load.slow_kind = optarg[0];
      load.slow = parse_number("slow", strchr(optarg, '=') + 1);
    } else return fputs(usage, stderr), 2;
  }
  if (optind != argc || load.to.length == 0) return fputs(usage, stderr), 2;
  if (load.churn && (rate != 0 || load.depth > 1)) fail(0, "--churn is for the closed loop, of depth 1");
  if (requests != UINT64_MAX) seconds = 1e6;

  load.count = load.active + idle;
  load.never_answered = load.count;
  allocate();
  const uint64_t memory_before = server != 0 ? memory_of(server) : 0;
  const clockid_t server_clock = server != 0 ? cpu_clock_of(server) : 0;
  load.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (load.epoll < 0) fail(errno, "epoll_create1");
  for (unsigned i = 0; i < load.count; ++i) open_connection(&load.connections[i]);

  // Everybody is served once, before the warm-up begins.
  for (unsigned i = 0; i < load.count; ++i) {
    const bool once = load.connections[i].idle || rate != 0;
    send_requests(&load.connections[i], once ? 1 : load.depth, nanoseconds(CLOCK_MONOTONIC));
  }
  uint64_t now = nanoseconds(CLOCK_MONOTONIC);
  while (load.never_answered > 0 && load.done < requests) now = serve_batch(now);
  if (rate != 0) begin_open_loop(rate, now);
  const uint64_t warm = now + (uint64_t)(warmup * 1e9);
  while (now < warm && load.done < requests) now = serve_batch(now);

  // A count of requests takes in the warm-up, so that the server was asked exactly so often.
  if (requests == UINT64_MAX) {
    load.done = load.empty_ns = 0;
    forget(&load.latency);
    forget(&load.slow_latency);
  }
  const uint64_t cpu_from = server != 0 ? nanoseconds(server_clock) : 0;
  const uint64_t own_from = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
  const uint64_t from = now;
  const uint64_t until = from + (uint64_t)(seconds * 1e9);
  while (now < until && load.done < requests) now = serve_batch(now);
  const uint64_t cpu = server != 0 ? nanoseconds(server_clock) - cpu_from : 0;
  const uint64_t own = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - own_from;
  if (rate != 0) count_unanswered(now);

  const double elapsed = (double)(now - from) / 1e9;
  const double n = (double)load.done;
  const double own_work = rate != 0 && !load.sleep ? elapsed - (double)load.empty_ns / 1e9 : (double)own / 1e9;
  printf("requests=%.0f seconds=%.3f rps=%.0f p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f wrong=%llu", n, elapsed,
         n / elapsed, percentile(&load.latency, 0.50) / 1e3, percentile(&load.latency, 0.99) / 1e3,
         percentile(&load.latency, 0.999) / 1e3, (double)load.latency.largest / 1e3, (unsigned long long)load.wrong);
  printf(" load_busy=%.3f", own_work / elapsed);
  if (load.slow != 0) printf(" slow_p50_us=%.1f", percentile(&load.slow_latency, 0.50) / 1e3);
  if (server != 0) {
    const uint64_t memory = memory_of(server);
    printf(" cpu_ns=%.1f busy=%.3f memory_kib=%llu added_kib=%lld", (double)cpu / n, (double)cpu / 1e9 / elapsed,
           (unsigned long long)memory, (long long)(memory - memory_before));
  }
  putchar('\n');
  return load.wrong != 0;
}
