// The CPUs that this process may use: affinity mask and cgroup quota.

#include <weft/sched/scheduler.hpp>
#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

// read_file reads the beginning of a small file as text; false if it isn't there.
bool read_file(const char* path, char* text, std::size_t size) noexcept {
  long fd = sys_call(::open, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return false;
  long n = sys_call(::read, static_cast<int>(fd), static_cast<void*>(text), size - 1);
  sys_call(::close, static_cast<int>(fd));
  text[n > 0 ? n : 0] = '\0';
  return n > 0;
}

unsigned rounded_up(long long quota, long long period) noexcept {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<unsigned>((quota + period - 1) / period);
}

// quota_of returns how many CPUs the directory of one cgroup grants, 0 for no limit.
unsigned quota_of(const char* directory) noexcept {
  char path[512];
  char text[128];
  long long quota = 0;
  long long period = 0;
  std::snprintf(path, sizeof path, "%s/cpu.max", directory);  // version 2; "max 100000" has no limit
  if (read_file(path, text, sizeof text) && std::sscanf(text, "%lld %lld", &quota, &period) == 2) {
    return rounded_up(quota, period);
  }
  std::snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);  // version 1; -1 has no limit
  if (!read_file(path, text, sizeof text) || std::sscanf(text, "%lld", &quota) != 1) return 0;
  std::snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
  if (!read_file(path, text, sizeof text) || std::sscanf(text, "%lld", &period) != 1) return 0;
  return rounded_up(quota, period);
}

// cgroup_cpus returns the smallest quota from this process's cgroup up to the root, 0 for no limit.
unsigned cgroup_cpus() noexcept {
  char groups[4096];
  if (!read_file("/proc/self/cgroup", groups, sizeof groups)) return 0;
  unsigned least = 0;
  char* rest = groups;
  while (char* line = ::strtok_r(rest, "\n", &rest)) {
    // "0::/path" (version 2) or "4:cpu,cpuacct:/path"
    char* controllers = std::strchr(line, ':');
    char* path = controllers == nullptr ? nullptr : std::strchr(controllers + 1, ':');
    if (path == nullptr) continue;
    *path++ = '\0';
    ++controllers;
    const bool version2 = *controllers == '\0';
    if (!version2 && std::strncmp(controllers, "cpu", 3) != 0) continue;
    char directory[400];
    std::snprintf(directory, sizeof directory, "/sys/fs/cgroup%s%s", version2 ? "" : "/cpu", path);
    const std::size_t root = std::strlen(version2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu");
    for (;;) {
      if (unsigned n = quota_of(directory)) least = least == 0 ? n : std::min(least, n);
      char* slash = std::strrchr(directory, '/');
      if (slash == nullptr || static_cast<std::size_t>(slash - directory) < root) break;
      *slash = '\0';
    }
  }
  return least;
}

}  // namespace

unsigned available_cpus() noexcept {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  unsigned n = 0;
  if (sys_call(::sched_getaffinity, 0, sizeof allowed, &allowed) == 0) {
    n = static_cast<unsigned>(CPU_COUNT(&allowed));
  } else {
    n = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));  // more CPUs than the mask has room for
  }
  if (unsigned quota = cgroup_cpus()) n = std::min(n, quota);
  return std::max(n, 1u);
}

}  // namespace weft::inline v0::sched
