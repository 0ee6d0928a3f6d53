#include "runtime_state.hpp"

#include "debug/debugger.hpp"
#include "debug/reports.hpp"
#include "runtime_access.hpp"

#include <weft/error.hpp>
#include <weft/sched/blocking.hpp>
#include <weft/sched/fatal.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>

#include <unistd.h>

namespace weft::inline v0 {

namespace detail {

namespace {

// The runtimes that exist, to find the one of a scheduler: the scheduler knows nothing of runtimes. Asked where a plain
// thread spawns, where a descriptor is opened and when an exception has no taker, not in the course of a switch.
std::mutex list_lock;
constinit runtime_state*& list_head = root_for_debuggers.runtimes;
pid_t made_by = 0;  // the process: a child of it has the list, and none of the threads

unsigned workers_from_environment() {
  const char* text = secure_getenv("WEFT_WORKERS");
  if (text == nullptr || *text == '\0') return 0;
  unsigned n = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, n);
  if (error != std::errc() || stop != end || n == 0 || n > runtime::max_workers) {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                            std::string("WEFT_WORKERS=") + text + " is not a number from 1 to " +
                                std::to_string(runtime::max_workers));
  }
  return n;
}

constexpr sched::nanotime patience = 10'000'000'000;  // until stop() says whom it waits for

// report_live names on standard error who is live, as far as that fits a screen.
void report_live(sched::scheduler& s) noexcept {
  std::fputs("weft: a runtime that is being stopped still waits for fibers:\n", stderr);
  constexpr unsigned long long most = 20;
  unsigned long long count = 0;
  sched::for_each_live(
      s,
      [](void* context, std::uint64_t id, const char* name) {
        if (++*static_cast<unsigned long long*>(context) > most) return;
        std::fprintf(stderr, "weft:   fiber %llu '%s'\n", static_cast<unsigned long long>(id), name);
      },
      &count);
  if (count > most) std::fprintf(stderr, "weft:   and %llu more\n", count - most);
}

std::chrono::steady_clock::time_point to_time_point(sched::nanotime t) noexcept {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(t));
}

}  // namespace

runtime_state::runtime_state(const runtime_options& options) : options_(options) {
  if (options_.workers > runtime::max_workers) {
    throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                            "weft::runtime: " + std::to_string(options_.workers) + " workers, at most " +
                                std::to_string(runtime::max_workers));
  }
  sched::scheduler_options to;
  to.processors = options_.workers != 0 ? options_.workers : workers_from_environment();
  if (options_.stack_size != 0) to.stack_size = options_.stack_size;
  if (options_.blocking_threads != 0) to.blocking_threads = options_.blocking_threads;
  to.fault_handler = options_.handle_faults;
  to.stack_marks = options_.measure_stacks;
  to.reports = debug::reports_of(*this);
  if (options_.hog_threshold > std::chrono::nanoseconds::zero()) {
    to.hog_after = options_.hog_threshold.count();
  } else {
    to.reports.hog = nullptr;
  }
  if (!options_.detect_deadlock) to.reports.standstill = nullptr;

  sched::fatal_report_by(&debug::write_last_dump);

  int error = 0;
  poller_ = poll::make_epoll_poller(error);
  if (poller_ == nullptr) throw std::system_error(error, std::system_category(), "weft::runtime: cannot make a poller");
  sched::scheduler* const made = sched::create_scheduler(to, *poller_, error);
  if (made == nullptr) {
    throw std::system_error(error, std::system_category(), "weft::runtime: cannot start the workers");
  }
  scheduler_.store(made, std::memory_order_relaxed);
  last_processors_.resize(sched::stats_of(*made).processors);  // here, where memory may be wanting
  poller_->attach(*made);
  {
    const std::lock_guard lock(list_lock);
    next_ = list_head;
    list_head = this;
    made_by = ::getpid();
  }
  if (options_.dump_signal != 0) {
    if (const int refused = debug::dump_on_signal(options_.dump_signal, *made); refused != 0) {
      stop_by(sched::never);
      throw std::system_error(refused, std::system_category(), "weft::runtime: dump_signal");
    }
  }
}

runtime_state::~runtime_state() = default;

runtime_state* runtime_state::find_locked(const sched::scheduler* s) noexcept {
  runtime_state* each = list_head;
  while (each != nullptr && each->scheduler() != s) each = each->next_;
  return each;
}

runtime_state* runtime_state::hold_of(const sched::scheduler* s) {
  if (s == nullptr) return nullptr;
  const std::lock_guard lock(list_lock);
  runtime_state* found = find_locked(s);
  return found != nullptr && found->hold() ? found : nullptr;
}

runtime_state& runtime_state::mine(const sched::scheduler* s) noexcept {
  const std::lock_guard lock(list_lock);
  return *find_locked(s);
}

void runtime_state::count_unjoined(const sched::scheduler* s) noexcept {
  const std::lock_guard lock(list_lock);
  if (runtime_state* found = find_locked(s)) ++found->unjoined_;
}

bool runtime_state::ask_any_for_report() noexcept {
  const std::unique_lock lock(list_lock, std::try_to_lock);
  if (!lock || list_head == nullptr || ::getpid() != made_by) return false;
  sched::ask_report(*list_head->scheduler());  // it is in the list, so it is not destroyed
  return true;
}

