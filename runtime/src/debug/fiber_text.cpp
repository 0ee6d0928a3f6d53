#include "fiber_text.hpp"

#include "wait_text.hpp"

#include <algorithm>
#include <cstdio>

namespace weft::inline v0::debug {

namespace {

template <class... Values>
void append(std::string& to, const char* format, Values... values) {
  char text[160];
  const int n = std::snprintf(text, sizeof text, format, values...);
  to.append(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
}

double seconds(sched::nanotime t) { return static_cast<double>(std::max<sched::nanotime>(t, 0)) * 1e-9; }

std::string_view state_text(const sched::fiber_view& v) {
  switch (v.state) {
    case sched::fiber_state::runnable:
      return "runnable";
    case sched::fiber_state::running:
      return "running";
    case sched::fiber_state::blocking:
      return "blocking";
    case sched::fiber_state::parked:
      return "parked";
  }
  return "";
}

// JSON is UTF-8; a name is whatever bytes it was given, cut at some length. What is not ASCII is escaped byte by byte.
void append_quoted(std::string& to, std::string_view s) {
  to += '"';
  for (const char c : s) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      append(to, "\\u%04x", byte);
    } else {
      to += c;
    }
  }
  to += '"';
}

}  // namespace

void append_frames(std::string& to, const sched::fiber_view& v, std::string_view indent, code_names& names) {
  for (std::size_t i = 0; i < v.frame_count; ++i) {
    to.append(indent).append(names.of(v.frames[i])).append("\n");
  }
  if (v.more_frames) to.append(indent).append("...\n");
}

void append_text(std::string& to, sched::scheduler& s, const sched::fiber_view& v, sched::nanotime now,
                 code_names& names) {
  append(to, "fiber %llu '%s' [", static_cast<unsigned long long>(v.id), v.name);
  if (v.state == sched::fiber_state::parked) {
    to += wait_kind(v.why);
    const std::string object = wait_object(s, v);
    if (!object.empty()) to.append(" ").append(object);
    if (v.why == sched::wait_reason::sleep && v.wakes != sched::never) {
      append(to, ", %.3f s to go", seconds(v.wakes - now));
    }
  } else {
    to += state_text(v);
    if (v.state != sched::fiber_state::runnable) append(to, " on worker %u", v.worker);
  }
  append(to, ", for %.3f s]\n", seconds(now - v.since));
  append_frames(to, v, "    ", names);
  if (v.spawned_at != nullptr) {
    append(to, "    spawned %.3f s ago at ", seconds(now - v.spawned));
    to.append(names.of(v.spawned_at)).append("\n");
  }
  append(to, "    stack %p-%p, %zu KiB", static_cast<const void*>(v.stack_bottom),
         static_cast<const void*>(v.stack_bottom + v.stack_size), v.stack_size / 1024);
  if (v.stack_used != 0) append(to, ", %zu bytes used now", v.stack_used);
  append(to, ", %zu KiB touched\n", v.stack_touched / 1024);
}

void append_json(std::string& to, sched::scheduler& s, const sched::fiber_view& v, sched::nanotime now,
                 code_names& names) {
  append(to, "{\"id\": %llu, \"name\": ", static_cast<unsigned long long>(v.id));
  append_quoted(to, v.name);
  to.append(", \"state\": \"").append(state_text(v)).append("\"");
  append(to, ", \"seconds\": %.3f", seconds(now - v.since));
  if (v.state == sched::fiber_state::parked) {
    to.append(", \"wait\": ");
    append_quoted(to, wait_kind(v.why));
    to.append(", \"object\": ");
    append_quoted(to, wait_object(s, v));
    if (const std::uint64_t other = waits_for_fiber(s, v)) {
      append(to, ", \"waits_for\": %llu", static_cast<unsigned long long>(other));
    }
    if (v.why == sched::wait_reason::sleep && v.wakes != sched::never) {
      append(to, ", \"seconds_to_go\": %.3f", seconds(v.wakes - now));
    }
  } else if (v.state != sched::fiber_state::runnable) {
    append(to, ", \"worker\": %u", v.worker);
  }
  append(to, ", \"age\": %.3f, \"spawned_at\": ", seconds(now - v.spawned));
  append_quoted(to, v.spawned_at != nullptr ? names.of(v.spawned_at) : "");
  append(to, ", \"stack\": {\"bottom\": \"%p\", \"size\": %zu, \"used\": %zu, \"touched\": %zu}",
         static_cast<const void*>(v.stack_bottom), v.stack_size, v.stack_used, v.stack_touched);
  to.append(", \"frames\": [");
  for (std::size_t i = 0; i < v.frame_count; ++i) {
    if (i != 0) to.append(", ");
    append_quoted(to, names.of(v.frames[i]));
  }
  append(to, "], \"more_frames\": %s}", v.more_frames ? "true" : "false");
}

}  // namespace weft::inline v0::debug
