// coroutine: what an actor runs on, for explore.cpp alone, which undefines _FORTIFY_SOURCE before anything else: the
// checked longjmp refuses to jump to a stack further up.
#pragma once

#include <cxxabi.h>
#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <memory>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_MODEL_ASAN 1
#elif __has_feature(thread_sanitizer)
#define WEFT_MODEL_TSAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define WEFT_MODEL_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define WEFT_MODEL_TSAN 1
#endif
// Sanitizers follow swapcontext, but not a jump from stack to stack.
#if defined(WEFT_MODEL_ASAN) || defined(WEFT_MODEL_TSAN)
#define WEFT_MODEL_SWAPCONTEXT 1
#endif
#ifdef WEFT_MODEL_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEFT_MODEL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace weft::model {

// A place to run on, which can be left and entered again: the main one, or an actor's.
class coroutine {
 public:
  coroutine() = default;
  coroutine(const coroutine&) = delete;
  coroutine& operator=(const coroutine&) = delete;
  ~coroutine() {
#ifdef WEFT_MODEL_TSAN
    if (stack_ != nullptr) __tsan_destroy_fiber(fiber_);
#endif
  }

  void adopt_thread() {
    entered_ = true;
#ifdef WEFT_MODEL_TSAN
    fiber_ = __tsan_get_current_fiber();
#endif
  }

  // The next switch to it enters `entry`, whatever it was doing.
  void prepare(void (*entry)()) {
    if (stack_ == nullptr) {
      stack_.reset(new char[stack_size]);
    }
#ifdef WEFT_MODEL_TSAN
    if (fiber_ != nullptr) __tsan_destroy_fiber(fiber_);
    fiber_ = __tsan_create_fiber(0);
#endif
#ifdef WEFT_MODEL_ASAN
    __asan_unpoison_memory_region(stack_.get(), stack_size);  // of frames that were dropped
#endif
    bottom_ = stack_.get();
    size_ = stack_size;
    exceptions_ = {};
    entered_ = false;
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = stack_size;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
  }

  // arrived is the first thing on a coroutine that was just entered for the first time.
  static void arrived(coroutine& from) {
#ifdef WEFT_MODEL_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &from.bottom_, &from.size_);
#endif
    (void)from;
  }

  __attribute__((noinline, no_sanitize("thread"))) static void change(coroutine& from, coroutine& to) {
    auto* const handled = reinterpret_cast<exceptions*>(abi::__cxa_get_globals());
    from.exceptions_ = std::exchange(*handled, to.exceptions_);
#ifdef WEFT_MODEL_TSAN
    __tsan_switch_to_fiber(to.fiber_, 0);
#endif
#ifdef WEFT_MODEL_ASAN
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, to.bottom_, to.size_);
#endif
#ifdef WEFT_MODEL_SWAPCONTEXT
    swapcontext(&from.context_, &to.context_);
#else
    // swapcontext would make a system call each time.
    if (_setjmp(from.jump_) == 0) {
      if (to.entered_) _longjmp(to.jump_, 1);
      to.entered_ = true;
      setcontext(&to.context_);
    }
#endif
#ifdef WEFT_MODEL_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
  }

 private:
  static constexpr std::size_t stack_size = 256 * 1024;

  // What the C++ runtime keeps of the exceptions that are handled: its __cxa_eh_globals, in the Itanium ABI's layout.
  struct exceptions {
    void* caught = nullptr;
    unsigned int uncaught = 0;
  };

  ucontext_t context_{};
  exceptions exceptions_;
#ifndef WEFT_MODEL_SWAPCONTEXT
  jmp_buf jump_{};
#endif
  bool entered_ = false;
  std::unique_ptr<char[]> stack_;
  const void* bottom_ = nullptr;
  std::size_t size_ = 0;
#ifdef WEFT_MODEL_TSAN
  void* fiber_ = nullptr;
#endif
};

}  // namespace weft::model
