#include <weft/sched/fatal.hpp>

#include <weft/sched/sys.hpp>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace weft::inline v0::sched {

void fatal(const char* format, ...) noexcept {
  char line[512] = "weft: fatal: ";
  std::size_t used = std::strlen(line);
  va_list arguments;
  va_start(arguments, format);
  int wanted = std::vsnprintf(line + used, sizeof line - used - 1, format, arguments);
  va_end(arguments);
  if (wanted > 0) used = std::strlen(line);
  line[used++] = '\n';
  sys_call(::write, STDERR_FILENO, static_cast<const void*>(line), used);
  std::abort();
}

}  // namespace weft::inline v0::sched
