// The echo server with libuv: one loop; what it reads is written at once, and what the socket doesn't take is queued.
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { buffer_size = 16 * 1024, slow_ms = 10 };

struct connection {
  uv_tcp_t socket;
  uv_timer_t timer;  // with --slow
  uv_write_t rest;
  int open_handles;
  char* pending;  // what `rest` or the timer is about
  size_t pending_size;
};

static bool slow;
static char buffer[buffer_size];

static void check(int result, const char* what) {
  if (result >= 0) return;
  fprintf(stderr, "%s: %s\n", what, uv_strerror(result));
  exit(1);
}

static void on_closed(uv_handle_t* handle) {
  struct connection* c = handle->data;
  if (--c->open_handles > 0) return;
  free(c->pending);
  free(c);
}

static void drop(struct connection* c) {
  if (uv_is_closing((uv_handle_t*)&c->socket)) return;
  uv_close((uv_handle_t*)&c->socket, on_closed);
  if (slow) uv_close((uv_handle_t*)&c->timer, on_closed);
}

static void on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* bytes);

static void lend_buffer(uv_handle_t* handle, size_t suggested, uv_buf_t* bytes) {
  (void)handle, (void)suggested;
  *bytes = uv_buf_init(buffer, buffer_size);
}

static void keep(struct connection* c, const char* bytes, size_t size) {
  char* copy = malloc(size);
  if (copy == NULL) abort();
  memcpy(copy, bytes, size);
  free(c->pending);
  c->pending = copy;
  c->pending_size = size;
  uv_read_stop((uv_stream_t*)&c->socket);
}

static void on_written(uv_write_t* request, int status) {
  struct connection* c = request->data;
  if (status < 0) {
    drop(c);
  } else {
    uv_read_start((uv_stream_t*)&c->socket, lend_buffer, on_read);
  }
}

static void queue(struct connection* c) {
  const uv_buf_t bytes = uv_buf_init(c->pending, (unsigned)c->pending_size);
  c->rest.data = c;
  if (uv_write(&c->rest, (uv_stream_t*)&c->socket, &bytes, 1, on_written) != 0) drop(c);
}

static void on_time(uv_timer_t* timer) { queue(timer->data); }

// handle_slowly is true if the answer is for later.
static bool handle_slowly(struct connection* c, const char* bytes, size_t size) {
  if (bytes[0] == 'c') {
    for (const uint64_t until = uv_hrtime() + slow_ms * 1000000ull; uv_hrtime() < until;) continue;
  }
  if (bytes[0] != 'w') return false;
  keep(c, bytes, size);
  uv_timer_start(&c->timer, on_time, slow_ms, 0);
  return true;
}

static void on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* bytes) {
  struct connection* c = stream->data;
  if (size == 0) return;
  if (size < 0) {
    drop(c);
    return;
  }
  if (slow && handle_slowly(c, bytes->base, (size_t)size)) return;
  const uv_buf_t all = uv_buf_init(bytes->base, (unsigned)size);
  int written = uv_try_write(stream, &all, 1);
  if (written == UV_EAGAIN) written = 0;
  if (written < 0) {
    drop(c);
  } else if (written < size) {
    keep(c, bytes->base + written, (size_t)(size - written));
    queue(c);
  }
}

static void on_connection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  struct connection* c = calloc(1, sizeof *c);
  if (c == NULL) abort();
  c->socket.data = c->timer.data = c;
  c->open_handles = slow ? 2 : 1;
  check(uv_tcp_init(listener->loop, &c->socket), "tcp");
  if (slow) check(uv_timer_init(listener->loop, &c->timer), "timer");
  if (uv_accept(listener, (uv_stream_t*)&c->socket) != 0) {
    drop(c);
    return;
  }
  uv_tcp_nodelay(&c->socket, 1);
  uv_read_start((uv_stream_t*)&c->socket, lend_buffer, on_read);
}

int main(int argc, char** argv) {
  struct sockaddr_in at;
  int result = uv_ip4_addr("127.0.0.1", 0, &at);
  for (int i = 1; i < argc && result == 0; ++i) {
    char* value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--slow") == 0) {
      slow = true;
    } else if (strcmp(argv[i], "--listen") == 0 && value != NULL && strchr(value, ':') != NULL) {
      char* colon = strchr(value, ':');
      *colon = '\0';
      result = uv_ip4_addr(value, atoi(colon + 1), &at);
      ++i;
    } else if (strcmp(argv[i], "--workers") == 0 && value != NULL && strcmp(value, "1") == 0) {
      ++i;
    } else {
      result = -1;
    }
  }
  if (result != 0) {
    fprintf(stderr, "usage: %s [--listen IPV4:PORT] [--workers 1] [--slow]\n", argv[0]);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  uv_tcp_t listener;
  int length = sizeof at;
  check(uv_tcp_init(uv_default_loop(), &listener), "tcp");
  check(uv_tcp_bind(&listener, (const struct sockaddr*)&at, 0), "bind");
  check(uv_listen((uv_stream_t*)&listener, 4096, on_connection), "listen");
  check(uv_tcp_getsockname(&listener, (struct sockaddr*)&at, &length), "getsockname");
  char host[32];
  uv_ip4_name(&at, host, sizeof host);
  printf("listening on %s:%u\n", host, ntohs(at.sin_port));
  fflush(stdout);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
