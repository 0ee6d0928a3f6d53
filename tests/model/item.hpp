// item: a value that can be in one place only.
#pragma once

#include <support/explore.hpp>

#include <atomic>
#include <string>
#include <vector>

namespace weft::testing {

// Each use is a step, so that one at the wrong time is seen.
class item {
 public:
  explicit item(int v) noexcept : value_(v) {}
  item(item&& other) noexcept : value_(other.take()) {}
  item& operator=(item&& other) noexcept {
    value_.store(other.take(), std::memory_order_relaxed);
    return *this;
  }

  // 0: moved from.
  int value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  int take() noexcept { return value_.exchange(0, std::memory_order_relaxed); }

  model::atomic<int> value_;
};

inline std::string list(const std::vector<int>& values) {
  std::string text = "{";
  for (const int v : values) text += " " + std::to_string(v);
  return text + " }";
}

}  // namespace weft::testing
