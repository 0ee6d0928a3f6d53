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

#if defined(__x86_64__)

namespace {

// A switch away from a function whose place is known, and a look at what it left. Of the two words that may be the return
// address, the other holds rbp or belongs to the caller: neither is a place in that function.
struct probe_result {
  std::uintptr_t begin;
  std::size_t offset;
};

constexpr std::size_t longest_probe = 1024;  // bytes of code

#if defined(WEFT_TSAN)
__attribute__((no_sanitize("thread")))
#endif
WEFT_REAL_STACK void
probed(arrival t) {
  auto& result = *static_cast<probe_result*>(t.data);
  for (const std::size_t offset : {std::size_t{0x38}, std::size_t{0x40}}) {
    std::uintptr_t word;
    __builtin_memcpy(&word, static_cast<const std::byte*>(t.fctx) + offset, sizeof word);
    if (word - result.begin - 1 < longest_probe) {  // not the beginning itself, which is in `result`, on that stack
      result.offset = offset;
      break;
    }
  }
  boost::context::detail::jump_fcontext(t.fctx, nullptr);
}

#if defined(WEFT_TSAN)
__attribute__((no_sanitize("thread")))
#endif
WEFT_REAL_STACK __attribute__((noinline)) std::size_t
find_return_address() noexcept {
  alignas(16) std::byte stack[4096];
  probe_result result{reinterpret_cast<std::uintptr_t>(&find_return_address), 0};
  const auto probe = boost::context::detail::make_fcontext(stack + sizeof stack, sizeof stack, probed);
  boost::context::detail::jump_fcontext(probe, &result);
  return result.offset;
}

}  // namespace

std::size_t saved_return_address() noexcept {
  static const std::size_t found = find_return_address();
  return found;
}

#else

std::size_t saved_return_address() noexcept { return 0; }

#endif

namespace {

void on_detour(arrival t) noexcept {
  auto& d = *static_cast<detour*>(t.data);
  d.way_back = t.fctx;
#if defined(WEFT_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &d.stack_bottom, &d.stack_size);
#endif
  d.function(d);
  end_detour(d);
}

}  // namespace

#if defined(WEFT_TSAN)
__attribute__((no_sanitize("thread")))  // as switch_context
#endif
WEFT_REAL_STACK void
take_detour(detour& d, std::byte* bottom, std::byte* top) noexcept {
  const auto size = static_cast<std::size_t>(top - bottom);
  const auto there = boost::context::detail::make_fcontext(top, size, on_detour);
#if defined(WEFT_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, bottom, size);
#endif
#if defined(WEFT_TSAN)
  d.tsan_fiber = __tsan_get_current_fiber();
  void* const other = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(other, 0);
#endif
  boost::context::detail::jump_fcontext(there, &d);
#if defined(WEFT_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
  __asan_unpoison_memory_region(bottom, size);
#endif
#if defined(WEFT_TSAN)
  __tsan_destroy_fiber(other);
#endif
}

#if defined(WEFT_TSAN)
__attribute__((no_sanitize("thread")))
#endif
void
end_detour(detour& d) noexcept {
#if defined(WEFT_ASAN)
  __sanitizer_start_switch_fiber(nullptr, d.stack_bottom, d.stack_size);
#endif
#if defined(WEFT_TSAN)
  __tsan_switch_to_fiber(d.tsan_fiber, 0);
#endif
  boost::context::detail::jump_fcontext(d.way_back, nullptr);
}

}  // namespace weft::inline v0::sched
