// Which sanitizer this is built for: WEFT_ASAN, WEFT_TSAN.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define WEFT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_TSAN 1
#endif
#endif

// WEFT_UNINSTRUMENTED is for code that runs while the sanitizers don't know on which stack.
#if defined(WEFT_ASAN)
#define WEFT_UNINSTRUMENTED __attribute__((no_sanitize("address")))
#elif defined(WEFT_TSAN)
#define WEFT_UNINSTRUMENTED __attribute__((no_sanitize("thread")))
#else
#define WEFT_UNINSTRUMENTED
#endif
