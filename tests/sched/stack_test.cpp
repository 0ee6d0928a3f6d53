// Stacks: layout, guards, the pool, and what happens without memory.
#include <support/engine.hpp>

#include <stack_guard.hpp>
#include <stack_pool.hpp>
#include <stack_slab.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(WEFT_ASAN) || defined(WEFT_TSAN)
#define WEFT_SANITIZED 1
#endif

namespace {

using namespace weft;
using namespace weft::testing;
using sched::guard_kind;

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

// Asks the kernel itself: MADV_GUARD_INSTALL.
[[maybe_unused]] bool markers_work() {
  void* p = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool works = ::madvise(p, 4096, 102) == 0;
  ::munmap(p, 4096);
  return works;
}

TEST(StackLayout, IsWholePagesAndNeverAPowerOfTwo) {
  for (std::size_t wanted :
       {0u, 1u, 4096u, 16384u, 16385u, 65536u, 200'000u, 262'144u, 458'752u, 983'040u, 8'388'608u}) {
    const auto layout = sched::stack_layout::for_size(wanted);
    EXPECT_GE(layout.usable, wanted);
    EXPECT_GE(layout.usable, 16384u);
    EXPECT_EQ(layout.usable % 4096, 0u);
    EXPECT_GE(layout.stride, layout.usable + sched::guard_size);
    EXPECT_EQ(layout.stride % 4096, 0u);
    EXPECT_NE(layout.stride & (layout.stride - 1), 0u) << wanted;
  }
}

TEST(StackSlab, SlotsAreApartAndTopsAreColoured) {
  const auto layout = sched::stack_layout::for_size(64 * 1024);
  auto slab = sched::stack_slab::map(layout, 40);
  ASSERT_NE(slab, nullptr);
  std::set<std::uintptr_t> offsets;
  std::byte* last_top = nullptr;
  for (int i = 0; i < 40; ++i) {
    sched::fiber* f = slab->carve(guard_kind::marker);
    ASSERT_NE(f, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(f) % 64, 0u);
    EXPECT_GE(static_cast<std::size_t>(f->stack_top() - f->stack_bottom), layout.usable - 4096);
    // A guard lies between the top of the one before and this bottom.
    EXPECT_TRUE(last_top == nullptr || f->stack_bottom >= last_top + sched::guard_size);
    last_top = reinterpret_cast<std::byte*>(f + 1);
    offsets.insert(reinterpret_cast<std::uintptr_t>(f) % 4096);
  }
  EXPECT_EQ(slab->carve(guard_kind::marker), nullptr);
  EXPECT_EQ(offsets.size(), 16u);
}

TEST(StackPool, GivesOutWhatCameBackAndNothingTwice) {
  engine e(1);
  sched::stack_pool pool(*e, 64 * 1024, guard_kind::marker);
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::vector<sched::fiber*> out;
  std::set<sched::fiber*> ever;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0 && out.size() < 200) {
      for (sched::fiber* f = pool.take(1 + random() % 32); f != nullptr;) {
        sched::fiber* next = f->link;
        ASSERT_EQ(std::count(out.begin(), out.end(), f), 0) << "given out twice";
        *f->stack_bottom = std::byte{1};
        out.push_back(f);
        ever.insert(f);
        f = next;
      }
    } else if (!out.empty()) {
      std::swap(out[random() % out.size()], out.back());
      pool.give(out.back(), out.back(), 1);
      out.pop_back();
    }
    if (random() % 16 == 0) {
      // Nobody holds the address of a free one here: they may go back at once.
      pool.begin_span(random() % 20);
      pool.set_aside(random() % 40);
      if (random() % 2 == 0) pool.give_back();
    }
  }
  EXPECT_LE(ever.size(), 240u);  // new ones are carved only when none is free
  for (sched::fiber* f : out) pool.give(f, f, 1);
}

TEST(StackSlab, AStrippedSlotIsCarvedAnewWithItsGuard) {
  for (const guard_kind kind : {guard_kind::marker, guard_kind::canary}) {
    const auto layout = sched::stack_layout::for_size(64 * 1024);
    auto slab = sched::stack_slab::map(layout, 4);
    ASSERT_NE(slab, nullptr);
    sched::fiber* const first = slab->carve(kind);
    sched::fiber* const second = slab->carve(kind);
    std::byte* const bottom = second->stack_bottom;
    bottom[8192] = std::byte{77};
    second->id.store(4711);
    second->slot->store(6);  // free, in its third generation
    const auto* const slot = second->slot;
    sched::stack_slab::strip(second);
    slab->put_back(second);
    EXPECT_EQ(slab->built(), 1u);
    EXPECT_FALSE(slab->bare());
    EXPECT_EQ(bottom[8192], std::byte{0});
    ASSERT_EQ(slab->carve(kind), second);  // rather than a virgin one
    EXPECT_EQ(second->id.load(), 0u);
    EXPECT_EQ(second->stack_bottom, bottom);
    EXPECT_EQ(second->slot, slot);
    EXPECT_EQ(second->slot->load(), 6u);
    EXPECT_EQ(second->canary != nullptr, kind == guard_kind::canary || first->canary != nullptr);
    EXPECT_EQ(second->canary == nullptr ? sched::canary_value : *second->canary, sched::canary_value);
  }
}

