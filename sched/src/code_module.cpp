#include "code_module.hpp"

#include <weft/sched/sys.hpp>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/uio.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

struct walk {
  std::uintptr_t address;
  code_module found;
};

int visit(dl_phdr_info* module, std::size_t, void* argument) noexcept {
  auto& w = *static_cast<walk*>(argument);
  const ElfW(Phdr)* first = nullptr;
  bool inside = false;
  for (const ElfW(Phdr)* p = module->dlpi_phdr; p != module->dlpi_phdr + module->dlpi_phnum; ++p) {
    if (p->p_type != PT_LOAD) continue;
    if (first == nullptr) first = p;
    inside = inside || w.address - (module->dlpi_addr + p->p_vaddr) < p->p_memsz;
  }
  if (!inside) return 0;
  w.found.path = module->dlpi_name;
  w.found.bias = module->dlpi_addr;
  w.found.start = reinterpret_cast<const void*>(module->dlpi_addr + first->p_vaddr - first->p_offset);
  return 1;
}

// is_file_of compares the beginnings of the file and of the module in memory. The headers there tell one build from another,
// and so does the build id behind them. The system does the reading: of a file that has been overwritten in place, pages may
// be gone, and touching those would be a fault.
bool is_file_of(int fd, const code_module& module) noexcept {
  char on_disk[1024];
  char in_memory[sizeof on_disk];
  const long n = sys_call(::pread, fd, static_cast<void*>(on_disk), sizeof on_disk, off_t{0});
  if (n <= 0) return false;
  const iovec to{in_memory, static_cast<std::size_t>(n)};
  const iovec from{const_cast<void*>(module.start), static_cast<std::size_t>(n)};
  const long got = sys_call(::process_vm_readv, ::getpid(), &to, 1UL, &from, 1UL, 0UL);
  if (got < 0) return got != -EFAULT;  // a sandbox may forbid this call: then the file is believed
  return got == n && std::memcmp(on_disk, in_memory, static_cast<std::size_t>(n)) == 0;
}

}  // namespace

bool walk_to_module(std::uintptr_t address, code_module& found) noexcept {
  walk w{address, {}};
  if (::dl_iterate_phdr(visit, &w) == 0) return false;
  found = w.found;
  return true;
}

bool find_module(std::uintptr_t address, code_module& found) noexcept {
#if defined(DLFO_STRUCT_HAS_EH_DBASE)
  dl_find_object object;
  if (::_dl_find_object(reinterpret_cast<void*>(address), &object) != 0) return false;
  found.path = object.dlfo_link_map->l_name;
  found.bias = object.dlfo_link_map->l_addr;
  found.start = object.dlfo_map_start;
  return true;
#else
  return walk_to_module(address, found);
#endif
}

std::string_view module_name(const code_module& module) noexcept {
  if (*module.path == '\0') return program_invocation_short_name;
  const char* slash = std::strrchr(module.path, '/');
  return slash == nullptr ? module.path : slash + 1;
}

int open_module(const code_module& module) noexcept {
  const char* path = *module.path == '\0' ? "/proc/self/exe" : module.path;
  if (std::strchr(path, '/') == nullptr) return -1;  // the vdso
  // Not to wait for the other end of a fifo, should one lie there.
  const long fd = sys_call(::open, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
  if (fd < 0) return -1;
  if (is_file_of(static_cast<int>(fd), module)) return static_cast<int>(fd);
  sys_call(::close, static_cast<int>(fd));
  return -1;
}

}  // namespace weft::inline v0::sched
