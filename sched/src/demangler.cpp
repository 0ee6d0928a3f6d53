#include "demangler.hpp"

#include "context.hpp"

#include <weft/sched/sys.hpp>

#include <cstdlib>
#include <cstring>

#include <cxxabi.h>
#include <sys/mman.h>

// libstdc++'s demangler without malloc, which its verbose terminate handler was made for; not everywhere exported. Gives its
// text piece by piece, and returns 0, or another number if there is none.
extern "C" [[gnu::weak]] int __gcclibcxx_demangle_callback(const char* mangled,
                                                           void (*take)(const char*, std::size_t, void*), void* argument);

namespace weft::inline v0::sched {

namespace {

constexpr std::size_t stack_size = 2 * 1024 * 1024;
constexpr std::size_t page = 4096;

struct task : detour {
  const char* name;
  text_buffer& out;
  bool done;
};

// Once the text is full nobody wants the rest, and there may be much of it: a name of N characters can stand for 2^N.
void take(const char* piece, std::size_t size, void* argument) noexcept {
  auto& t = *static_cast<task*>(argument);
  t.out.append({piece, size});
  if (!t.out.is_cut()) return;
  t.done = true;
  end_detour(t);
}

void demangle_with_malloc(detour& d) noexcept {
  auto& t = static_cast<task&>(d);
  int status = 0;
  char* const text = abi::__cxa_demangle(t.name, nullptr, nullptr, &status);
  t.done = text != nullptr;
  if (t.done) t.out.append(text);
  std::free(text);
}

void demangle(detour& d) noexcept {
  auto& t = static_cast<task&>(d);
  t.done = ::__gcclibcxx_demangle_callback(t.name, take, &t) == 0;
}

bool is_mangled(const char* name) noexcept {
  return name[0] == '_' && name[1] == 'Z' && ::strnlen(name, demangler::longest_name + 1) <= demangler::longest_name;
}

}  // namespace

demangler::demangler(allocation malloc) noexcept : malloc_(malloc) {
  void* p = ::mmap(nullptr, stack_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  memory_ = p == MAP_FAILED ? nullptr : static_cast<std::byte*>(p);
  // The lowest page stays without access, as a guard.
  if (memory_ != nullptr && ::mprotect(memory_ + page, stack_size - page, PROT_READ | PROT_WRITE) != 0) {
    ::munmap(memory_, stack_size);
    memory_ = nullptr;
  }
}

demangler::~demangler() {
  if (memory_ != nullptr) ::munmap(memory_, stack_size);
}

WEFT_REAL_STACK void demangler::append(const char* name, text_buffer& out) noexcept {
  const bool without_malloc = ::__gcclibcxx_demangle_callback != nullptr;
  if (memory_ != nullptr && is_mangled(name) && (without_malloc || malloc_ == allocation::allowed)) {
    task t{{without_malloc ? demangle : demangle_with_malloc}, name, out, false};
    take_detour(t, memory_ + page, memory_ + stack_size);
    if (t.done) return;
    out.clear();
  }
  out.append(name);
}

}  // namespace weft::inline v0::sched