TEST(StackSlab, ABareOneIsScouredAndBeginsAnew) {
  const auto layout = sched::stack_layout::for_size(64 * 1024);
  auto slab = sched::stack_slab::map(layout, 3);
  ASSERT_NE(slab, nullptr);
  EXPECT_FALSE(slab->bare());
  std::vector<sched::fiber*> all;
  while (sched::fiber* f = slab->carve(guard_kind::mprotect)) all.push_back(f);
  ASSERT_EQ(all.size(), 3u);
  for (sched::fiber* f : all) {
    EXPECT_FALSE(slab->bare());
    sched::stack_slab::strip(f);
    slab->put_back(f);
  }
  EXPECT_TRUE(slab->bare());
  ASSERT_TRUE(slab->scour());
  EXPECT_FALSE(slab->bare());
  slab->for_each_in_use([](sched::fiber&) { ADD_FAILURE(); });
  for (sched::fiber* f : all) EXPECT_EQ(slab->carve(guard_kind::marker), f);
  EXPECT_EQ(slab->carve(guard_kind::marker), nullptr);
  EXPECT_EQ(slab->built(), 3u);
}

TEST(StackSlab, WithoutMappingsABareOneStaysAsItIs) {
#if defined(WEFT_SANITIZED)
  GTEST_SKIP() << "the sanitizer's own mappings count too";
#else
  std::size_t most = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> most;
  if (most > 200'000) GTEST_SKIP() << "the limit of mappings is too high to be reached here";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto child = [most] {
    auto slab = sched::stack_slab::map(sched::stack_layout::for_size(64 * 1024), 3);
    sched::fiber* const f = slab->carve(guard_kind::canary);
    sched::stack_slab::strip(f);
    slab->put_back(f);
    auto* room = static_cast<std::byte*>(
        ::mmap(nullptr, (most + 10) * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    for (std::size_t i = 1; i < most + 10 && ::mprotect(room + i * 4096, 4096, PROT_READ) == 0; i += 2) {
    }
    while (::mmap(nullptr, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
    }
    const bool kept = slab->scour();
    const bool usable = !kept || slab->carve(guard_kind::canary) == f;
    ::munmap(room, (most + 10) * 4096);
    slab.reset();
    std::_Exit(usable ? 0 : 1);
  };
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(0), "");
#endif
}

TEST(StackPool, OnlyWhatNobodyNeededForASpanGoesBack) {
  engine e(1);
  sched::stack_pool pool(*e, 64 * 1024, guard_kind::marker);
  std::vector<sched::fiber*> all;
  for (int i = 0; i < 20; ++i) all.push_back(pool.take(1));
  for (sched::fiber* f : all) pool.give(f, f, 1);
  EXPECT_TRUE(pool.begin_span(4));  // all were needed in the one that ends
  EXPECT_EQ(pool.set_aside(100), 0u);
  EXPECT_FALSE(pool.any_aside());
  for (int i = 0; i < 6; ++i) all[static_cast<std::size_t>(i)] = pool.take(1);
  for (int i = 0; i < 6; ++i) pool.give(all[static_cast<std::size_t>(i)], all[static_cast<std::size_t>(i)], 1);
  EXPECT_TRUE(pool.begin_span(4));  // 14 were not
  EXPECT_EQ(pool.set_aside(3), 7u);
  EXPECT_EQ(pool.set_aside(100), 0u);
  EXPECT_EQ(pool.count().warm, 20u);  // until they are given back
  EXPECT_EQ(pool.give_back(), 0u);
  EXPECT_EQ(pool.count().warm, 10u);
  EXPECT_EQ(pool.count().free, 20u);
  EXPECT_EQ(pool.count().stacks, 20u);
  EXPECT_TRUE(pool.begin_span(4));
  EXPECT_EQ(pool.set_aside(100), 0u);
  EXPECT_EQ(pool.give_back(), 0u);
  EXPECT_FALSE(pool.begin_span(4));
  EXPECT_EQ(pool.count().warm, 4u);
  // All come again, and no others.
  std::set<sched::fiber*> again;
  for (int i = 0; i < 20; ++i) again.insert(pool.take(1));
  EXPECT_EQ(again.size(), 20u);
  EXPECT_EQ(pool.count().stacks, 20u);
  EXPECT_EQ(pool.count().free, 0u);
  for (sched::fiber* f : again) {
    EXPECT_EQ(f->home, &*e);
    EXPECT_EQ(f->pool, &pool);
    pool.give(f, f, 1);
  }
}

TEST(StackPool, AStackWhoseAlarmIsInAHeapStays) {
  engine e(1);
  sched::stack_pool pool(*e, 64 * 1024, guard_kind::marker);
  sched::fiber* const f = pool.take(1);
  ASSERT_NE(f, nullptr);
  ASSERT_TRUE(f->sleep.alarm.arm(*e, sched::never - 1, [](void*, std::uint32_t) noexcept {}, nullptr, 0));
  f->sleep.alarm.stop();
  pool.give(f, f, 1);
  (void)pool.begin_span(0);
  (void)pool.begin_span(0);
  EXPECT_EQ(pool.set_aside(1), 0u);
  EXPECT_EQ(pool.give_back(), 1u);
  EXPECT_EQ(pool.count().warm, 1u);
  e->shared_timers.purge();
  (void)pool.begin_span(0);
  (void)pool.begin_span(0);
  EXPECT_EQ(pool.set_aside(1), 0u);
  EXPECT_EQ(pool.give_back(), 0u);
  EXPECT_EQ(pool.count().warm, 0u);
}

TEST(RegistryReaders, AreSeenAsLongAsTheyRead) {
  sched::registry_readers readers;
  EXPECT_TRUE(readers.none());
  {
    const sched::registry_readers::reading one(readers);
    const sched::registry_readers::reading two(readers);
    EXPECT_FALSE(readers.none());
  }
  EXPECT_TRUE(readers.none());
}

TEST(StackCache, SpillsItsOldestInBatches) {
  engine e(1);
  sched::stack_pool pool(*e, 64 * 1024, guard_kind::marker);
  sched::stack_cache cache;
  std::vector<sched::fiber*> all;
  for (std::size_t i = 0; i < 2 * sched::stack_cache::batch - 1; ++i) {
    sched::fiber* f = pool.take(1);
    f->link = nullptr;
    f->pool = &pool;
    all.push_back(f);
  }
  for (sched::fiber* f : all) cache.give(f);
  EXPECT_EQ(cache.count(), 2 * sched::stack_cache::batch - 1);
  sched::fiber* newest = pool.take(1);
  cache.give(newest);
  EXPECT_EQ(cache.count(), sched::stack_cache::batch);
  EXPECT_EQ(cache.take(pool), newest);
  // Those that were spilled are the first that came.
  std::set<sched::fiber*> spilled;
  for (sched::fiber* f = pool.take(sched::stack_cache::batch); f != nullptr; f = f->link) spilled.insert(f);
  EXPECT_EQ(spilled, std::set<sched::fiber*>(all.begin(), all.begin() + sched::stack_cache::batch));
}

TEST(Stack, SteadySpawningMapsNothing) {
#if defined(WEFT_SANITIZED)
  GTEST_SKIP() << "the sanitizer maps its own";
#endif
  engine e(1);  // more workers would bring their own threads and arenas
  const auto churn = [&] {
    for (int r = 0; r < 20; ++r) {
      std::vector<task> tasks;
      for (int i = 0; i < 100; ++i) tasks.push_back(e.spawn([] { sched::yield(); }));
    }
  };
  e.run(churn);
  const auto before = mappings();
  for (int i = 0; i < 5; ++i) e.run(churn);
  EXPECT_LE(mappings(), before + 2);
}

TEST(Stack, SizesOfOnesOwn) {
  engine e;
  sched::fiber_options large;
  large.stack_size = 4 * 1024 * 1024;
  sched::fiber_options small;
  small.stack_size = 1;
  for (int i = 0; i < 3; ++i) {
    task t = e.spawn(
        [] {
          volatile char room[3 * 1024 * 1024];
          for (std::size_t k = 0; k < sizeof room; k += 4096) room[k] = 1;
          sched::yield();
          EXPECT_EQ(room[4096], 1);
        },
        large);
    task s = e.spawn([] { sched::yield(); }, small);
  }
}

// covers L159
TEST(Stack, AHundredThousandFibersWithGuardsFitTheDefaultNumberOfMappings) {
#if defined(WEFT_SANITIZED)
  GTEST_SKIP() << "the sanitizer's own memory is the limit here";
#else
  if (!markers_work()) GTEST_SKIP() << "this kernel has no guard markers";
  constexpr int n = 100'000;
  engine e;
  std::atomic<int> parked{0};
  const auto before = mappings();
  for (int i = 0; i < n; ++i) {
    sched::fiber* f = make_fiber(
        *e,
        [&] {
          parked.fetch_add(1);
          (void)sched::sleep_until(sched::never);
        },
        sched::handle::none);
    ASSERT_NE(f, nullptr) << i;
    EXPECT_EQ(f->canary, nullptr);
    sched::start(*f);
  }
  ASSERT_TRUE(spin_until([&] { return parked.load() == n; }));
  EXPECT_LE(mappings(), before + 1000);
  sched::stop_all(*e);
#endif
}

// Overflow

// Frames of `size` bytes without probes, as a distribution's library may have them: each touches its far end only.
template <std::size_t Size>
[[gnu::noinline]] int sink(int depth) {
  volatile char frame[Size];
  frame[0] = static_cast<char>(depth);
  asm volatile("" ::"r"(frame) : "memory");
  return depth == 0 ? frame[0] : sink<Size>(depth - 1) + frame[0];
}

// Calls a function with a frame of 33 KB, as a distribution's library may have one, when 1 KiB of the stack is left.
[[gnu::noinline]] void call_with_little_left() {
  std::byte here{};
  const auto left = &here - sched::current_fiber()->stack_bottom;
  auto* below = static_cast<volatile std::byte*>(__builtin_alloca(static_cast<std::size_t>(left) - 1024));
  asm volatile("" ::"r"(below) : "memory");
  int (*volatile call)(int) = sink<33 * 1024>;
  call(0);
}

// What the guard below the calling fiber's stack is.
void expect_guard(guard_kind kind) {
  sched::fiber* f = sched::current_fiber();
  if ((f->canary != nullptr) != (kind == guard_kind::canary)) {
    std::fprintf(stderr, "another guard than expected\n");
    std::_Exit(3);
  }
}

// Runs f on a fiber whose stack has a guard of `kind` at most.
template <class F>
void on_guarded(guard_kind kind, F f) {
  engine e(1);
  sched::stack_pool pool(*e, 64 * 1024, kind);
  // Taken as create_fiber takes its stacks, but from a pool of our own; the second slot, so that another stack lies
  // below.
  sched::fiber* below = pool.take(1);
  sched::fiber* stack = pool.take(1);
  if (stack->stack_bottom < below->stack_bottom) std::swap(stack, below);
  stack->link = nullptr;
  const auto usual = e->stacks;
  e->stacks = &pool;
  pool.give(stack, stack, 1);
  sched::fiber_options options;
  sched::fiber* made = make_fiber(*e, f, sched::handle::one, options);
  e->stacks = usual;
  sched::start(*made);
  { task t(made); }
}

class OverflowDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
#if defined(WEFT_SANITIZED)
    GTEST_SKIP() << "the sanitizer reports the fault itself";
#endif
  }
};

