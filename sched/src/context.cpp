#include "context.hpp"

#include <cxxabi.h>
#include <cstdint>

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

void dispose([[maybe_unused]] context& c, [[maybe_unused]] std::byte* bottom, [[maybe_unused]] std::byte* top) noexcept {
#if defined(WEFT_ASAN)
  __asan_unpoison_memory_region(bottom, static_cast<std::size_t>(top - bottom));
#endif
#if defined(WEFT_TSAN)
  __tsan_destroy_fiber(c.tsan_fiber);
  c.tsan_fiber = nullptr;
#endif
}

namespace {

void on_detour(void* message) noexcept {
  auto& d = *static_cast<detour*>(message);
#if defined(WEFT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &d.stack_bottom, &d.stack_size);
#endif
  d.function(d);
  end_detour(d);
}

}  // namespace

[[gnu::noinline]] WEFT_UNINSTRUMENTED void take_detour(detour& d, std::byte* bottom, std::byte* top) noexcept {
  [[maybe_unused]] const auto size = static_cast<std::size_t>(top - bottom);
  save_entry(d.there, bottom, top, on_detour);
#if defined(WEFT_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, bottom, size);
#endif
#if defined(WEFT_TSAN)
  d.tsan_fiber = __tsan_get_current_fiber();
  void* const other = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(other, 0);
#endif
  static_cast<void>(jump(d.way_back, d.there, &d));
#if defined(WEFT_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
  __asan_unpoison_memory_region(bottom, size);
#endif
#if defined(WEFT_TSAN)
  __tsan_destroy_fiber(other);
#endif
}

[[gnu::noinline]] WEFT_UNINSTRUMENTED void end_detour(detour& d) noexcept {
#if defined(WEFT_ASAN)
  __sanitizer_start_switch_fiber(nullptr, d.stack_bottom, d.stack_size);
#endif
#if defined(WEFT_TSAN)
  __tsan_switch_to_fiber(d.tsan_fiber, 0);
#endif
  static_cast<void>(jump(d.there, d.way_back, nullptr));
}

}  // namespace weft::inline v0::sched
