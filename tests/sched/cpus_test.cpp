// How many processors a scheduler has by itself.
#include <support/engine.hpp>

#include <thread>

#include <sched.h>

namespace {

using namespace weft;
using namespace weft::testing;

// Puts the calling thread's mask back.
struct affinity {
  affinity() { ::sched_getaffinity(0, sizeof before, &before); }
  ~affinity() { ::sched_setaffinity(0, sizeof before, &before); }
  cpu_set_t before{};
};

TEST(Cpus, AtLeastOneAndNotMoreThanTheMask) {
  affinity a;
  EXPECT_GE(sched::available_cpus(), 1u);
  EXPECT_LE(sched::available_cpus(), static_cast<unsigned>(CPU_COUNT(&a.before)));
}

TEST(Cpus, TheAffinityMaskCounts) {
  affinity a;
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &a.before)) {
      CPU_SET(i, &one);
      break;
    }
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(sched::available_cpus(), 1u);
  engine e(0);
  EXPECT_EQ(sched::stats_of(*e).processors, 1u);
}

}  // namespace
