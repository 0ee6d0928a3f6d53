// bounded_lookup: a lookup that ends in time.
#pragma once

#include "lookup.hpp"

#include <weft/sched/clock.hpp>

#include <string_view>
#include <vector>

namespace weft::inline v0::net {

// bounded_lookup is lookup, but fails when `until` has come (timed_out) or the caller is stopped (operation_canceled).
// Names are looked up on a fiber of their own, which is left behind then: getaddrinfo cannot be interrupted.
std::vector<endpoint> bounded_lookup(std::string_view address, std::string_view operation, absent_host absent,
                                     sched::nanotime until, failure& f);

}  // namespace weft::inline v0::net
