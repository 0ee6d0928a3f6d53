#include "worker.hpp"

#include "current.hpp"
#include "scheduler.hpp"

namespace weft::inline v0::sched {

void* worker_main(void* self) noexcept {
  auto* w = static_cast<worker*>(self);
  set_current_worker(w);
  attach_thread(w->own);
  w->exceptions = thread_exception_state();
  while (fiber* f = find_runnable(w)) run(w, f);
  set_current_worker(nullptr);
  return nullptr;
}

}  // namespace weft::inline v0::sched
