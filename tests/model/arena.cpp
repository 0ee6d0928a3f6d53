// Apart from those who use it: a compiler that sees both may know better than to free what is in a global.
#include "arena.hpp"

#include <cstddef>
#include <new>

namespace {

alignas(128) std::byte arena[64 * 1024];
std::size_t used = 0;

}  // namespace

void weft::testing::clear_arena() { used = 0; }

void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto unit = static_cast<std::size_t>(alignment);
  const std::size_t begin = (used + unit - 1) / unit * unit;
  if (begin + size > sizeof arena) throw std::bad_alloc();
  used = begin + size;
  return arena + begin;
}
void operator delete(void*, std::align_val_t) noexcept {}
void operator delete(void*, std::size_t, std::align_val_t) noexcept {}
