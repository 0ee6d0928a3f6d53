#include <weft/os/native_fd.hpp>

#include <weft/sched/sys.hpp>

#include <unistd.h>

namespace weft::inline v0::os {

void native_fd::reset(int number) noexcept {
  const int old = std::exchange(number_, number);
  if (old >= 0) sched::sys_call(::close, old);  // not retried when interrupted: the number is gone
}

}  // namespace weft::inline v0::os
