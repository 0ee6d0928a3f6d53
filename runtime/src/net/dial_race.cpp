#include "dial_race.hpp"

#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>

#include <algorithm>
#include <stop_token>
#include <string>
#include <utility>

namespace weft::inline v0::net {

namespace {

struct result {
  tcp_conn conn;
  failure f;  // empty: conn is the connection
};

bool is_canceled(const failure& f) noexcept { return f.code == std::errc::operation_canceled; }

failure failure_of(const dial_plan& plan, const endpoint& remote, std::error_code code) {
  std::string target = remote.to_string();
  if (!plan.name.empty() && plan.name != target) target = std::string(plan.name) + " (" + target + ")";
  return {code, {"dial", "tcp", std::string(plan.source), std::move(target)}};
}

// Tries each address; the failure is that of the first, or a stop.
result one_by_one(const dial_plan& plan, std::span<const endpoint> remotes, const connector& connect) {
  result r;
  for (std::size_t i = 0; i < remotes.size(); ++i) {
    std::error_code code;
    const sched::nanotime now = sched::now();
    if (sched::stop_requested()) {
      code = std::make_error_code(std::errc::operation_canceled);
    } else if (now >= plan.until) {
      code = std::make_error_code(std::errc::timed_out);
    } else {
      code = connect(remotes[i], attempt_end(now, plan.until, plan.attempt, remotes.size() - i), r.conn);
      if (!code) return {std::move(r.conn), {}};
    }
    const bool canceled = code == std::errc::operation_canceled;
    if (!r.f.code || canceled) r.f = failure_of(plan, remotes[i], code);
    if (canceled || sched::now() >= plan.until) break;
  }
  return r;
}

// The other family's part of a race. `primaries_failed` ends its wait for its turn.
result after_delay(const dial_plan& plan, const connector& connect, const std::stop_token& primaries_failed) {
  {
    const sched::stop_link at_once(primaries_failed);
    static_cast<void>(sched::sleep_until(std::min(plan.until, sched::after(plan.delay))));
  }
  return one_by_one(plan, plan.fallbacks, connect);
}

}  // namespace

sched::nanotime attempt_end(sched::nanotime now, sched::nanotime until, sched::nanotime attempt,
                            std::size_t left) noexcept {
  constexpr sched::nanotime least = 2'000'000'000;  // Go's saneMinimum: less helps nobody
  if (until == sched::never && attempt == sched::never) return sched::never;
  const sched::nanotime rest = until - now;  // more than there will ever be, if until is never
  sched::nanotime share = attempt;
  if (share == sched::never) share = std::max(rest / static_cast<sched::nanotime>(left), least);
  return share < rest ? now + std::max<sched::nanotime>(share, 0) : until;
}

// The primaries are tried by the caller, the fallbacks on a fiber that begins by waiting for its turn. Whichever
// connects stops the other: the caller through a link, the fiber by its handle, whose end waits for the fiber's.
tcp_conn race(const dial_plan& plan, const connector& connect, failure& f) {
  f = {};
  if (plan.fallbacks.empty()) {
    result r = one_by_one(plan, plan.primaries, connect);
    f = std::move(r.f);
    return std::move(r.conn);
  }
  std::stop_source primaries_failed;
  std::stop_source fallback_won;
  fiber<result> fallback = spawn(spawn_options("dial"), [&, failed = primaries_failed.get_token()] {
    result r = after_delay(plan, connect, failed);
    if (!r.f.code) fallback_won.request_stop();
    return r;
  });
  result first;
  {
    const sched::stop_link lost(fallback_won.get_token());
    first = one_by_one(plan, plan.primaries, connect);
  }
  if (!first.f.code) return std::move(first.conn);
  primaries_failed.request_stop();
  result second;
  try {
    second = fallback.join();
  } catch (const canceled_error&) {  // a stop of ours; or what the connector threw, with the same meaning
    second.f.code = std::make_error_code(std::errc::operation_canceled);
  }
  if (!second.f.code) return std::move(second.conn);
  if (is_canceled(second.f) && !is_canceled(first.f)) {
    first.f = failure_of(plan, plan.primaries.front(), second.f.code);
  }
  f = std::move(first.f);
  return {};
}

}  // namespace weft::inline v0::net
