#include <weft/fiber.hpp>

#include "debug/reports.hpp"
#include "inheritance.hpp"
#include "io_error.hpp"
#include "runtime_state.hpp"

#include <weft/sched/caller_data.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/park.hpp>

#include <cstdio>
#include <string>
#include <system_error>

namespace weft::inline v0 {

namespace detail {

namespace {

// print_exception writes one line that names the fiber and what it threw.
void print_exception(const char* what_happened, std::uint64_t id, std::string_view name,
                     const std::exception_ptr& error) noexcept {
  const char* text = "an exception that is no std::exception";
  std::string copy;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    try {
      copy = e.what();
      text = copy.c_str();
    } catch (...) {
      text = "a std::exception";
    }
  } catch (...) {
  }
  std::fprintf(stderr, "weft: %s fiber %llu '%.*s': %s\n", what_happened, static_cast<unsigned long long>(id),
               static_cast<int>(name.size()), name.data(), text);
}

bool is_cancellation(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const canceled_error&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

// Not inlined, under link-time optimisation either: who called it is the place of the spawn.
[[gnu::noinline]] reservation::reservation(runtime_state* state, const spawn_options& options, std::size_t size, std::size_t align,
                         void (*entry)(void*) noexcept, sched::handle handle, takes along) {
  const sched::caller here = sched::current_caller();
  inheritance* const inherited = inheritance::left_by(*here.data, along);  // throws, so before anything is held
  const auto refuse = [&](std::error_code why, const char* what) {
    if (inherited != nullptr) inherited->drop();
    if (held_ != nullptr) held_->drop();
    throw std::system_error(why, what);
  };
  sched::scheduler* target = here.self != nullptr ? sched::scheduler_of(*here.self) : nullptr;
  // A fiber needs no hold on its own runtime: that cannot end before it.
  if (target == nullptr || (state != nullptr && state->scheduler() != target)) {
    if (state == nullptr) {
      held_ = runtime_state::hold_of(sched::current_scheduler());
    } else if (state->hold()) {
      held_ = state;
    }
    if (held_ == nullptr) refuse(errc::no_runtime, "spawn");
    target = held_->scheduler();
  }
  sched::fiber_options to;
  to.stack_size = options.stack_size;
  to.spawned_at = __builtin_return_address(0);
  fiber_ = sched::create_fiber(*target, to, size, align, entry, handle);
  if (fiber_ == nullptr) refuse(std::make_error_code(std::errc::not_enough_memory), "spawn: no stack for a fiber");
  if (!options.name.empty()) sched::set_name(*fiber_, options.name);
  body_ = sched::body_of(*fiber_);
  if (inherited != nullptr) inherited->give_to(*fiber_);
}

reservation::~reservation() {
  if (fiber_ != nullptr) {
    inheritance::take_back(*fiber_);
    sched::discard(*fiber_);
  }
  if (held_ != nullptr) held_->drop();
}

void reservation::start() noexcept {
  sched::fiber& f = *fiber_;
  fiber_ = nullptr;
  sched::start(f);
}

void wait_for(sched::fiber* f) {
  if (f == nullptr) throw_not_joinable();
  if (!sched::join(*f)) throw_canceled("join");
}

void stop_and_wait(sched::fiber& f) noexcept {
  sched::request_stop(f);
  sched::join_uncancelled(f);
}

void unjoined(sched::fiber& f, const std::exception_ptr& error) noexcept {
  if (is_cancellation(error)) return;  // what a stop is answered with
  runtime_state::count_unjoined(sched::scheduler_of(f));
#ifdef WEFT_DEBUG
  print_exception("nobody joined for an exception of", sched::id_of(f), sched::name_of(f), error);
#endif
}

void unhandled() noexcept {
  const std::exception_ptr error = std::current_exception();
  if (sched::stop_requested() && is_cancellation(error)) return;
  const sched::fiber& self = *sched::current_fiber();
  const runtime_options& options = runtime_state::mine(sched::scheduler_of(self)).options();
  const std::uint64_t id = sched::id_of(self);
  const std::string_view name = sched::name_of(self);
  if (options.on_unhandled) {
    options.on_unhandled({id, name, error});
    return;
  }
  print_exception("unhandled exception in", id, name, error);
  debug::write_last_dump();
  std::terminate();
}

void sleep_until(sched::nanotime when) {
  if (!sched::sleep_until(when)) throw_canceled("sleep");
}

void throw_not_joinable() {
  throw std::system_error(std::make_error_code(std::errc::invalid_argument), "the handle of no fiber");
}

}  // namespace detail

namespace this_fiber {

void yield() noexcept { sched::yield(); }
void checkpoint() noexcept { sched::checkpoint(); }

std::uint64_t get_id() noexcept {
  const sched::fiber* self = sched::current_fiber();
  return self != nullptr ? sched::id_of(*self) : 0;
}

void set_name(std::string_view name) noexcept {
  if (sched::fiber* self = sched::current_fiber()) sched::set_name(*self, name);
}

std::stop_token get_stop_token() {
  sched::fiber* self = sched::current_fiber();
  return self != nullptr ? sched::stop_token_of(*self) : std::stop_token();
}

}  // namespace this_fiber

}  // namespace weft::inline v0
