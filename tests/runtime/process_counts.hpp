// What a process holds, read from /proc: for tests that it comes back to what it was.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

namespace testing_support {

// Sanitizers keep books of their own: memory can't be compared.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool thread_sanitized = true;
#elif defined(__has_feature)
inline constexpr bool thread_sanitized = __has_feature(thread_sanitizer);
#else
inline constexpr bool thread_sanitized = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
inline constexpr bool sanitized = thread_sanitized || __has_feature(address_sanitizer);
#else
inline constexpr bool sanitized = thread_sanitized;
#endif

inline std::size_t entries_of(const char* directory) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

inline std::size_t open_descriptors() { return entries_of("/proc/self/fd") - 1; }  // without the listing's own
inline std::size_t threads() { return entries_of("/proc/self/task"); }

// value_of returns a line of /proc/self/status, "VmRSS" for one, in its unit.
inline std::size_t value_of(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, key.size() + 1, key + ":") == 0) return std::stoul(line.substr(key.size() + 1));
  }
  return 0;
}

// eventually repeats the question for up to 10 s. A joined thread stays listed for a moment, and so on.
template <class Question>
bool eventually(Question&& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace testing_support
