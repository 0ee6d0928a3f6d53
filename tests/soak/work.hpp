// What the fibers of a soak do, and what must hold while they do it.
#pragma once

#include <weft/weft.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string_view>

namespace soak {

// book counts what goes wrong, and says it on standard error, the first times.
class book {
 public:
  void fail(std::string_view what) noexcept;
  bool expect(bool holds, std::string_view what) noexcept {
    if (!holds) fail(what);
    return holds;
  }
  std::uint64_t failures() const noexcept { return failures_.load(); }

 private:
  std::atomic<std::uint64_t> failures_{0};
};

using dice = std::mt19937;

// below rolls a number from 0 to n - 1.
inline std::uint32_t below(dice& d, std::uint32_t n) { return static_cast<std::uint32_t>(d() % n); }

// shared is what the fibers of all kinds use together.
struct shared {
  explicit shared(book& b) : books(b) {}

  book& books;

  // Sockets: an echo server, and what became of connections.
  weft::net::server server{weft::net::listen_tcp("127.0.0.1:0")};
  std::atomic<std::uint64_t> exchanged{0};
  std::atomic<std::uint64_t> killed{0};

  // Channels: what was sent was received, or is on its way.
  weft::channel<std::uint64_t> direct{0};
  weft::channel<std::uint64_t> buffered{16};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> received{0};

  // Locks: `inside` is not atomic.
  weft::mutex lock;
  int inside = 0;
  std::uint64_t turns = 0;
  weft::condition_variable turned;
  weft::counting_semaphore<> permits{3};
  std::atomic<int> with_permit{0};

  std::atomic<std::uint64_t> migrations{0};
  std::atomic<std::uint64_t> stopped{0};
};

// A kind of work: one round takes some milliseconds at most, leaves nothing behind, and throws nothing but what is a failure.
struct kind {
  const char* name;
  int fibers;  // that do it at the same time
  void (*round)(shared&, dice&);
};

extern const std::array<kind, 9> kinds;

// serve_one is what the server does with a connection: echo, or break off if the first byte says so.
void serve_one(weft::net::tcp_conn conn);

}  // namespace soak
