// inheritance: what a fiber has got from whoever started it.
#pragma once

#include <weft/detail/scope_frame.hpp>
#include <weft/sched/clock.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <vector>

namespace weft::inline v0 {

namespace sched {
class fiber;
struct caller_data;
}

namespace detail {

// inheritance is a bound in time, tokens and values; constant once it is complete, and shared by the fibers that have
// it and the place where they were started. Counted: made with one reference.
class inheritance {
 public:
  inheritance() = default;
  inheritance(const inheritance&) = delete;
  inheritance& operator=(const inheritance&) = delete;

  void refer() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void drop() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  bool has_scopes() const noexcept { return deadline != sched::never || !tokens.empty(); }
  bool empty() const noexcept { return !has_scopes() && values.empty(); }

  struct value {
    std::uint64_t key;  // a variable_id's
    std::shared_ptr<const void> held;
  };
  sched::nanotime deadline = sched::never;
  std::vector<std::stop_token> tokens;  // each once
  std::vector<value> values;  // innermost first, each key once

  // Of surroundings further out, as long as it is made.
  void add_value(const value& v);
  void add_bound(sched::nanotime when, const std::stop_token& token);
  void add_bounds(const inheritance& further_out);

  // left_by is what a fiber takes along that the caller starts, whose data is given; null if that is nothing. Throws
  // std::bad_alloc.
  static inheritance* left_by(const sched::caller_data& caller, takes what);

  // give_to lets f, which has not started, run within this; takes the reference over.
  void give_to(sched::fiber& f) noexcept;
  // take_back undoes it, of a fiber that is not going to start.
  static void take_back(sched::fiber& f) noexcept;

 private:
  struct life;
  ~inheritance() = default;

  std::atomic<std::uint32_t> references_{1};
};

}  // namespace detail

}  // namespace weft::inline v0
