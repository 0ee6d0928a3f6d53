// What the load clients tell about processes, their own and the server's: CPU time and memory.
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include "fail.h"

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

static inline uint64_t nanoseconds(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t) != 0) fail(errno, "clock_gettime");
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// cpu_clock_of gives the kernel's account of every thread of a process, to the nanosecond; /proc/PID/stat counts ticks
// of 10 ms.
static inline clockid_t cpu_clock_of(pid_t process) {
  clockid_t clock = 0;
  const int error = clock_getcpuclockid(process, &clock);
  if (error != 0) fail(error, "process %d", process);
  return clock;
}

// memory_of is what a process has in memory, its page tables included, in KiB.
static inline uint64_t memory_of(pid_t process) {
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/status", process);
  FILE* status = fopen(path, "re");
  if (status == NULL) fail(errno, "%s", path);
  unsigned long long sum = 0, value = 0;
  while (fgets(line, sizeof line, status) != NULL) {
    if (sscanf(line, "VmRSS: %llu", &value) == 1 || sscanf(line, "VmPTE: %llu", &value) == 1) sum += value;
  }
  fclose(status);
  return sum;
}

#endif
