#include "work.hpp"

#include <chrono>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

namespace soak {

using namespace std::chrono_literals;

void book::fail(std::string_view what) noexcept {
  constexpr std::uint64_t said = 20;
  if (failures_.fetch_add(1) < said) {
    std::fprintf(stderr, "soak: failed: %.*s\n", static_cast<int>(what.size()), what.data());
  }
}

namespace {

[[gnu::noinline]] long thread_now() { return ::syscall(SYS_gettid); }

// use_stack writes to about `size` bytes of it.
[[gnu::noinline]] void use_stack(std::size_t size) {
  volatile char frame[1024];
  frame[0] = static_cast<char>(size);
  frame[sizeof frame - 1] = frame[0];
  if (size > sizeof frame) use_stack(size - sizeof frame);
  asm volatile("" ::"r"(frame) : "memory");
}

struct expected_failure : std::runtime_error {
  explicit expected_failure(std::uint32_t n) : std::runtime_error("expected"), number(n) {}
  std::uint32_t number;
};

// Fibers are born, use some of their stack, and end in each of the ways there are.
void spawn_and_die(shared& s, dice& d) {
  std::vector<weft::fiber<std::uint32_t>> all;
  const std::uint32_t n = 1 + below(d, 30);
  for (std::uint32_t i = 0; i < n; ++i) {
    all.push_back(weft::spawn([i, deep = below(d, 32 * 1024), yields = below(d, 3)] {
      use_stack(deep);
      for (std::uint32_t k = 0; k < yields; ++k) weft::this_fiber::yield();
      return i;
    }));
  }
  for (std::uint32_t i = 0; i < n; ++i) {
    switch (below(d, 4)) {
      case 0:
        all[i].detach();
        break;
      case 1:
        all[i] = {};  // stopped and waited for
        break;
      default:
        s.books.expect(all[i].join() == i, "a fiber returns its result");
    }
  }
  weft::task_group<std::uint32_t> group;
  for (std::uint32_t i = 0; i < n; ++i) group.spawn([i] { return 2 * i; });
  const auto results = group.join();
  for (std::uint32_t i = 0; i < n; ++i) s.books.expect(results[i] == 2 * i, "a group's results come in order");
}

// Exceptions are in flight across suspensions and fibers.
void throwing(shared& s, dice& d) {
  const std::uint32_t number = d();
  weft::fiber<void> f = weft::spawn([&s, number, nested = below(d, 2) == 0] {
    try {
      throw expected_failure(number);
    } catch (const expected_failure& e) {
      weft::this_fiber::yield();
      if (nested) {
        try {
          throw number;
        } catch (std::uint32_t inner) {
          weft::this_fiber::sleep_for(50us);
          s.books.expect(inner == number, "a nested exception is its own");
        }
      }
      s.books.expect(e.number == number && std::uncaught_exceptions() == 0, "an exception stays with its fiber");
      throw;
    }
  });
  try {
    f.join();
    s.books.fail("join rethrows");
  } catch (const expected_failure& e) {
    s.books.expect(e.number == number, "join rethrows what was thrown");
  }
}

void blocking(shared& s, dice& d) {
  const std::uint64_t self = weft::this_fiber::get_id();
  const auto time = std::chrono::microseconds(below(d, 2000));
  s.books.expect(weft::blocking([&] {
    std::this_thread::sleep_for(time);
    return weft::this_fiber::get_id();
  }) == self, "blocking stays on its fiber");
}

void migrate(shared& s, dice& d) {
  long on = thread_now();
  for (std::uint32_t i = 0, n = 10 + below(d, 50); i < n; ++i) {
    if (below(d, 20) == 0) {
      weft::this_fiber::sleep_for(20us);
    } else {
      weft::this_fiber::yield();
    }
    const long now_on = thread_now();
    if (now_on != on) s.migrations.fetch_add(1, std::memory_order_relaxed);
    on = now_on;
  }
}

// A connection, some exchanges, and one of the ends that connections come to. What comes back is what was sent, or a beginning
// of it where the connection was killed.
void exchange(shared& s, dice& d) {
  std::error_code ec;
  weft::net::tcp_conn conn = weft::net::dial_tcp(s.server.local_endpoint(), ec);
  if (!s.books.expect(!ec, "the server can be dialled")) return;
  // The first byte says whether the server is to break off.
  const bool doomed = below(d, 8) == 0;
  conn.write(std::string_view(doomed ? "!" : "."), ec);
  std::vector<char> out;
  std::vector<char> in;
  for (std::uint32_t i = 0, n = 1 + below(d, 8); i < n; ++i) {
    out.resize(1 + below(d, below(d, 8) == 0 ? 200'000 : 2000));
    for (char& c : out) c = static_cast<char>(d());
    in.assign(out.size(), '\0');
    const std::uint32_t how = below(d, 16);
    std::optional<weft::fiber<void>> killer;
    if (how == 0) {  // in the middle, from another fiber
      killer = weft::spawn([&conn, delay = below(d, 100)] {
        weft::this_fiber::sleep_for(std::chrono::microseconds(delay));
        std::error_code closed_before;
        conn.close(closed_before);
      });
    }
    if (how == 1) conn.set_deadline(std::chrono::microseconds(below(d, 100)), ec);
    auto writer = weft::spawn([&conn, &out] {  // a large one would not fit while nobody reads
      std::error_code failed;
      conn.write(std::span<const char>(out), failed);
      return failed;
    });
    const std::size_t got = conn.read_full(std::span<char>(in), ec);
    if (ec || got != out.size()) {  // ends the writer
      std::error_code closed_before;
      conn.close(closed_before);
    }
    const std::error_code write_failed = writer.join();
    if (killer) killer->join();
    s.books.expect(std::equal(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(got), out.begin()),
                   "what comes back is what was sent");
    if (how > 1 && !doomed) s.books.expect(!ec && !write_failed && got == out.size(), "an exchange that nobody kills is whole");
    if (ec || write_failed || !conn.is_open()) break;
    conn.clear_deadline();
    s.exchanged.fetch_add(1, std::memory_order_relaxed);
  }
  if (conn.is_open() && below(d, 4) == 0) {
    conn.set_linger(0s, ec);  // a reset, with the server's handler in the middle of its read
    s.killed.fetch_add(1, std::memory_order_relaxed);
  } else if (!conn.is_open()) {
    s.killed.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace

void serve_one(weft::net::tcp_conn conn) {
  std::array<char, 4096> buffer;
  std::error_code ec;
  const bool doomed = conn.read_some(std::span(buffer).first(1), ec) == 1 && buffer[0] == '!';
  while (const std::size_t n = conn.read_some(std::span<char>(buffer), ec)) {
    conn.write(std::span<const char>(buffer).first(doomed ? n / 2 : n), ec);
    if (ec) break;
    if (doomed) {
      conn.set_linger(0s, ec);
      break;
    }
  }
}

namespace {

// Half of them send, half receive, some give up: nothing is lost, nothing comes twice.
void channels(shared& s, dice& d) {
  const bool sends = below(d, 2) == 0;
  for (std::uint32_t i = 0, n = 1 + below(d, 50); i < n; ++i) {
    const weft::channel<std::uint64_t>& c = below(d, 2) == 0 ? s.direct : s.buffered;
    const auto patience = std::chrono::microseconds(below(d, 300));
    if (sends) {
      const std::uint64_t value = d();
      if (c.try_send_for(std::uint64_t{value}, patience)) s.sent.fetch_add(value, std::memory_order_relaxed);
    } else if (const std::optional<std::uint64_t> value = c.try_receive_for(patience)) {
      s.received.fetch_add(*value, std::memory_order_relaxed);
    }
  }
}

void timers(shared& s, dice& d) {
  using std::chrono::steady_clock;
  const auto time = std::chrono::microseconds(below(d, 3000));
  const auto begun = steady_clock::now();
  switch (below(d, 4)) {
    case 0:
      weft::this_fiber::sleep_for(time);
      s.books.expect(steady_clock::now() - begun >= time, "a sleep is not shorter than asked for");
      break;
    case 1: {
      weft::timeout_scope scope(time);
      try {
        weft::this_fiber::sleep_for(1h);
        s.books.fail("a timeout ends a sleep");
      } catch (const weft::canceled_error&) {
        s.books.expect(scope.expired() && steady_clock::now() - begun >= time, "a timeout ends a sleep in time");
      }
      break;
    }
    case 2: {
      std::atomic<int> calls{0};
      weft::delayed_call call = weft::after(time, [&] { calls.fetch_add(1); });
      weft::this_fiber::sleep_for(time / 2);
      const bool prevented = call.stop();
      s.books.expect(!prevented || calls.load() == 0, "a call that was prevented is not made");
      break;
    }
    default: {
      weft::timer t(time);
      t.wait();
      s.books.expect(steady_clock::now() - begun >= time, "a timer is not early");
    }
  }
}

// A fiber is stopped in each of the places where one waits for long.
void stops(shared& s, dice& d) {
  weft::event begun;
  weft::channel<int> nothing(0);
  weft::event never_set;
  weft::fiber<bool> f = weft::spawn([&, where = below(d, 4)] {
    begun.set();
    try {
      switch (where) {
        case 0:
          weft::this_fiber::sleep_for(1h);
          break;
        case 1:
          nothing.receive();
          break;
        case 2:
          never_set.wait();
          break;
        default: {
          weft::net::tcp_conn conn = weft::net::dial_tcp(s.server.local_endpoint());
          std::array<char, 1> one;
          conn.read_some(one);  // the server says nothing by itself
        }
      }
    } catch (const weft::canceled_error&) {
      return true;
    }
    return false;
  });
  begun.wait();
  if (below(d, 2) == 0) weft::this_fiber::sleep_for(std::chrono::microseconds(below(d, 300)));
  f.request_stop();
  if (s.books.expect(f.join(), "a stop ends a wait")) s.stopped.fetch_add(1, std::memory_order_relaxed);
}

void locks(shared& s, dice& d) {
  if (below(d, 4) == 0) {
    s.permits.acquire();
    s.books.expect(s.with_permit.fetch_add(1) < 3, "no more than there are permits");
    weft::this_fiber::yield();
    s.with_permit.fetch_sub(1);
    s.permits.release();
    return;
  }
  std::unique_lock lock(s.lock);
  s.books.expect(s.inside++ == 0, "one at a time holds a mutex");
  if (below(d, 2) == 0) weft::this_fiber::yield();
  --s.inside;
  const std::uint64_t before = s.turns;
  if (below(d, 2) == 0) {
    ++s.turns;
    s.turned.notify_all();
  } else {
    (void)s.turned.wait_for(lock, std::chrono::microseconds(below(d, 500)), [&] { return s.turns != before; });
    s.books.expect(lock.owns_lock(), "a wait for a condition ends with the lock");
  }
}

}  // namespace

const std::array<kind, 9> kinds{{
    {"spawn", 4, spawn_and_die},
    {"throw", 8, throwing},
    {"block", 24, blocking},
    {"migrate", 8, migrate},
    {"socket", 16, exchange},
    {"channel", 12, channels},
    {"timer", 12, timers},
    {"stop", 8, stops},
    {"lock", 8, locks},
}};

}  // namespace soak
