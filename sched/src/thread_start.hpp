// start_thread: how the library starts its threads.
#pragma once

#include <pthread.h>

namespace weft::inline v0::sched {

// start_thread starts a named thread that blocks every asynchronous signal: those are for the host's own threads. SIGPROF and
// SIGVTALRM stay open, since profilers must see the workers. Returns an errno value, or 0.
int start_thread(pthread_t& thread, const char* name, void* (*body)(void*) noexcept, void* argument) noexcept;

}  // namespace weft::inline v0::sched
