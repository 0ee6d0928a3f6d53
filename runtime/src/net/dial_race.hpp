// dial_race: which of several addresses is tried when, and whose connection wins.
#pragma once

#include "socket.hpp"

#include <weft/net/endpoint.hpp>
#include <weft/net/tcp.hpp>
#include <weft/sched/clock.hpp>

#include <functional>
#include <span>
#include <string_view>
#include <system_error>
#include <vector>

namespace weft::inline v0::net {

// connector makes one connection by `until`, or says why not. Called on the caller's fiber and, for the other family,
// on one of the race's; never after the race is over.
using connector = std::function<std::error_code(const endpoint& remote, sched::nanotime until, tcp_conn& conn)>;

struct dial_plan {
  std::string_view name;            // the text the addresses come from; empty: they are what was asked for
  std::string_view source;          // the local end, as errors show it
  std::vector<endpoint> primaries;  // not empty
  std::vector<endpoint> fallbacks;  // of the other family
  sched::nanotime until = sched::never;
  sched::nanotime attempt = sched::never;  // what one address is given; never: a share of what is left
  sched::nanotime delay = 0;               // of the fallbacks
};

// attempt_end returns when an attempt that begins now has to end, if `left` addresses, itself included, are to be tried
// until `until`. REQUIRES: now < until.
sched::nanotime attempt_end(sched::nanotime now, sched::nanotime until, sched::nanotime attempt,
                            std::size_t left) noexcept;

// race returns the first connection, or none and the reason: the first primary's. It has no fiber left when it returns,
// and the connections that came too late are closed.
tcp_conn race(const dial_plan& plan, const connector& connect, failure& f);

}  // namespace weft::inline v0::net
