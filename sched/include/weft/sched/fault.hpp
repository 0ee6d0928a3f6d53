// fault: what a refused buffer may mean.
#pragma once

#include <weft/export.hpp>

#include <cstddef>

namespace weft::inline v0::sched {

// check_fault is called when the system has refused a buffer (EFAULT). If that reaches into the guard below the calling
// fiber's stack, the stack has overflowed, and a system call was the first to find out: it is reported as any other
// overflow, and the process ends by SIGSEGV. Else it returns.
WEFT_API void check_fault(const void* buffer, std::size_t size) noexcept;

}  // namespace weft::inline v0::sched
