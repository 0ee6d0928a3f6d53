// stack_guard: what stands below a stack, so that an overflow is a fault and not a corruption.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::inline v0::sched {

// How a stack is guarded, strongest first.
enum class guard_kind : std::uint8_t {
  marker,    // MADV_GUARD_INSTALL (Linux 6.13): faults, and splits no mapping
  mprotect,  // PROT_NONE: faults; costs two mappings, so only half of vm.max_map_count may go into these
  canary,    // a word at the lowest address, checked whenever the fiber is left: detects, doesn't prevent
};

// 64 KiB, not a page: libraries of the distribution are built without stack probes and have single frames of up to 33 KB
// (measured), which would step over a page.
inline constexpr std::size_t guard_size = 64 * 1024;

// install_guard guards [bottom, bottom + guard_size) by the strongest kind that the system grants, `strongest` at most, and
// returns it. A refusal is ordinary: an older kernel, mlockall, no mappings left.
guard_kind install_guard(std::byte* bottom, guard_kind strongest) noexcept;

// forget_guard ends the account of a guard whose mapping goes away.
void forget_guard(guard_kind kind) noexcept;

inline constexpr std::uint64_t canary_value = 0x77'65'66'74'63'61'6e'61;  // "weftcana"

}  // namespace weft::inline v0::sched
