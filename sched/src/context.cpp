#include "context.hpp"

#include <cxxabi.h>
#include <pthread.h>

namespace weft::inline v0::sched {

exception_state* thread_exception_state() noexcept {
  auto* state = reinterpret_cast<exception_state*>(abi::__cxa_get_globals());
  asm volatile("" ::: "memory");
  return state;
}

void attach_thread([[maybe_unused]] context& c) noexcept {
#if defined(WEFT_ASAN)
  pthread_attr_t attributes;
  void* bottom = nullptr;
  std::size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &bottom, &size);
    pthread_attr_destroy(&attributes);
  }
  c.stack_bottom = bottom;
  c.stack_size = size;
#endif
#if defined(WEFT_TSAN)
  c.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void prepare(context& c, std::byte* bottom, std::byte* top, void (*entry)(arrival)) noexcept {
  auto size = static_cast<std::size_t>(top - bottom);
  c.suspended = boost::context::detail::make_fcontext(top, size, entry);
  c.exceptions = {};
#if defined(WEFT_ASAN)
  c.fake_stack = nullptr;
  c.stack_bottom = bottom;
  c.stack_size = size;
#endif
#if defined(WEFT_TSAN)
  c.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void dispose([[maybe_unused]] context& c, [[maybe_unused]] std::byte* bottom, [[maybe_unused]] std::byte* top) noexcept {
#if defined(WEFT_ASAN)
  __asan_unpoison_memory_region(bottom, static_cast<std::size_t>(top - bottom));
#endif
#if defined(WEFT_TSAN)
  __tsan_destroy_fiber(c.tsan_fiber);
  c.tsan_fiber = nullptr;
#endif
}

}  // namespace weft::inline v0::sched
