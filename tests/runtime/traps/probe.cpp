// The trap: each of these functions changes its thread in the middle. TRAP_VARIANT names the way in which this was compiled.
#if defined(TRAP_GUARDED)
#include <weft/errno.hpp>
#endif

#include "probe.hpp"

#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_local.hpp>
#include <weft/os/file.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/sys.hpp>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include <pthread.h>
#include <unistd.h>

namespace traps {

namespace {

whose this_or_another(bool right) { return right ? whose::this_threads : whose::another_threads; }

whose errno_is_read() {
  const int before = fresh_value();
  const int after = fresh_value();
  errno = before;
  change_thread();
  set_errno_here(after);
  const int found = errno;
  return found == after ? whose::this_threads : found == before ? whose::another_threads : whose::nobodys;
}

whose errno_is_written() {
  errno = fresh_value();
  change_thread();
  const int after = fresh_value();
  errno = after;
  return this_or_another(errno_here() == after);
}

whose errno_is_read_in_a_loop() {
  int wrong = 0;
  for (int i = 0; i < 3; ++i) {
    const int value = fresh_value();
    set_errno_here(value);
    if (errno != value) ++wrong;
    change_thread();
  }
  return this_or_another(wrong == 0);
}

whose thread_is_asked() {
  const pthread_t before = ::pthread_self();
  change_thread();
  const pthread_t after = pthread_self();
  if (::pthread_equal(after, before) == 0 && ::pthread_equal(after, self_here()) != 0) return whose::this_threads;
  return after == before ? whose::another_threads : whose::nobodys;
}

whose thread_id_is_compared() {
  const std::thread::id before = std::this_thread::get_id();
  change_thread();
  if (std::this_thread::get_id() == before) return whose::another_threads;
  return std::this_thread::get_id() == id_here() ? whose::this_threads : whose::nobodys;
}

// The conversion sets errno to 0, calls strtol and looks for ERANGE, all inline.
whose number_is_out_of_range() {
  if (std::stol(std::string("1")) != 1) return whose::nobodys;
  change_thread();
  try {
    std::stol(std::string("99999999999999999999"));
    return whose::another_threads;
  } catch (const std::out_of_range&) {
    return whose::this_threads;
  }
}

// What weft is asked itself.
whose fiber_is_asked() {
  const std::uint64_t id = weft::this_fiber::get_id();
  const weft::sched::fiber* const fiber = weft::sched::current_fiber();
  change_thread();
  if (id == 0 || weft::this_fiber::get_id() != id || weft::sched::current_fiber() != fiber) return whose::nobodys;
  change_thread();
  return weft::this_fiber::get_id() == id ? whose::this_threads : whose::nobodys;
}

whose calls_fail() {
  std::error_code first, second, third;
  (void)weft::os::open_file("/nowhere/at/all", first);
  change_thread();
  (void)weft::os::open_file("/etc/passwd/not-a-directory", second);
  change_thread();
  (void)weft::os::open_file("/nowhere/at/all", third);
  const bool right = first == std::errc::no_such_file_or_directory && second == std::errc::not_a_directory && third == first;
  return this_or_another(right);
}

long bad_number(int fd) { return ::close(fd); }
long no_directory(const char* path) { return ::rmdir(path); }

whose system_calls_fail() {
  const long first = weft::sched::sys_call(bad_number, -1);
  change_thread();
  const long second = weft::sched::sys_call(no_directory, "/nowhere/at/all");
  change_thread();
  const long third = weft::sched::sys_call(bad_number, -1);
  return this_or_another(first == -EBADF && second == -ENOENT && third == -EBADF);
}

weft::fiber_local<int> own;

whose fiber_local_is_used() {
  int& before = *own;
  before = fresh_value();
  change_thread();
  return &*own == &before && *own == before ? whose::this_threads : whose::nobodys;
}

thread_local int threads_own = 0;

// As docs/thread-local.md has it.
[[gnu::noinline]] int* threads_own_here() {
  int* here = &threads_own;
  asm volatile("" : "+r"(here) : : "memory");
  return here;
}

whose thread_local_is_found() {
  const int* const before = threads_own_here();
  change_thread();
  const int* const after = threads_own_here();
  return this_or_another(after != before && after == threads_own_here());
}

void* volatile seen;

whose thread_local_is_used() {
  seen = &threads_own;
  change_thread();
  seen = &threads_own;
  return this_or_another(seen == threads_own_here());
}

#if defined(TRAP_GUARDED)
constexpr bool guarded = true;
#else
constexpr bool guarded = false;
#endif
#if defined(__OPTIMIZE__)
constexpr bool optimised = true;
#else
constexpr bool optimised = false;
#endif

[[maybe_unused]] const bool added = add_variant({TRAP_VARIANT,
                                                 guarded,
                                                 optimised,
                                                 {{"errno, read", promise::with_header, errno_is_read},
                                                  {"errno, written", promise::with_header, errno_is_written},
                                                  {"errno, in a loop", promise::with_header, errno_is_read_in_a_loop},
                                                  {"pthread_self", promise::with_header, thread_is_asked},
                                                  {"this_thread::get_id", promise::with_header, thread_id_is_compared},
                                                  {"stol", promise::with_header, number_is_out_of_range},
                                                  {"thread_local", promise::none, thread_local_is_used},
                                                  {"thread_local, by a function", promise::always, thread_local_is_found},
                                                  {"this_fiber::get_id", promise::always, fiber_is_asked},
                                                  {"fiber_local", promise::always, fiber_local_is_used},
                                                  {"error of a call", promise::always, calls_fail},
                                                  {"sys_call", promise::always, system_calls_fail}}});

}  // namespace

}  // namespace traps
