#include <weft/runtime.hpp>

#include "debug/reports.hpp"
#include "runtime_state.hpp"

#include <weft/sched/fatal.hpp>

#include <system_error>

namespace weft::inline v0 {

runtime::runtime() : runtime(options()) {}
runtime::runtime(const options& o) : state_(std::make_shared<detail::runtime_state>(o)) {}
runtime::~runtime() { stop_by(sched::never); }

void runtime::stop() { stop_by(sched::never); }
bool runtime::stop(std::chrono::steady_clock::time_point deadline) {
  return stop_by(detail::saturated(deadline.time_since_epoch()));
}
bool runtime::stop_by(sched::nanotime deadline) { return state_->stop_by(deadline); }

runtime_stats runtime::stats() const { return state_->stats(); }

runtime::entered runtime::enter() { return entered(state_); }

runtime::entered::entered(std::shared_ptr<detail::runtime_state> state) : state_(std::move(state)) {
  if (const sched::fiber* self = sched::current_fiber()) {
    sched::fatal("runtime::enter on fiber %llu", static_cast<unsigned long long>(sched::id_of(*self)));
  }
  if (!state_->enter()) throw std::system_error(errc::no_runtime, "runtime::enter");
  previous_ = sched::enter_scheduler(state_->scheduler());
}

runtime::entered::~entered() {
  sched::enter_scheduler(previous_);
  state_->leave();
}

int detail::run_main(const runtime_options& options, int (*call)(void*), void* main) {
  if (const sched::fiber* self = sched::current_fiber()) {
    sched::fatal("run on fiber %llu", static_cast<unsigned long long>(sched::id_of(*self)));
  }
  runtime rt(options);
  fiber<int> first = rt.spawn(spawn_options("main"), call, main);
  std::exception_ptr error;
  int result = 0;
  try {
    result = first.join();
  } catch (...) {
    error = std::current_exception();
  }
  if (options.leak_threshold > std::chrono::nanoseconds::zero()) debug::report_leaks(options.leak_threshold);
  rt.stop();
  if (error) std::rethrow_exception(error);
  return result;
}

}  // namespace weft::inline v0
