// symbol_file: the functions that an ELF file tells of. The only place for its format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weft::inline v0::sched {

// function_symbol is a function in a file: [start, start + size) as linked, before any bias.
struct function_symbol {
  std::uintptr_t start = 0;
  std::uintptr_t size = 0;
  std::size_t name = 0;  // where in the table of names

  bool covers(std::uintptr_t address) const noexcept { return address - start < size; }
  // hides tells whose an address is that both could have: the one that begins later; of two that begin together the smaller.
  bool hides(const function_symbol& other) const noexcept {
    return start != other.start ? start > other.start : size < other.size;
  }
};

// symbol_file reads the table of symbols: .symtab, or in its absence .dynsym, which has the exported functions only. Keeps
// the file open. Async-signal-safe.
//
// Everything is read, by pread, and nothing mapped: a file that shrinks under a mapping is a SIGBUS, and a process that is out of
// mappings can still read. A number in the file is only ever used as a place to read at, so that of a damaged file the worst is
// that functions are missing or have wrong names.
class symbol_file {
 public:
  // Takes the descriptor over; -1 is a file without functions.
  explicit symbol_file(int fd) noexcept;
  ~symbol_file();
  symbol_file(const symbol_file&) = delete;
  symbol_file& operator=(const symbol_file&) = delete;

  // find finds the function of an address (as linked): of those that begin at or before it the one that hides the others,
  // if that one covers it. Reads the whole table.
  bool find(std::uintptr_t address, function_symbol& found) const noexcept;

  // name reads the name of a function into room, with a zero behind it. A name that fills the room may go on.
  // REQUIRES: room is not empty.
  std::string_view name(const function_symbol& function, std::span<char> room) const noexcept;

  // A cursor goes over all functions, in the order of the table.
  class cursor {
   public:
    explicit cursor(const symbol_file& file) noexcept : file_(file), offset_(file.symbols_.offset) {}
    bool next(function_symbol& function) noexcept;

   private:
    bool refill() noexcept;

    const symbol_file& file_;
    std::uint64_t offset_;  // of what is to be read next
    std::size_t filled_ = 0;
    std::size_t used_ = 0;
    std::byte chunk_[4080];  // 170 symbols of 24 bytes
  };

 private:
  struct table {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  template <class T>
  bool read(std::uint64_t offset, T& object) const noexcept;
  template <class Section>
  bool read_section(std::size_t index, Section& section) const noexcept;
  std::uintptr_t rest_of_section(std::size_t index, std::uintptr_t from) const noexcept;

  const int fd_;
  std::uint64_t sections_ = 0;  // where their headers are
  std::size_t section_count_ = 0;
  table symbols_;
  table names_;
};

}  // namespace weft::inline v0::sched
