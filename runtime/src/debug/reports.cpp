#include "reports.hpp"

#include "fiber_text.hpp"
#include "wait_text.hpp"

#include "runtime_state.hpp"

#include <weft/debug/dump.hpp>
#include <weft/runtime.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include <time.h>
#include <unistd.h>

namespace weft::inline v0::debug {

namespace {

void write_error(const std::string& text) noexcept { std::fputs(text.c_str(), stderr); }

void report_hog(void* context, const sched::fiber_view& v, sched::nanotime runs) noexcept {
  const runtime_options& options = static_cast<weft::detail::runtime_state*>(context)->options();
  try {
    code_names names;
    std::string frames;
    append_frames(frames, v, "    ", names);
    if (options.on_hog) {
      options.on_hog({v.id, v.name, std::chrono::nanoseconds(runs), frames});
      return;
    }
    char line[128];
    std::snprintf(line, sizeof line, "weft: fiber %llu '%s' has run for %.3f s on worker %u without letting others go first\n",
                  static_cast<unsigned long long>(v.id), v.name, static_cast<double>(runs) * 1e-9, v.worker);
    write_error(line + frames);
  } catch (const std::bad_alloc&) {
    // Of a report alone.
  }
}

// wait_graph is who waits for whom, of those that wait for one certain fiber.
class wait_graph {
 public:
  void add(sched::scheduler& s, const sched::fiber_view& v) {
    ++fibers_;
    if (const std::uint64_t other = waits_for_fiber(s, v)) {
      edges_[v.id] = {other, v.name, std::string(wait_kind(v.why)) + " " + wait_object(s, v)};
    }
  }

  std::size_t fibers() const noexcept { return fibers_; }

  // cycles writes each cycle once, beginning at the fiber with the lowest id.
  std::string cycles() {
    std::string text;
    for (auto& [start, first] : edges_) {
      if (first.seen) continue;
      std::vector<std::uint64_t> path;
      std::uint64_t at = start;
      for (auto e = edges_.find(at); e != edges_.end() && !e->second.seen; e = edges_.find(at)) {
        e->second.seen = true;
        path.push_back(at);
        at = e->second.to;
      }
      const auto begin = std::find(path.begin(), path.end(), at);
      if (begin == path.end()) continue;
      text += "weft: a cycle:\n";
      for (auto id = begin; id != path.end(); ++id) {
        const edge& e = edges_[*id];
        text += "weft:   fiber " + std::to_string(*id) + " '" + e.name + "' waits: " + e.what + "\n";
      }
    }
    return text;
  }

 private:
  struct edge {
    std::uint64_t to = 0;
    std::string name;
    std::string what;
    bool seen = false;
  };

  std::map<std::uint64_t, edge> edges_;
  std::size_t fibers_ = 0;
};

void report_standstill(void* context) noexcept {
  const auto& runtime = *static_cast<weft::detail::runtime_state*>(context);
  std::string text;
  try {
    struct collecting {
      wait_graph graph;
      sched::scheduler* of;
    } found{{}, runtime.scheduler()};
    sched::inspect_options without_frames;
    without_frames.frames = false;
    sched::inspect(
        *runtime.scheduler(), without_frames,
        [](void* to, const sched::fiber_view& v) noexcept {
          auto& c = *static_cast<collecting*>(to);
          c.graph.add(*c.of, v);
        },
        &found);
    text = "weft: fatal: deadlock: " + std::string(runtime.closed() ? "main has returned, and " : "") +
           std::to_string(found.graph.fibers()) +
           " fibers wait for what nothing in this process can bring about\n" + found.graph.cycles();
  } catch (const std::bad_alloc&) {
    text = "weft: fatal: deadlock\n";
  }
  write_error(text);
  write_dump(STDERR_FILENO);
  std::_Exit(deadlock_exit_status);
}

// Of the last words of a process. The dump is written by a monitor, since the caller may be anywhere, with any lock: it only
// waits for it, and not for ever.
constexpr std::size_t fibers_of_last_words = 100;
constexpr sched::nanotime patience_of_last_words = 5'000'000'000;
std::atomic<bool> last_words{false};
std::atomic<bool> last_words_written{false};

void write_asked_dump(void*) noexcept {
  if (!last_words.load(std::memory_order_acquire)) return write_dump(STDERR_FILENO);
  dump_options some;
  some.limit = fibers_of_last_words;
  write_dump(STDERR_FILENO, some);
  last_words_written.store(true, std::memory_order_release);
}

}  // namespace

processor_stats processor_figures(const sched::processor_stats& p) {
  processor_stats to;
  to.spawned = p.spawned;
  to.dispatches = p.dispatches;
  to.steals = p.steals;
  to.polls = p.polls;
  to.in_poll = std::chrono::nanoseconds(p.poll_nanoseconds);
  to.queued = p.queued;
  for (std::size_t i = 0; i < p.parks.size(); ++i) {
    if (p.parks[i] != 0) to.parked.push_back({wait_kind(static_cast<sched::wait_reason>(i)), p.parks[i]});
  }
  to.run_wait_sum = std::chrono::nanoseconds(p.run_wait_nanoseconds);
  to.run_waits.assign(p.run_waits.begin(), p.run_waits.end());
  return to;
}

void write_last_dump() noexcept {
  if (last_words.exchange(true, std::memory_order_acq_rel)) return;
  if (!weft::detail::runtime_state::ask_any_for_report()) return;
  for (const sched::nanotime until = sched::after(patience_of_last_words); sched::now() < until;) {
    if (last_words_written.load(std::memory_order_acquire)) return;
    constexpr timespec moment{0, 1'000'000};
    ::nanosleep(&moment, nullptr);
  }
}

sched::scheduler_reports reports_of(weft::detail::runtime_state& r) noexcept {
  return {&r, &report_hog, &report_standstill, &write_asked_dump};
}

void report_leaks(std::chrono::nanoseconds age) noexcept {
  try {
    struct collecting {
      sched::nanotime before;
      sched::nanotime now;
      code_names names;
      std::string text;
      std::size_t count = 0;
      sched::scheduler* of = nullptr;
    } found{sched::now() - age.count(), sched::now(), {}, {}, 0, nullptr};
    weft::detail::runtime_state::for_each([&found](sched::scheduler& s) {
      found.of = &s;
      sched::inspect(
          s, sched::inspect_options(),
          [](void* to, const sched::fiber_view& v) noexcept {
            auto& c = *static_cast<collecting*>(to);
            if (v.spawned >= c.before) return;
            ++c.count;
            append_text(c.text, *c.of, v, c.now, c.names);
          },
          &found);
    });
    if (found.count == 0) return;
    write_error("weft: main has returned, and " + std::to_string(found.count) + " fibers are older than " +
                std::to_string(static_cast<double>(age.count()) * 1e-9) + " s:\n" + found.text);
  } catch (const std::bad_alloc&) {
    write_error("weft: no memory for the report of fibers that are left\n");
  }
}

}  // namespace weft::inline v0::debug
