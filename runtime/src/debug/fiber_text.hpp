// fiber_text: one fiber of a dump, written out.
#pragma once

#include "code_names.hpp"

#include <weft/debug/dump.hpp>
#include <weft/sched/inspect.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace weft::inline v0::debug {

// append_text and append_json write what v shows, as of `now`. REQUIRES: called while v is looked at.
void append_text(std::string& to, sched::scheduler& s, const sched::fiber_view& v, sched::nanotime now, code_names& names);
void append_json(std::string& to, sched::scheduler& s, const sched::fiber_view& v, sched::nanotime now, code_names& names);

// append_frames writes a line for each frame.
void append_frames(std::string& to, const sched::fiber_view& v, std::string_view indent, code_names& names);

}  // namespace weft::inline v0::debug
