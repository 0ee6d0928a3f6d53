#include "bounded_lookup.hpp"

#include "host_port.hpp"

#include <weft/fiber.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>

#include <string>
#include <system_error>
#include <utility>

namespace weft::inline v0::net {

namespace {

struct answer {
  std::vector<endpoint> found;
  failure f;
};

// joined waits for the answer; `f.code` is canceled or timed_out if it didn't come.
answer joined(fiber<answer>& asking, sched::nanotime until, failure& f) {
  bool passed = false;
  {
    const sched::deadline_link link(until);
    try {
      return asking.join();
    } catch (const canceled_error&) {
      passed = link.passed();
    }
  }
  f.code =
      std::make_error_code(passed && !sched::stop_requested() ? std::errc::timed_out : std::errc::operation_canceled);
  asking.request_stop();
  asking.detach();
  return {};
}

}  // namespace

std::vector<endpoint> bounded_lookup(std::string_view address, std::string_view operation, absent_host absent,
                                     sched::nanotime until, failure& f) {
  host_port parts;
  endpoint numeric;
  bool is_name = false;
  if (split_host_port(address, parts) == nullptr) static_cast<void>(numeric_endpoint(parts, numeric, is_name));
  if (!is_name) return lookup(address, operation, absent, f);

  f = {};
  f.what = {std::string(operation), "tcp", {}, quoted(address) + ": lookup " + std::string(parts.host)};
  if (sched::stop_requested()) {
    f.code = std::make_error_code(std::errc::operation_canceled);
    return {};
  }
  fiber<answer> asking;
  try {
    asking = spawn(spawn_options("lookup"), [text = std::string(address), op = std::string(operation), absent] {
      answer a;
      a.found = lookup(text, op, absent, a.f);
      return a;
    });
  } catch (const std::system_error& error) {
    f.code = error.code();
    return {};
  }
  answer got = joined(asking, until, f);
  if (f.code) return {};
  f = std::move(got.f);
  return std::move(got.found);
}

}  // namespace weft::inline v0::net
