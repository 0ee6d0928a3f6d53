// A fixture whose tests run on fibers, and that looks for what they leave behind.
#pragma once

#include "process_counts.hpp"

#include <weft/sched/scheduler.hpp>
#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <thread>

namespace testing_support {

// on_fibers runs body as the main fiber of a runtime (of WEFT_WORKERS workers) and returns the figures at its end.
// Checks that nothing stays: no fiber, no thread, no descriptor.
template <class Body>
weft::runtime_stats on_fibers(Body&& body, const weft::runtime_options& options = weft::runtime_options()) {
  // ThreadSanitizer makes a thread of its own beside the first.
  [[maybe_unused]] static const bool first_thread = (std::thread([] {}).join(), true);
  const std::size_t descriptors_before = open_descriptors();
  const std::size_t threads_before = threads();
  weft::runtime rt(options);
  {
    weft::fiber<void> main = rt.spawn(weft::spawn_options("test"), [&body] { body(); });
    EXPECT_NO_THROW(main.join());
  }
  rt.stop();
  const weft::runtime_stats stats = rt.stats();
  EXPECT_EQ(stats.live, 0u);
  EXPECT_TRUE(eventually([&] { return open_descriptors() == descriptors_before; })) << open_descriptors();
  // Fewer, if threads joined before were still listed.
  EXPECT_TRUE(eventually([&] { return threads() <= threads_before; })) << threads() << " threads";
  return stats;
}

// default_workers is how many workers a runtime has whose options don't say.
inline unsigned default_workers() {
  const char* text = std::getenv("WEFT_WORKERS");
  return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : weft::sched::available_cpus();
}

inline weft::runtime_options with_workers(unsigned n) {
  weft::runtime_options options;
  options.workers = n;
  return options;
}

// gate opens once; until then passers wait by yielding. For tests of the waiting primitives themselves.
class gate {
 public:
  void open() noexcept { open_.store(true, std::memory_order_release); }
  bool is_open() const noexcept { return open_.load(std::memory_order_acquire); }
  void pass() const {
    while (!is_open()) weft::this_fiber::yield();
  }

 private:
  std::atomic<bool> open_{false};
};

}  // namespace testing_support
