#include "worker.hpp"

#include "current.hpp"
#include "fault_handler.hpp"
#include "scheduler.hpp"

#include <weft/sched/sys.hpp>

#include <unistd.h>

namespace weft::inline v0::sched {

void* worker_main(void* self) noexcept {
  auto* w = static_cast<worker*>(self);
  set_current_worker(w);
  attach_thread(w->own);
  const signal_stack for_handlers;
  w->tid.store(static_cast<pid_t>(sys_call(::gettid)), std::memory_order_release);
  w->exceptions = thread_exception_state();
  while (fiber* f = find_runnable(w)) run(w, f);
  set_current_worker(nullptr);
  return nullptr;
}

}  // namespace weft::inline v0::sched
