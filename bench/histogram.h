// Latencies in log-linear buckets: 32 to a power of two, so that a value is off by at most 3 %.
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

enum { sub_bits = 5, sub_count = 1 << sub_bits, bucket_count = 64 * sub_count };

struct histogram {
  uint64_t buckets[bucket_count];
  uint64_t total;
  uint64_t largest;
};

static inline unsigned bucket_of(uint64_t value) {
  if (value < sub_count) return (unsigned)value;
  const unsigned shift = 63u - (unsigned)__builtin_clzll(value) - sub_bits;
  return (shift + 1) * sub_count + (unsigned)(value >> shift) - sub_count;
}

static inline uint64_t middle_of(unsigned bucket) {
  if (bucket < sub_count) return bucket;
  const unsigned shift = bucket / sub_count - 1;
  return ((uint64_t)(bucket % sub_count + sub_count) << shift) + ((1ull << shift) >> 1);
}

static inline void record(struct histogram* h, uint64_t value) {
  ++h->buckets[bucket_of(value)];
  ++h->total;
  if (value > h->largest) h->largest = value;
}

static inline void forget(struct histogram* h) { memset(h, 0, sizeof *h); }

// percentile is in the unit of the values; 0 if there are none.
static inline double percentile(const struct histogram* h, double share) {
  const uint64_t rank = (uint64_t)((double)h->total * share);
  uint64_t seen = 0;
  for (unsigned b = 0; b < bucket_count; ++b) {
    seen += h->buckets[b];
    if (seen > rank) return (double)middle_of(b);
  }
  return 0;
}

#endif
