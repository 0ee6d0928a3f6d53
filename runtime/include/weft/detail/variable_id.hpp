// variable_id: a name for a variable that no other one ever has. Included by fiber_local.hpp and inherited.hpp.
#pragma once

#include <weft/export.hpp>

#include <atomic>
#include <cstdint>

namespace weft::inline v0::detail {

// variable_id is given at its first use, so that it needs no initialisation before others. Unlike the variable's
// address it is not used again when the variable has gone, though values of it are left.
class variable_id {
 public:
  constexpr variable_id() noexcept = default;
  variable_id(const variable_id&) = delete;
  variable_id& operator=(const variable_id&) = delete;

  std::uint64_t get() const noexcept {
    const std::uint64_t id = id_.load(std::memory_order_relaxed);
    return id != 0 ? id : assign();
  }

 private:
  WEFT_API std::uint64_t assign() const noexcept;

  // Order: relaxed. The number alone is of interest.
  mutable std::atomic<std::uint64_t> id_{0};  // 0: not given yet; then constant
};

}  // namespace weft::inline v0::detail
