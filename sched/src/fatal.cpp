#include <weft/sched/fatal.hpp>

#include "current.hpp"
#include "report_line.hpp"
#include "worker.hpp"

#include <weft/sched/fiber.hpp>
#include <weft/sched/sys.hpp>

#include <atomic>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <time.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

std::atomic<void (*)() noexcept> reporter{nullptr};
std::atomic<bool> reported{false};

}  // namespace

void fatal_report_by(void (*report)() noexcept) noexcept { reporter.store(report, std::memory_order_release); }

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
  if (const worker* const w = current_worker(); w != nullptr && w->running() != nullptr) {
    char name[fiber_name::capacity];
    w->running()->name.copy_to(name);
    report_line() << "weft: in fiber " << id_of(*w->running()) << " '" << name << "'";
  }
  // A second fault at the same time must not cut the report of the first off.
  if (auto* const report = reporter.load(std::memory_order_acquire)) {
    if (!reported.exchange(true, std::memory_order_relaxed)) {
      report();
    } else {
      constexpr timespec long_enough{6, 0};
      ::nanosleep(&long_enough, nullptr);
    }
  }
  std::abort();
}

}  // namespace weft::inline v0::sched