// covers L159
TEST_F(OverflowDeathTest, RecursionMeetsTheGuard) {
  EXPECT_EXIT(on_guarded(guard_kind::marker,
                         [] {
                           sink<512>(1'000'000);
                           std::_Exit(9);
                         }),
              ::testing::KilledBySignal(SIGSEGV), "");
}

// covers L159
TEST_F(OverflowDeathTest, AFrameOf33KilobytesDoesNotStepOverTheGuard) {
  EXPECT_EXIT(on_guarded(guard_kind::marker,
                         [] {
                           expect_guard(guard_kind::marker);
                           call_with_little_left();
                           std::_Exit(9);  // not stopped: what lies below is in pieces
                         }),
              ::testing::KilledBySignal(SIGSEGV), "");
}

// covers L159
TEST_F(OverflowDeathTest, WithoutMarkersAProtectedMappingFaultsToo) {
  EXPECT_EXIT(on_guarded(guard_kind::mprotect,
                         [] {
                           expect_guard(guard_kind::mprotect);
                           call_with_little_left();
                           std::_Exit(9);  // not stopped: what lies below is in pieces
                         }),
              ::testing::KilledBySignal(SIGSEGV), "");
}

// covers L159
TEST_F(OverflowDeathTest, WithoutBothTheCanaryTellsWhenTheFiberIsLeft) {
  EXPECT_DEATH(on_guarded(guard_kind::canary,
                          [] {
                            expect_guard(guard_kind::canary);
                            sched::set_name(*sched::current_fiber(), "too deep");
                            // To the lowest word and no further: below lies whatever the mapping holds.
                            std::memset(sched::current_fiber()->stack_bottom, 0, 8);
                            sched::yield();
                            sched::park({[](sched::waiter, void*, std::uintptr_t) noexcept { return false; }},
                                        sched::wait_reason::none);
                          }),
               "weft: fatal: stack overflow of fiber [0-9]+ 'too deep'");
}

