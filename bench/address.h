// What the C programs of bench/ share: HOST:PORT, numbers from the command line.
#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include "fail.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

struct address {
  struct sockaddr_storage storage;
  socklen_t length;
};

// parse_address takes a numeric HOST:PORT, an IPv6 host in brackets.
static inline struct address parse_address(const char* text) {
  char host[64];
  const char* colon = strrchr(text, ':');
  if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host) fail(0, "%s: not HOST:PORT", text);
  const int brackets = text[0] == '[' && colon[-1] == ']';
  snprintf(host, sizeof host, "%.*s", (int)(colon - text) - 2 * brackets, text + brackets);

  const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  struct addrinfo* found = NULL;
  const int error = getaddrinfo(host, colon + 1, &hints, &found);
  if (error != 0) fail(0, "%s: %s", text, gai_strerror(error));
  struct address result = {.length = found->ai_addrlen};
  memcpy(&result.storage, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return result;
}

// parse_number takes a positive decimal number, fractions allowed.
static inline double parse_number(const char* name, const char* text) {
  char* end = NULL;
  const double value = strtod(text, &end);
  const int whole = end != text && *end == '\0';
  if (!whole || !(value > 0 && value < 1e12)) fail(0, "--%s %s: not a positive number", name, text);
  return value;
}

static inline void set_no_delay(int fd) {
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail(errno, "TCP_NODELAY");
}

#endif
