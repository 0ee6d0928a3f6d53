#include "thread_start.hpp"

#include <initializer_list>

#include <signal.h>

namespace weft::inline v0::sched {

int start_thread(pthread_t& thread, const char* name, void* (*body)(void*) noexcept, void* argument) noexcept {
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (int open : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF, SIGVTALRM}) {
    sigdelset(&blocked, open);
  }
  // A thread inherits the mask of the one that starts it; set here, so that no signal can come in between.
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int error = pthread_create(&thread, nullptr, body, argument);
  if (error == 0) pthread_setname_np(thread, name);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error;
}

}  // namespace weft::inline v0::sched
