// A log-linear histogram: exact below 256, and above it with 128 buckets for every doubling, so off by less than 1 %.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace support {

// histogram counts values up to 2^40 (18 minutes in nanoseconds; larger ones count as that). record() from any thread.
class histogram {
 public:
  histogram() : counts_(bucket_of(largest) + 1) {}

  void record(std::int64_t value) {
    const std::uint64_t v = value < 0 ? 0 : std::min<std::uint64_t>(static_cast<std::uint64_t>(value), largest);
    counts_[bucket_of(v)].fetch_add(1, std::memory_order_relaxed);
    std::uint64_t seen = max_.load(std::memory_order_relaxed);
    while (v > seen && !max_.compare_exchange_weak(seen, v, std::memory_order_relaxed)) {
    }
  }

  void add(const histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      counts_[i].fetch_add(other.counts_[i].load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    max_ = std::max(max_.load(), other.max_.load());
  }

  std::uint64_t count() const {
    std::uint64_t sum = 0;
    for (const auto& c : counts_) sum += c.load(std::memory_order_relaxed);
    return sum;
  }

  std::uint64_t max() const { return max_; }

  // The value that `fraction` of all do not exceed.
  std::uint64_t percentile(double fraction) const {
    const std::uint64_t total = count();
    const auto rank = static_cast<std::uint64_t>(fraction * static_cast<double>(total));
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      sum += counts_[i].load(std::memory_order_relaxed);
      if (sum > rank) return std::min(top_of(i), max());
    }
    return max();
  }

 private:
  static constexpr unsigned precision = 7;
  static constexpr std::uint64_t largest = (std::uint64_t{1} << 40) - 1;

  // The leading precision + 1 bits, after the number of bits that were cut off.
  static std::size_t bucket_of(std::uint64_t v) {
    const unsigned width = static_cast<unsigned>(std::bit_width(v));
    const unsigned cut = width > precision + 1 ? width - (precision + 1) : 0;
    return (std::size_t{cut} << precision) + (v >> cut);
  }
  static std::uint64_t top_of(std::size_t bucket) {
    const std::size_t cut = bucket < (2u << precision) ? 0 : (bucket >> precision) - 1;
    const std::uint64_t leading = bucket - (cut << precision);
    return ((leading + 1) << cut) - 1;
  }

  std::vector<std::atomic<std::uint64_t>> counts_;
  std::atomic<std::uint64_t> max_{0};
};

}  // namespace support
