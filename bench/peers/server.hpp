// What the echo servers in C++ share: the command line, and what a slow handler does.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>  // for Asio 1.74, which forgets it

namespace bench {

// With `slow`, a request that begins with 'w' is answered 10 ms later, and one with 'c' after 10 ms of computing.
struct server_options {
  std::string host = "127.0.0.1";
  unsigned short port = 0;
  unsigned workers = 1;
  bool slow = false;
};

constexpr std::chrono::milliseconds slow_time(10);

inline void compute() {
  using clock = std::chrono::steady_clock;
  for (const auto until = clock::now() + slow_time; clock::now() < until;) continue;
}

inline server_options server_options_from(int argc, char** argv, unsigned most_workers = 64) {
  server_options o;
  bool wrong = false;
  for (int i = 1; i < argc && !wrong; ++i) {
    const std::string_view name = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (name == "--slow") {
      o.slow = true;
    } else if (name == "--listen" && value != nullptr) {
      const std::string address = argv[++i];
      const std::size_t colon = address.rfind(':');
      wrong = colon == std::string::npos;
      if (wrong) break;
      o.host = address.substr(0, colon);
      o.port = static_cast<unsigned short>(std::atoi(address.c_str() + colon + 1));
    } else if (name == "--workers" && value != nullptr) {
      o.workers = static_cast<unsigned>(std::atoi(argv[++i]));
    } else {
      wrong = true;
    }
  }
  if (wrong || o.workers == 0 || o.workers > most_workers) {
    std::fprintf(stderr, "usage: %s [--listen IPV4:PORT] [--workers 1..%u] [--slow]\n", argv[0], most_workers);
    std::exit(2);
  }
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return o;
}

inline void print_endpoint(const std::string& host, unsigned port) {
  std::printf("listening on %s:%u\n", host.c_str(), port);
  std::fflush(stdout);
}

}  // namespace bench
