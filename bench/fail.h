// How the C programs of bench/ fail: with one line.
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// fail prints one line, with the text of `error` unless it is 0, and exits with 1.
__attribute__((noreturn, format(printf, 2, 3))) static inline void fail(int error, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  if (error != 0) fprintf(stderr, ": %s", strerror(error));
  fputc('\n', stderr);
  exit(1);
}

#endif
