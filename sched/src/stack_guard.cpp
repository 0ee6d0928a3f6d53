#include "stack_guard.hpp"

#include <weft/sched/sys.hpp>

#include <atomic>
#include <cstdlib>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

// Since Linux 6.13; Debian 12's headers don't know it. An older kernel answers EINVAL.
constexpr int madv_guard_install = 102;

// Two mappings for each guard by mprotect.
std::atomic<long> protected_guards{0};

long protected_guards_allowed() noexcept {
  static const long allowed = [] {
    char text[32] = {};
    long fd = sys_call(::open, "/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
      sys_call(::read, static_cast<int>(fd), static_cast<void*>(text), sizeof text - 1);
      sys_call(::close, static_cast<int>(fd));
    }
    long count = std::strtol(text, nullptr, 10);
    return (count > 0 ? count : 65530) / 2 / 2;
  }();
  return allowed;
}

bool protect(std::byte* bottom) noexcept {
  if (protected_guards.fetch_add(1, std::memory_order_relaxed) < protected_guards_allowed() &&
      sys_call(::mprotect, static_cast<void*>(bottom), guard_size, PROT_NONE) == 0) {
    return true;
  }
  protected_guards.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

}  // namespace

guard_kind install_guard(std::byte* bottom, guard_kind strongest) noexcept {
  if (strongest == guard_kind::marker &&
      sys_call(::madvise, static_cast<void*>(bottom), guard_size, madv_guard_install) == 0) {
    return guard_kind::marker;
  }
  if (strongest != guard_kind::canary && protect(bottom)) return guard_kind::mprotect;
  return guard_kind::canary;
}

void forget_guard(guard_kind kind) noexcept {
  if (kind == guard_kind::mprotect) protected_guards.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace weft::inline v0::sched
