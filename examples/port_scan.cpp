// A port scanner: a task group dials many ports at once, and time bounds each dial and the whole.
#include "support/flags.hpp"

#include <weft/weft.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

using std::chrono::milliseconds;
using weft::net::endpoint;

struct settings {
  std::string ports = "1-1024";
  unsigned first = 0;
  unsigned last = 0;
  unsigned limit = 256;
  unsigned timeout = 1000;  // both in milliseconds
  unsigned total = 60'000;
};

enum class outcome { open, refused, timed_out, unreachable };

outcome probe(const endpoint& target, milliseconds timeout) {
  const weft::timeout_scope scope(timeout);
  std::error_code error;
  const weft::net::tcp_conn conn = weft::net::dial_tcp(target, error);
  if (!error) return outcome::open;
  if (error == std::errc::connection_refused || error == std::errc::connection_reset) return outcome::refused;
  // By whichever scope, or by the system.
  if (error == std::errc::operation_canceled || error == std::errc::timed_out) return outcome::timed_out;
  if (error == std::errc::host_unreachable || error == std::errc::network_unreachable) return outcome::unreachable;
  throw std::system_error(error, "dial " + target.to_string());  // our own trouble: no descriptors, no memory
}

void scan(const std::string& name, const settings& s) {
  endpoint host;
  weft::task_group<outcome> dials(weft::task_group_options(s.limit));
  {
    const weft::timeout_scope in_all(milliseconds(s.total));
    try {
      host = weft::net::resolve(name).front();
      for (unsigned port = s.first; port <= s.last; ++port) {  // waits while there are `limit` dials
        dials.spawn(probe, host.with_port(static_cast<std::uint16_t>(port)), milliseconds(s.timeout));
      }
    } catch (const weft::canceled_error&) {
      if (!in_all.expired()) throw;
      if (!host) throw std::runtime_error("lookup " + name + ": the time was up");
    }
  }
  // Outside the scope, which would end the join: the dials have inherited it, and end in time by themselves.
  const std::vector<outcome> outcomes = dials.join();

  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i] == outcome::open) std::printf("%zu open\n", s.first + i);
  }
  const auto count = [&](outcome o) { return std::count(outcomes.begin(), outcomes.end(), o); };
  std::printf("%s, ports %u-%u: %td open, %td refused, %td timed out, %td unreachable, %zu not tried\n", name.c_str(),
              s.first, s.last, count(outcome::open), count(outcome::refused), count(outcome::timed_out),
              count(outcome::unreachable), s.last - s.first + 1 - outcomes.size());
}

bool read_port(const std::string& text, unsigned& port) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return error == std::errc() && stop == end && port >= 1 && port <= 65'535;
}

void read_ports(settings& s) {
  const std::size_t dash = s.ports.find('-');
  const bool good = read_port(s.ports.substr(0, dash), s.first) &&
                    read_port(s.ports.substr(dash + 1), s.last) &&  // npos + 1 is 0: a single port is both
                    s.first <= s.last;
  if (!good) throw std::invalid_argument("bad ports " + s.ports + ": wanted is A-B, or A, from 1 to 65535");
}

}  // namespace

int main(int argc, char** argv) {
  settings s;
  std::vector<std::string> host;
  weft::runtime_options options;
  support::flags("port_scan", "tells which TCP ports of a host are open.")
      .rest("HOST", host, 1, 1)
      .text("--ports", "A-B", "which ports", s.ports)
      .number("--limit", "N", "dials at the same time (256)", s.limit, 1u, 65'535u)
      .number("--timeout", "MS", "for each dial (1000)", s.timeout, 1u, 3'600'000u)
      .number("--total", "MS", "for everything (60000); ports that are left then are not tried", s.total, 1u,
              86'400'000u)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  support::raise_descriptor_limit();

  return support::report_errors("port_scan", [&] {
    read_ports(s);
    return weft::run([&] { scan(host.front(), s); }, options);
  });
}
