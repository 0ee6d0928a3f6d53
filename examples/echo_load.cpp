// A load for echo servers: many connections, each byte verified, latencies that leave nothing out.
#include "support/flags.hpp"
#include "support/histogram.hpp"
#include "support/on_stop.hpp"

#include <weft/weft.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <mutex>
#include <random>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;
using weft::net::tcp_conn;

struct settings {
  std::string address = "127.0.0.1:7000";
  std::string size = "64";
  unsigned connections = 64;
  unsigned pipeline = 1;
  unsigned server_pid = 0;
  double seconds = 5;
  double rate = 0;  // requests per second over all connections; 0: as fast as answers come
  std::uint64_t least_size = 0;
  std::uint64_t most_size = 0;
};

// Bytes on their way through the server, of one connection: few enough for the buffers of its sockets, so that one
// fiber can write and read in turn.
constexpr std::size_t window = 64 * 1024;

// The bytes that a connection sends: random ones, from a table that all connections walk round, each from a place of
// its own. A byte that is wrong, lost, doubled, moved or another connection's shows at once.
class byte_stream {
 public:
  explicit byte_stream(std::uint64_t seed) : start_(seed * 0x9e3779b97f4a7c15 % period) {}

  // `window` bytes from a position on lie in one piece.
  const char* at(std::uint64_t position) const { return table() + (start_ + position) % period; }

 private:
  static constexpr std::uint64_t period = 1'048'573;  // a prime

  static const char* table() {
    static const std::vector<char> bytes = [] {
      std::vector<char> b(period + window);
      std::mt19937_64 random(20);
      for (std::size_t i = 0; i < period; ++i) b[i] = static_cast<char>(random());
      std::copy_n(b.begin(), window, b.begin() + period);
      return b;
    }();
    return bytes.data();
  }

  std::uint64_t start_;
};

// The sizes of a connection's messages. Two with the same seed give the same, so that sender and receiver need not
// talk.
class sizes {
 public:
  sizes(const settings& s, std::uint64_t seed) : least_(s.least_size), most_(s.most_size), random_(seed) {}

  std::uint64_t next() {
    if (least_ == most_) return least_;
    const double low = std::log(static_cast<double>(least_));
    const double high = std::log(static_cast<double>(most_) + 1);
    const auto size = static_cast<std::uint64_t>(std::exp(std::uniform_real_distribution(low, high)(random_)));
    return std::clamp(size, least_, most_);
  }

 private:
  std::uint64_t least_;
  std::uint64_t most_;
  std::minstd_rand random_;
};

// What all connections add to.
struct tally {
  std::array<support::histogram, 16> latencies;  // several, so that workers seldom write to one at a time
  std::atomic<std::uint64_t> wrong_bytes{0};
  std::atomic<std::uint64_t> errors{0};
  std::atomic<bool> stop{false};  // begin no more requests
  std::mutex mutex;
  std::string first_error;  // guarded by mutex

  void fail(const std::string& what) {
    ++errors;
    const std::lock_guard lock(mutex);
    if (first_error.empty()) first_error = what;
  }
  void fail(const char* operation, const tcp_conn& conn, const std::error_code& error) {
    fail(std::string(operation) + " tcp " + conn.remote_endpoint().to_string() + ": " + error.message());
  }
};

// One connection and the position of its stream.
struct client {
  tally& all;
  const settings& options;
  unsigned number;
  tcp_conn conn{};
  byte_stream bytes{number + 1};
  std::uint64_t received = 0;

  void record(clock_type::duration latency) { all.latencies[number % all.latencies.size()].record(latency.count()); }

  bool send(std::uint64_t position, std::size_t size) {
    std::error_code error;
    conn.write(weft::const_buffer(bytes.at(position), size), error);
    if (error) all.fail("write", conn, error);
    return !error;
  }

  // Reads what is there and compares it; false at the end of the stream and after an error.
  bool receive() {
    std::array<char, 16 * 1024> buffer;
    std::error_code error;
    const std::size_t n = conn.read_some(buffer, error);
    if (error) all.fail("read", conn, error);
    const char* const expected = bytes.at(received);
    if (std::memcmp(buffer.data(), expected, n) != 0) {
      for (std::size_t i = 0; i < n; ++i) all.wrong_bytes += buffer[i] != expected[i];
    }
    received += n;
    return n != 0;
  }

