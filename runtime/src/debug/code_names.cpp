#include "code_names.hpp"

#include <array>

namespace weft::inline v0::debug {

const std::string& code_names::of(const void* return_address) {
  const auto [place, is_new] = names_.try_emplace(return_address);
  if (is_new) {
    std::array<char, 640> text;
    place->second =
        sched::print_location(symbols_.locate(return_address, sched::code_address::return_address), text);
  }
  return place->second;
}

}  // namespace weft::inline v0::debug
