#include <weft/scope.hpp>

#include "inheritance.hpp"
#include "io_error.hpp"

#include <weft/detail/variable_id.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/sched/caller_data.hpp>
#include <weft/sched/fatal.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/scheduler.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace weft::inline v0 {

namespace detail {

namespace {

scope_frame* innermost() noexcept { return static_cast<scope_frame*>(sched::current_data().scope); }

// Whether what the caller has inherited bounds it still.
bool bound_by_inheritance() noexcept {
  const sched::fiber* const self = sched::current_fiber();
  return self == nullptr || !sched::is_detached(*self);
}

}  // namespace

void scope_frame::enter() noexcept {
  outer_ = static_cast<scope_frame*>(std::exchange(sched::current_data().scope, this));
  unwinding_ = std::uncaught_exceptions();
}

scope_frame::~scope_frame() {
  sched::current_data().scope = outer_;
  for (const taken& each : left_) {
    if (each.what != nullptr) each.what->drop();
  }
}

const void* scope_frame::find(std::uint64_t key) noexcept {
  for (const scope_frame* f = innermost(); f != nullptr; f = f->outer_) {
    if (f->key_ == key) return f->value_.get();
    if (f->inherited_ == nullptr) continue;
    for (const inheritance::value& each : f->inherited_->values) {
      if (each.key == key) return each.held.get();
    }
  }
  return nullptr;
}

sched::nanotime scope_frame::earliest() noexcept {
  const int unwinding = std::uncaught_exceptions();
  sched::nanotime first = sched::never;
  for (const scope_frame* f = innermost(); f != nullptr; f = f->outer_) {
    if (f->shield_ || f->unwinding_ != unwinding) break;
    first = std::min(first, f->deadline_);
    if (f->inherited_ != nullptr && bound_by_inheritance()) first = std::min(first, f->inherited_->deadline);
  }
  return first;
}

inheritance* inheritance::left_by(const sched::caller_data& caller, takes what) {
  auto* const here = static_cast<scope_frame*>(caller.scope);
  return here != nullptr ? here->collect(what) : nullptr;
}

inheritance* scope_frame::collect(takes what) {
  // Of a fiber that was detached meanwhile, and while it unwinds, less is taken than was before.
  const bool usual = bound_by_inheritance() && std::uncaught_exceptions() == unwinding_;
  if (!usual) return gather(what, bound_by_inheritance());
  taken& left = left_[static_cast<std::size_t>(what)];
  if (!left.known) {
    left.what = gather(what, true);
    left.known = true;
  }
  if (left.what != nullptr) left.what->refer();
  return left.what;
}

inheritance* scope_frame::gather(takes what, bool bound) const {
  const int unwinding = std::uncaught_exceptions();
  const bool with_scopes = what == takes::scopes_and_values;
  // Most fibers that have inherited something have no scope of their own: their children get the very same.
  if (inherited_ != nullptr && ((with_scopes && bound && unwinding == unwinding_) || !inherited_->has_scopes())) {
    auto* const same = const_cast<inheritance*>(inherited_);
    same->refer();
    return same;
  }
  struct dropped_on_failure {
    inheritance* of;
    ~dropped_on_failure() {
      if (of != nullptr) of->drop();
    }
  } made{new inheritance};
  inheritance& all = *made.of;
  bool open = with_scopes;
  for (const scope_frame* f = this; f != nullptr; f = f->outer_) {
    open = open && !f->shield_ && f->unwinding_ == unwinding;
    if (f->key_ != 0) all.add_value({f->key_, f->value_});
    if (open) all.add_bound(f->deadline_, f->token_);
    if (f->inherited_ == nullptr) continue;
    for (const inheritance::value& each : f->inherited_->values) all.add_value(each);
    if (!open || !bound) continue;
    all.add_bounds(*f->inherited_);
  }
  return all.empty() ? nullptr : std::exchange(made.of, nullptr);
}

void inheritance::add_value(const value& v) {
  const bool hidden = std::any_of(values.begin(), values.end(), [&](const value& each) { return each.key == v.key; });
  if (!hidden) values.push_back(v);
}

void inheritance::add_bound(sched::nanotime when, const std::stop_token& token) {
  deadline = std::min(deadline, when);
  if (token.stop_possible() && std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
}

void inheritance::add_bounds(const inheritance& further_out) {
  deadline = std::min(deadline, further_out.deadline);
  // They differ from each other, but a task of a group that spawns into that group has its token twice.
  const auto own = static_cast<std::ptrdiff_t>(tokens.size());
  for (const std::stop_token& each : further_out.tokens) {
    const auto end = tokens.begin() + own;
    if (std::find(tokens.begin(), end, each) == end) tokens.push_back(each);
  }
}

// life is a fiber's run within what it has inherited.
struct inheritance::life {
  const inheritance& all;
  void (*entry)(void* body) noexcept;
  void* body;

  void run() noexcept {
    const scope_frame frame(all);
    const sched::deadline_link in_time(all.deadline, sched::current_scheduler(), sched::link_origin::inherited);
    std::array<std::optional<sched::stop_link>, 3> links;
    std::unique_ptr<std::optional<sched::stop_link>[]> more;
    const std::size_t n = all.tokens.size();
    if (n > links.size()) {
      more.reset(new (std::nothrow) std::optional<sched::stop_link>[n - links.size()]);
      if (more == nullptr) sched::fatal("no memory for the scopes that a fiber has inherited");
    }
    for (std::size_t i = 0; i < n; ++i) {
      (i < links.size() ? links[i] : more[i - links.size()]).emplace(all.tokens[i], sched::link_origin::inherited);
    }
    entry(body);
  }
};

void inheritance::give_to(sched::fiber& f) noexcept {
  sched::caller_data& data = sched::data_of(f);
  data.scope = this;
  data.around = [](sched::caller_data& own, void (*entry)(void*) noexcept, void* body) noexcept {
    auto* const all = static_cast<inheritance*>(std::exchange(own.scope, nullptr));
    life{*all, entry, body}.run();
    all->drop();
  };
}

void inheritance::take_back(sched::fiber& f) noexcept {
  if (void* const given = std::exchange(sched::data_of(f).scope, nullptr)) static_cast<inheritance*>(given)->drop();
}

std::uint64_t variable_id::assign() const noexcept {
  static std::atomic<std::uint64_t> last{0};
  const std::uint64_t fresh = last.fetch_add(1, std::memory_order_relaxed) + 1;
  std::uint64_t found = 0;
  return id_.compare_exchange_strong(found, fresh, std::memory_order_relaxed) ? fresh : found;
}

void throw_expired() {
  if (sched::stop_requested()) throw_canceled("the call within a time limit");
  throw_failure(std::make_error_code(std::errc::timed_out), {"wait", {}, {}, "a call within a time limit"});
}

void fatal_foreign_stop() noexcept { sched::fatal("stop_scope: request_stop of a scope that was made with a token"); }

}  // namespace detail

namespace this_fiber {

bool stop_requested() noexcept {
  if (sched::stop_requested()) return true;
  const sched::nanotime deadline = detail::scope_frame::earliest();
  return deadline != sched::never && deadline <= sched::now();
}

std::chrono::steady_clock::time_point deadline() noexcept {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(detail::scope_frame::earliest()));
}

}  // namespace this_fiber

}  // namespace weft::inline v0
