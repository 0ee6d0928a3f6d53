// wait_text: what a parked fiber waits for, in words.
#pragma once

#include <weft/sched/inspect.hpp>

#include <string>
#include <string_view>

namespace weft::inline v0::debug {

// wait_kind names the reason: "read", "lock", ...
std::string_view wait_kind(sched::wait_reason why) noexcept;

// wait_object describes what is waited for, "" where there is nothing to say. REQUIRES: called while v is looked at, since
// the object is read.
std::string wait_object(sched::scheduler& s, const sched::fiber_view& v);

// The fiber that v waits for: the holder of a mutex, the fiber it joins. 0: none, or a thread, or not known.
std::uint64_t waits_for_fiber(sched::scheduler& s, const sched::fiber_view& v) noexcept;

}  // namespace weft::inline v0::debug