  // Nothing more is sent, and nothing more may come than `sent` bytes in all.
  void expect_end(std::uint64_t sent) {
    std::error_code error;
    conn.shutdown(weft::net::shutdown_side::write, error);
    while (receive()) {
    }
    if (received < sent) all.fail("answer of " + conn.remote_endpoint().to_string() + " ended early");
    if (received > sent) all.fail("answer of " + conn.remote_endpoint().to_string() + " is too long");
  }

  // Closed loop: up to `pipeline` requests under way; the next one begins when an answer is complete.
  void run_closed(time_point end_time) {
    struct request {
      std::uint64_t end;  // position in the stream
      time_point begun;
    };
    std::deque<request> under_way;
    sizes size(options, number + 1);
    std::uint64_t sent = 0;
    std::uint64_t begun = 0;
    time_point now = clock_type::now();
    for (;;) {
      while (under_way.size() < options.pipeline && begun - received < window && now < end_time && !all.stop) {
        begun += size.next();
        under_way.push_back({begun, now});
      }
      if (under_way.empty()) return expect_end(sent);
      if (const std::size_t n = std::min<std::uint64_t>(begun - sent, window - (sent - received)); n != 0) {
        if (!send(sent, n)) return;
        sent += n;
      }
      if (!receive()) return expect_end(sent);
      now = clock_type::now();
      for (; !under_way.empty() && under_way.front().end <= received; under_way.pop_front()) {
        record(now - under_way.front().begun);
      }
    }
  }

  // Open loop: requests are sent at their times, whatever the answers do, and a latency counts from the time at which
  // its request should have been sent. A server that stalls pays for everyone whom it kept waiting.
  void run_open(time_point start, time_point end_time) {
    const std::chrono::duration<double> interval(options.connections / options.rate);
    const auto time_of = [&](std::uint64_t i) {
      const double turn = static_cast<double>(i) + static_cast<double>(number) / options.connections;
      return start + std::chrono::duration_cast<clock_type::duration>(turn * interval);
    };
    std::atomic<std::uint64_t> sent{0};
    auto sender = weft::spawn([&] {
      sizes size(options, number + 1);
      std::uint64_t position = 0;
      bool works = true;
      for (std::uint64_t i = 0; works && time_of(i) < end_time && !all.stop; ++i) {
        weft::this_fiber::sleep_until(time_of(i));
        for (std::uint64_t left = size.next(); works && left != 0;) {
          const std::size_t n = std::min<std::uint64_t>(left, window);
          works = send(position, n);
          position += n;
          left -= n;
        }
      }
      sent = position;
      std::error_code ignored;
      conn.shutdown(weft::net::shutdown_side::write, ignored);
    });
    sizes size(options, number + 1);
    std::uint64_t end = size.next();
    for (std::uint64_t i = 0; receive();) {
      const time_point now = clock_type::now();
      for (; end <= received; end += size.next()) record(now - time_of(i++));
    }
    sender.join();
    expect_end(sent);
  }
};

// The CPU time of a process so far, its threads included, in seconds; 0 if there is no such process.
double cpu_seconds_of(unsigned pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));  // the name may hold anything
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void connect_all(std::deque<client>& clients, tally& all) {
  constexpr std::size_t at_once = 256;  // no more than a listener's queue holds anywhere
  for (std::size_t first = 0; first < clients.size() && all.errors == 0 && !all.stop; first += at_once) {
    weft::wait_group dialled;
    for (std::size_t i = first; i < std::min(clients.size(), first + at_once); ++i) {
      dialled.add();
      weft::go([&all, &dialled, &c = clients[i]] {
        try {
          c.conn = weft::net::dial_tcp(c.options.address);
        } catch (const std::system_error& error) {
          all.fail(error.what());
        }
        dialled.done();
      });
    }
    dialled.wait();
  }
}

std::uint64_t count_of(const tally& all) {
  std::uint64_t sum = 0;
  for (const auto& h : all.latencies) sum += h.count();
  return sum;
}

void show_progress(const tally& all, time_point start) {
  for (;;) {
    weft::this_fiber::sleep_for(std::chrono::milliseconds(250));
    const std::chrono::duration<double> passed = clock_type::now() - start;
    const double count = static_cast<double>(count_of(all));
    std::fprintf(stderr, "\r%6.1f s  %12.0f requests  %10.0f per second ", passed.count(), count,
                 count / passed.count());
  }
}

