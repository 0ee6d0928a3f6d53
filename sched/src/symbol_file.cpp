#include "symbol_file.hpp"

#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cstring>

#include <elf.h>
#include <link.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

using file_header = ElfW(Ehdr);
using section_header = ElfW(Shdr);
using symbol = ElfW(Sym);

constexpr unsigned char native_class = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;

// An offset that is no off_t is refused by the system.
std::size_t read_at(int fd, std::uint64_t offset, void* to, std::size_t size) noexcept {
  const long n = sys_call(::pread, fd, to, size, static_cast<off_t>(offset));
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

bool is_function(const symbol& s) noexcept {
  const unsigned type = s.st_info & 0xf;
  return (type == STT_FUNC || type == STT_GNU_IFUNC) && s.st_shndx != SHN_UNDEF;
}

}  // namespace

template <class T>
bool symbol_file::read(std::uint64_t offset, T& object) const noexcept {
  return read_at(fd_, offset, &object, sizeof object) == sizeof object;
}

template <class Section>
bool symbol_file::read_section(std::size_t index, Section& section) const noexcept {
  return index < section_count_ && read(sections_ + index * sizeof section, section);
}

symbol_file::symbol_file(int fd) noexcept : fd_(fd) {
  file_header header;
  if (fd < 0 || !read(0, header)) return;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != native_class ||
      header.e_shentsize != sizeof(section_header)) {
    return;
  }
  sections_ = header.e_shoff;
  section_count_ = header.e_shnum;
  section_header section;
  for (std::size_t i = 0; read_section(i, section); ++i) {
    const bool complete = section.sh_type == SHT_SYMTAB;
    if ((!complete && section.sh_type != SHT_DYNSYM) || section.sh_entsize != sizeof(symbol)) continue;
    section_header names;
    if (!read_section(section.sh_link, names) || names.sh_type != SHT_STRTAB) continue;
    symbols_ = {section.sh_offset, section.sh_size};
    names_ = {names.sh_offset, names.sh_size};
    if (complete) return;
  }
}

symbol_file::~symbol_file() {
  if (fd_ >= 0) sys_call(::close, fd_);
}

// Functions written in assembler may have no size. Such a one goes on to the next function, but not out of its section, or the
// last one of all would own whatever lies behind.
std::uintptr_t symbol_file::rest_of_section(std::size_t index, std::uintptr_t from) const noexcept {
  section_header section;
  if (!read_section(index, section) || from - section.sh_addr >= section.sh_size) return 0;
  return section.sh_addr + section.sh_size - from;
}

bool symbol_file::cursor::refill() noexcept {
  const std::uint64_t rest = file_.symbols_.offset + file_.symbols_.size - offset_;
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(rest, sizeof chunk_));
  const std::size_t n = read_at(file_.fd_, offset_, chunk_, wanted);
  used_ = 0;
  filled_ = n - n % sizeof(symbol);
  offset_ += filled_;
  return filled_ != 0;
}

bool symbol_file::cursor::next(function_symbol& function) noexcept {
  for (;;) {
    if (used_ == filled_ && !refill()) return false;
    symbol s;
    std::memcpy(&s, chunk_ + used_, sizeof s);
    used_ += sizeof s;
    if (!is_function(s)) continue;
    function = {s.st_value, s.st_size, s.st_name};
    if (function.size == 0) function.size = file_.rest_of_section(s.st_shndx, function.start);
    return true;
  }
}

bool symbol_file::find(std::uintptr_t address, function_symbol& found) const noexcept {
  bool any = false;
  cursor all(*this);
  for (function_symbol f; all.next(f);) {
    if (f.start > address || (any && !f.hides(found))) continue;
    found = f;
    any = true;
  }
  return any && found.covers(address);
}

std::string_view symbol_file::name(const function_symbol& function, std::span<char> room) const noexcept {
  const std::uint64_t rest = function.name < names_.size ? names_.size - function.name : 0;
  const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(rest, room.size() - 1));
  const std::size_t n = read_at(fd_, names_.offset + function.name, room.data(), wanted);
  room[n] = '\0';
  return room.data();
}

}  // namespace weft::inline v0::sched
