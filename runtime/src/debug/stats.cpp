#include <weft/debug/stats.hpp>

#include "runtime_state.hpp"

#include <weft/error.hpp>

#include <cinttypes>
#include <cstdio>
#include <system_error>

namespace weft::inline v0::debug {

namespace {

class exposition {
 public:
  explicit exposition(std::string_view labels) : labels_(labels) {}

  void family(const char* name, const char* type, const char* help) {
    name_ = name;
    text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
    text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
  }
  // sample writes one value of the family, with labels of its own.
  void sample(double value, const std::string& own = {}, const char* suffix = "") {
    text_.append(name_).append(suffix);
    if (!own.empty() || !labels_.empty()) {
      text_.append("{").append(labels_);
      if (!own.empty() && !labels_.empty()) text_ += ',';
      text_.append(own).append("}");
    }
    char number[40];
    std::snprintf(number, sizeof number, " %.17g\n", value);
    text_ += number;
  }

  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::string labels_;
  const char* name_ = "";
};

std::string of_processor(std::size_t i) { return "processor=\"" + std::to_string(i) + "\""; }

}  // namespace

runtime_stats current_stats() {
  if (const sched::fiber* const self = sched::current_fiber()) {
    return weft::detail::runtime_state::mine(sched::scheduler_of(*self)).stats();
  }
  auto* const state = weft::detail::runtime_state::hold_of(sched::current_scheduler());
  if (state == nullptr) throw std::system_error(errc::no_runtime, "current_stats");
  struct holding {
    ~holding() { of->drop(); }
    weft::detail::runtime_state* of;
  } const held{state};
  return state->stats();
}

std::string prometheus_text(const runtime_stats& stats, std::string_view labels) {
  exposition out(labels);
  const auto one = [&](const char* name, const char* type, const char* help, auto value) {
    out.family(name, type, help);
    out.sample(static_cast<double>(value));
  };
  one("weft_workers", "gauge", "Fibers that can run at the same time.", stats.workers);
  one("weft_threads", "gauge", "Threads of the runtime, those in blocking calls included.", stats.threads);
  one("weft_fibers", "gauge", "Fibers that have not ended.", stats.live);
  one("weft_fibers_started_total", "counter", "Fibers ever started.", stats.spawned);
  one("weft_worker_wakes_total", "counter", "Workers woken from their sleep.", stats.wakes);
  one("weft_unjoined_exceptions_total", "counter", "Exceptions that nobody joined for.", stats.unjoined_exceptions);
  one("weft_global_queue_fibers", "gauge", "Runnable fibers in the queue that all processors share.", stats.queued);
  one("weft_blocking_calls", "gauge", "Calls in blocking regions.", stats.blocking);
  one("weft_stacks", "gauge", "Stacks that were ever needed at one time.", stats.stacks);
  one("weft_stacks_free", "gauge", "Stacks in the pools.", stats.free_stacks);
  one("weft_stacks_warm", "gauge", "Of these, stacks that keep their memory.", stats.warm_stacks);
  one("weft_stack_address_space_bytes", "gauge", "Address space of the stacks.", stats.stack_bytes);

  const auto each = [&](const char* name, const char* type, const char* help, auto value_of) {
    out.family(name, type, help);
    for (std::size_t i = 0; i < stats.processors.size(); ++i) {
      out.sample(static_cast<double>(value_of(stats.processors[i])), of_processor(i));
    }
  };
  each("weft_dispatches_total", "counter", "Times that a fiber was given a processor.",
       [](const processor_stats& p) { return p.dispatches; });
  each("weft_steals_total", "counter", "Dispatches of fibers from another processor's queue.",
       [](const processor_stats& p) { return p.steals; });
  each("weft_polls_total", "counter", "Polls for descriptors.", [](const processor_stats& p) { return p.polls; });
  each("weft_poll_seconds_total", "counter", "Time asleep in the poller.",
       [](const processor_stats& p) { return std::chrono::duration<double>(p.in_poll).count(); });
  each("weft_queued_fibers", "gauge", "Runnable fibers in the processor's queue.",
       [](const processor_stats& p) { return p.queued; });

  out.family("weft_parks_total", "counter", "Times that a fiber was parked, by what it waited for.");
  for (std::size_t i = 0; i < stats.processors.size(); ++i) {
    for (const processor_stats::parks& p : stats.processors[i].parked) {
      out.sample(static_cast<double>(p.count), of_processor(i) + ",reason=\"" + std::string(p.why) + "\"");
    }
  }

  out.family("weft_run_wait_seconds", "histogram", "How long a fiber is runnable before it runs, of one in 64.");
  for (std::size_t i = 0; i < stats.processors.size(); ++i) {
    const auto& waits = stats.processors[i].run_waits;
    std::uint64_t sum = 0;
    for (std::size_t k = 0; k < waits.size(); ++k) {
      sum += waits[k];
      char bound[40] = "+Inf";
      if (k + 1 < waits.size()) std::snprintf(bound, sizeof bound, "%.6f", static_cast<double>(std::uint64_t{1} << k) * 1e-6);
      out.sample(static_cast<double>(sum), of_processor(i) + ",le=\"" + bound + "\"", "_bucket");
    }
    out.sample(std::chrono::duration<double>(stats.processors[i].run_wait_sum).count(), of_processor(i), "_sum");
    out.sample(static_cast<double>(sum), of_processor(i), "_count");
  }
  return out.take();
}

}  // namespace weft::inline v0::debug