TEST(StackGuard, FallsBackStepByStep) {
  const std::size_t size = 2 * sched::guard_size;
  auto* p = static_cast<std::byte*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_EQ(sched::install_guard(p, guard_kind::canary), guard_kind::canary);
  *p = std::byte{1};  // nothing guards it
  EXPECT_EQ(sched::install_guard(p, guard_kind::mprotect), guard_kind::mprotect);
  sched::forget_guard(guard_kind::mprotect);
  ::munmap(p, size);
}

TEST(StackGuard, NoMoreProtectedMappingsThanAQuarterOfTheLimit) {
#if defined(WEFT_SANITIZED)
  GTEST_SKIP() << "the sanitizer's own mappings count too";
#else
  std::ifstream limit("/proc/sys/vm/max_map_count");
  std::size_t most = 0;
  limit >> most;
  if (most > 200'000) GTEST_SKIP() << "the limit is too high to be reached here";
  // Every second page: each guard costs two mappings.
  std::vector<std::byte*> slots;
  const std::size_t stride = 2 * sched::guard_size;
  const std::size_t n = most / 4 + 100;
  auto* p = static_cast<std::byte*>(
      ::mmap(nullptr, n * stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  ASSERT_NE(p, MAP_FAILED);
  std::size_t guarded = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (sched::install_guard(p + i * stride, guard_kind::mprotect) == guard_kind::mprotect) ++guarded;
  }
  EXPECT_LE(guarded, most / 4);
  EXPECT_GE(guarded, most / 4 - 100);
  for (std::size_t i = 0; i < guarded; ++i) sched::forget_guard(guard_kind::mprotect);
  ::munmap(p, n * stride);
#endif
}

// Without memory

TEST(StackMemory, SpawningWithoutAddressSpaceReturnsNullAndTheRestRunsOn) {
#if defined(WEFT_SANITIZED)
  GTEST_SKIP() << "the sanitizer needs the address space";
#else
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto child = [] {
    engine e(1);
    std::atomic<int> ticks{0};
    std::atomic<bool> stop{false};
    e.go([&] {
      while (!stop.load()) {
        (void)sched::sleep_until(sched::after(100 * microsecond));
        ticks.fetch_add(1);
      }
    });
    if (!spin_until([&] { return ticks.load() > 0; })) std::_Exit(3);  // its timer's heap has room by now
    // What is used now, and a little.
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most = static_cast<rlim_t>(pages) * 4096 + 64 * 1024 * 1024;
    const rlimit l{most, most};
    if (::setrlimit(RLIMIT_AS, &l) != 0) std::_Exit(2);
    int made = 0;
    int refused = 0;
    std::vector<sched::fiber*> parked;
    while (refused < 10 && made < 100'000) {
      sched::fiber* f = make_fiber(
          *e, [] { (void)sched::sleep_until(sched::never); }, sched::handle::one);
      if (f == nullptr) {
        ++refused;
        continue;
      }
      ++made;
      sched::start(*f);
      parked.push_back(f);
    }
    if (refused != 10 || made < 32) std::_Exit(4);
    // A larger stack is refused as well; those that exist go on, and stacks that come back are given out again.
    sched::fiber_options large;
    large.stack_size = 1024u * 1024 * 1024;
    if (make_fiber(
            *e, [] {}, sched::handle::none, large) != nullptr)
      std::_Exit(5);
    const int before = ticks.load();
    if (!spin_until([&] { return ticks.load() > before + 3; })) std::_Exit(6);
    for (sched::fiber* f : parked) {
      sched::request_stop(*f);
      task t(f);
    }
    sched::fiber* again = make_fiber(
        *e, [] {}, sched::handle::one);
    if (again == nullptr) std::_Exit(7);
    sched::start(*again);
    { task t(again); }
    stop.store(true);
    if (!sched::drain(*e, sched::after(patience))) std::_Exit(8);
    std::_Exit(0);
  };
  EXPECT_EXIT(child(), ::testing::ExitedWithCode(0), "");
#endif
}

}  // namespace
