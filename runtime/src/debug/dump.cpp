#include <weft/debug/dump.hpp>

#include "fiber_text.hpp"

#include "runtime_state.hpp"

#include <weft/sched/sys.hpp>

#include <cerrno>
#include <cstdint>
#include <exception>

#include <unistd.h>

namespace weft::inline v0::debug {

namespace {

// dumping is one dump, as far as it has come.
struct dumping {
  dumping(std::string& out, const dump_options& o) : to(out), options(o) {}

  void add(sched::scheduler& s) {
    of = &s;
    now = sched::now();
    sched::inspect_options how;
    how.frames = options.frames;
    how.limit = options.limit;
    const std::size_t before = count;
    sched::inspect(s, how, &dumping::visit, this);
    if (const std::uint64_t live = sched::stats_of(s).live; count - before == options.limit && live > options.limit) {
      others += live - options.limit;
    }
    if (failure) std::rethrow_exception(failure);
  }

  static void visit(void* context, const sched::fiber_view& v) noexcept {
    auto& d = *static_cast<dumping*>(context);
    if (d.failure) return;
    try {
      if (d.options.format == dump_format::text) {
        append_text(d.to, *d.of, v, d.now, d.names);
        d.to += '\n';
      } else {
        if (d.count != 0) d.to += ",\n";
        append_json(d.to, *d.of, v, d.now, d.names);
      }
      ++d.count;
    } catch (...) {
      d.failure = std::current_exception();
    }
  }

  std::string& to;
  const dump_options options;
  code_names names;
  sched::scheduler* of = nullptr;
  sched::nanotime now = 0;
  std::size_t count = 0;
  std::uint64_t others = 0;
  std::exception_ptr failure;
};

}  // namespace

std::string dump(const dump_options& options) {
  std::string text;
  dumping d(text, options);
  if (options.format == dump_format::json) text += "{\"fibers\": [\n";
  weft::detail::runtime_state::for_each([&d](sched::scheduler& s) { d.add(s); });
  if (options.format == dump_format::json) {
    text += "\n], \"others\": " + std::to_string(d.others) + "}\n";
  } else {
    if (d.others != 0) text += "and " + std::to_string(d.others) + " others\n";
    text += std::to_string(d.count + d.others) + " fibers\n";
  }
  return text;
}

std::string dump() { return dump(dump_options()); }

void write_dump(int fd, const dump_options& options) noexcept {
  std::string text;
  try {
    text = dump(options);
  } catch (const std::exception&) {
    text = "weft: no memory for a dump\n";  // short enough to need none
  }
  for (std::size_t at = 0; at < text.size();) {
    const long n = sched::sys_call(::write, fd, static_cast<const void*>(text.data() + at), text.size() - at);
    if (n == -EINTR) continue;
    if (n <= 0) return;
    at += static_cast<std::size_t>(n);
  }
}

}  // namespace weft::inline v0::debug
