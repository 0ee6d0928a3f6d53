// item: a value that can be in one place only.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace weft::testing {

struct item {
  explicit item(int v) noexcept : value(v) {}
  item(item&& other) noexcept : value(std::exchange(other.value, 0)) {}
  item& operator=(item&& other) noexcept {
    value = std::exchange(other.value, 0);
    return *this;
  }

  int value;  // 0: moved from
};

inline std::string list(const std::vector<int>& values) {
  std::string text = "{";
  for (const int v : values) text += " " + std::to_string(v);
  return text + " }";
}

}  // namespace weft::testing