bool runtime_state::hold() {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  ++holds_;
  return true;
}

void runtime_state::drop() noexcept {
  // Notified under the lock: once it is free, the runtime may end.
  const std::lock_guard lock(mutex_);
  if (--holds_ == 0) dropped_.notify_all();
}

std::vector<runtime_state::kept_runtime> runtime_state::keep_all() {
  std::vector<kept_runtime> all;
  const std::lock_guard lock(list_lock);
  for (runtime_state* each = list_head; each != nullptr; each = each->next_) {
    all.emplace_back(nullptr);  // first, as it may throw
    const std::lock_guard own(each->mutex_);
    ++each->keeps_;
    all.back().reset(each);
  }
  return all;
}

void runtime_state::drop_keep() noexcept {
  const std::lock_guard lock(mutex_);
  if (--keeps_ == 0) dropped_.notify_all();
}

bool runtime_state::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

bool runtime_state::enter() {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  ++guards_;
  return true;
}

void runtime_state::leave() noexcept {
  std::unique_lock lock(mutex_);
  const bool last = --guards_ == 0 && drained_;
  lock.unlock();
  if (last) destroy();
}

bool runtime_state::drain(sched::nanotime deadline) noexcept {
  const sched::nanotime patient_until = std::min(deadline, sched::after(patience));
  if (sched::drain(*scheduler(), patient_until)) return true;
  if (patient_until == deadline) return false;
  report_live(*scheduler());
  return sched::drain(*scheduler(), deadline);
}

bool runtime_state::stop_by(sched::nanotime deadline) {
  if (sched::fiber* self = sched::current_fiber(); self != nullptr && sched::scheduler_of(*self) == scheduler()) {
    sched::fatal("stop of a runtime by its own fiber %llu", static_cast<unsigned long long>(sched::id_of(*self)));
  }
  // What follows blocks the thread: a fiber of another runtime lets its worker's other fibers go on.
  const sched::blocking_region region;
  const std::lock_guard one(stopping_);
  {
    const std::lock_guard lock(mutex_);
    if (drained_) return true;
  }
  std::unique_lock lock(mutex_);
  // First of all, or a thread that spawns faster than fibers end would keep the end off.
  closed_ = true;
  lock.unlock();
  sched::stop_all(*scheduler());
  lock.lock();
  // Who holds is between the allocation of a fiber and its start, copying arguments.
  const auto nobody = [this] { return holds_ == 0; };
  if (deadline == sched::never) {
    dropped_.wait(lock, nobody);
  } else if (!dropped_.wait_until(lock, to_time_point(deadline), nobody)) {
    return false;
  }
  lock.unlock();
  if (!drain(deadline)) return false;

  poller_->shutdown();
  lock.lock();
  drained_ = true;
  const bool last = guards_ == 0;
  lock.unlock();
  if (last) destroy();
  return true;
}

void runtime_state::destroy() noexcept {
  sched::scheduler* const last = scheduler();
  if (options_.dump_signal != 0) debug::no_dump_on_signal(options_.dump_signal, *last);
  {
    const std::lock_guard lock(list_lock);
    runtime_state** link = &list_head;
    while (*link != this) link = &(*link)->next_;
    *link = next_;
  }
  {
    std::unique_lock lock(mutex_);
    dropped_.wait(lock, [this] { return keeps_ == 0; });
    last_ = sched::stats_of(*last);
    for (unsigned i = 0; i < last_.processors; ++i) last_processors_[i] = sched::stats_of(*last, i);
    destroyed_ = true;
    scheduler_.store(nullptr, std::memory_order_relaxed);
  }
  sched::destroy_scheduler(last);
  poller_.reset();  // connections that are left keep theirs
}

runtime_stats runtime_state::stats() const {
  const std::scoped_lock lock(list_lock, mutex_);
  const sched::scheduler_stats from = destroyed_ ? last_ : sched::stats_of(*scheduler());
  runtime_stats to;
  to.workers = from.processors;
  to.threads = destroyed_ ? 0 : from.threads;
  to.spawned = from.spawned;
  to.live = from.live;
  to.dispatches = from.dispatches;
  to.steals = from.steals;
  to.polls = from.polls;
  to.wakes = from.wakes;
  to.unjoined_exceptions = unjoined_;
  to.queued = from.queued;
  to.blocking = from.blocking;
  to.stacks = from.stacks;
  to.stack_bytes = destroyed_ ? 0 : from.stack_bytes;
  to.free_stacks = destroyed_ ? 0 : from.free_stacks;
  to.warm_stacks = destroyed_ ? 0 : from.warm_stacks;
  for (unsigned i = 0; i < from.processors; ++i) {
    to.processors.push_back(
        debug::processor_figures(destroyed_ ? last_processors_[i] : sched::stats_of(*scheduler(), i)));
  }
  return to;
}

}  // namespace detail

std::shared_ptr<poll::poller> current_poller() noexcept {
  if (const sched::fiber* self = sched::current_fiber()) {
    return detail::runtime_state::mine(sched::scheduler_of(*self)).poller();
  }
  detail::runtime_state* const state = detail::runtime_state::hold_of(sched::current_scheduler());
  if (state == nullptr) return nullptr;
  std::shared_ptr<poll::poller> poller = state->poller();
  state->drop();
  return poller;
}

}  // namespace weft::inline v0
