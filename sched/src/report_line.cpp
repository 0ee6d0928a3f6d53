#include "report_line.hpp"

#include <weft/sched/symbols.hpp>

#include <array>

namespace weft::inline v0::sched {

report_line& report_line::code(const void* pc, code_address kind) noexcept {
  std::array<char, 320> names;
  const code_location found = locate(pc, kind, names);
  used_ += print_location(found, std::span(text_).subspan(used_, room())).size();
  return *this;
}

}  // namespace weft::inline v0::sched
