#include "interposed.hpp"

#include <initializer_list>

#include <dlfcn.h>
#include <gnu/libc-version.h>

namespace weft::inline v0::poll {

namespace {

// The sanitizers put functions of their own there that change nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool checked = false;
#elif defined(__has_feature)
constexpr bool checked = !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
constexpr bool checked = true;
#endif

// The start of the object that a symbol comes from; null if it cannot be told (a static program has no others).
void* object_of(void* symbol) noexcept {
  Dl_info info;
  return symbol != nullptr && ::dladdr(symbol, &info) != 0 ? info.dli_fbase : nullptr;
}

bool find_out() noexcept {
  void* const libc = object_of(reinterpret_cast<void*>(&::gnu_get_libc_version));
  for (const char* name : {"read", "readv"}) {
    void* const from = object_of(::dlsym(RTLD_DEFAULT, name));
    if (libc != nullptr && from != nullptr && from != libc) return true;
  }
  return false;
}

}  // namespace

bool reads_interposed() noexcept {
  static const bool result = checked && find_out();
  return result;
}

}  // namespace weft::inline v0::poll
