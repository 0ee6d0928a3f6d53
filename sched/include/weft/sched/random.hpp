// random: small dice for choices that should not favour anybody.
#pragma once

#include <weft/export.hpp>

#include <cstdint>

namespace weft::inline v0::sched {

// random_below returns a number from 0 to n - 1, each as likely as another. Not for secrets.
WEFT_API std::uint32_t random_below(std::uint32_t n) noexcept;

}  // namespace weft::inline v0::sched