void show_table(const tally& all, const settings& s, double seconds, double server_cpu) {
  support::histogram h;
  for (const auto& part : all.latencies) h.add(part);
  const auto count = static_cast<double>(h.count());
  const auto row = [](const char* name, const char* format, auto value) {
    std::printf("%-24s", name);
    std::printf(format, value);
    std::printf("\n");
  };
  row("connections", "%12u", s.connections);
  row("requests", "%12.0f", count);
  row("requests per second", "%12.0f", count / seconds);
  row("latency p50", "%12.1f us", static_cast<double>(h.percentile(0.5)) / 1e3);
  row("latency p99", "%12.1f us", static_cast<double>(h.percentile(0.99)) / 1e3);
  row("latency p99.9", "%12.1f us", static_cast<double>(h.percentile(0.999)) / 1e3);
  row("latency max", "%12.1f us", static_cast<double>(h.max()) / 1e3);
  if (s.server_pid != 0) row("server CPU per request", "%12.2f us", count == 0 ? 0 : server_cpu / count * 1e6);
  row("wrong bytes", "%12llu", static_cast<unsigned long long>(all.wrong_bytes));
  row("errors", "%12llu", static_cast<unsigned long long>(all.errors));
}

int load(const settings& s) {
  tally all;
  const support::on_stop stop([&all] { all.stop = true; });
  std::deque<client> clients;
  for (unsigned i = 0; i < s.connections; ++i) clients.push_back(client{all, s, i});
  connect_all(clients, all);

  if (all.errors == 0 && !all.stop) {
    const double cpu_before = cpu_seconds_of(s.server_pid);
    const time_point start = clock_type::now();
    const auto time = std::chrono::duration_cast<clock_type::duration>(std::chrono::duration<double>(s.seconds));
    weft::wait_group running;
    for (client& c : clients) {
      running.add();
      weft::go([&running, &c, start, end = start + time, open = s.rate > 0] {
        open ? c.run_open(start, end) : c.run_closed(end);
        running.done();
      });
    }
    const auto until_stopped = [](auto action) {
      return [action] {
        try {
          action();
        } catch (const weft::canceled_error&) {
        }
      };
    };
    // A server that does not answer must not keep us: after a time of grace the connections are closed.
    auto patience = weft::spawn(until_stopped([&] {
      weft::this_fiber::sleep_until(start + time + std::chrono::seconds(30));
      std::error_code ignored;
      for (client& c : clients) c.conn.close(ignored);
    }));
    weft::fiber<> progress;
    if (isatty(STDERR_FILENO)) progress = weft::spawn(until_stopped([&] { show_progress(all, start); }));
    running.wait();
    if (progress) {
      progress.request_stop();
      progress.join();
      std::fputs("\r\033[K", stderr);
    }
    const std::chrono::duration<double> passed = clock_type::now() - start;
    show_table(all, s, passed.count(), cpu_seconds_of(s.server_pid) - cpu_before);
  }
  if (all.errors != 0) std::fprintf(stderr, "echo_load: %s\n", all.first_error.c_str());
  return all.errors == 0 && all.wrong_bytes == 0 ? 0 : 1;
}

bool read_sizes(settings& s) {
  char rest = 0;
  unsigned long long least = 0;
  unsigned long long most = 0;
  const int found = std::sscanf(s.size.c_str(), "%llu-%llu%c", &least, &most, &rest);
  if (found == 1 && std::sscanf(s.size.c_str(), "%llu%c", &least, &rest) == 1) most = least;
  s.least_size = least;
  s.most_size = most;
  return least >= 1 && most >= least && most <= (1u << 30) && found <= 2;
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  weft::runtime_options options;
  support::flags flags("echo_load", "loads an echo server, verifies every byte, and prints a table.");
  flags.text("--connect", "HOST:PORT", "the server", s.address)
      .number("--connections", "N", "connections at once (64)", s.connections, 1u, 1'000'000u)
      .text("--size", "BYTES", "of a request: N, or LEAST-MOST, small ones as many as large ones", s.size)
      .number("--seconds", "S", "how long to send (5)", s.seconds, 0.001, 1e6)
      .number("--pipeline", "D", "requests under way on a connection (1)", s.pipeline, 1u, 65'536u)
      .number("--rate", "R", "requests per second in all, at fixed times (as fast as answered)", s.rate, 0.001, 1e9)
      .number("--server-pid", "PID", "process whose CPU time is to be shown", s.server_pid, 1u, 4'194'304u)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  if (!read_sizes(s)) flags.fail("bad value for --size: " + s.size);
  support::raise_descriptor_limit();

  return support::report_errors("echo_load", [&] { return weft::run([&] { return load(s); }, options); });
}
