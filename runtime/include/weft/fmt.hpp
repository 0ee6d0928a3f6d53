// Formatters of the {fmt} library for what weft prints. The only header that includes fmt.
#pragma once

#include <weft/net/endpoint.hpp>

#include <fmt/format.h>

#include <string_view>

// An endpoint formats as its to_string(), with the options of a string: "{:>22}".
template <>
struct fmt::formatter<weft::net::endpoint> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const weft::net::endpoint& e, Context& context) const {
    return fmt::formatter<std::string_view>::format(e.to_string(), context);
  }
};
