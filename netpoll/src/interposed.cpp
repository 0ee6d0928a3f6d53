#include "interposed.hpp"

#include <initializer_list>

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>

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

// The loaded object that a symbol comes from; null if it cannot be told (a static program has no others).
const link_map* object_of(void* symbol) noexcept {
  Dl_info info;
  void* map = nullptr;
  return symbol != nullptr && ::dladdr1(symbol, &info, &map, RTLD_DL_LINKMAP) != 0 ? static_cast<link_map*>(map) : nullptr;
}

bool find_out() noexcept {
  const link_map* const libc = object_of(reinterpret_cast<void*>(&::gnu_get_libc_version));
  for (const char* name : {"read", "readv"}) {
    const link_map* const from = object_of(::dlsym(RTLD_DEFAULT, name));
    const bool is_program = from != nullptr && from->l_name[0] == '\0';
    if (libc != nullptr && from != nullptr && from != libc && !is_program) return true;
  }
  return false;
}

}  // namespace

bool reads_interposed() noexcept {
  static const bool result = checked && find_out();
  return result;
}

}  // namespace weft::inline v0::poll
