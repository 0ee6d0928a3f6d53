// weft::lock_check beside an allocator that locks: malloc of the whole program, under one mutex that can be taken once, and
// another one inside of it.
#include "tcp_pair.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

// glibc's malloc, whose own locks are none of pthread's.
extern "C" {
void* __libc_malloc(std::size_t) noexcept;
void* __libc_calloc(std::size_t, std::size_t) noexcept;
void* __libc_realloc(void*, std::size_t) noexcept;
void* __libc_memalign(std::size_t, std::size_t) noexcept;
void __libc_free(void*) noexcept;
}

namespace {

pthread_mutex_t heap_lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
pthread_mutex_t pages_lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
std::atomic<long> by_fibers{0};

// Everything that comes back to malloc from inside of it ends here.
[[noreturn]] void die(const char* text) {
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, text, std::strlen(text));
  ::abort();
}

class in_heap {
 public:
  in_heap() noexcept {
    if (pthread_mutex_lock(&heap_lock) != 0 || pthread_mutex_lock(&pages_lock) != 0) die("malloc within malloc\n");
    if (weft::sched::current_scheduler() != nullptr) by_fibers.fetch_add(1, std::memory_order_relaxed);
  }
  ~in_heap() {
    if (pthread_mutex_unlock(&pages_lock) != 0 || pthread_mutex_unlock(&heap_lock) != 0) die("malloc holds no lock\n");
  }
  in_heap(const in_heap&) = delete;
  in_heap& operator=(const in_heap&) = delete;
};

}  // namespace

extern "C" {
void* malloc(std::size_t size) noexcept {
  const in_heap lock;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  const in_heap lock;
  return __libc_calloc(count, size);
}
void* realloc(void* p, std::size_t size) noexcept {
  const in_heap lock;
  return __libc_realloc(p, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  const in_heap lock;
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }
int posix_memalign(void** p, std::size_t alignment, std::size_t size) noexcept {
  *p = memalign(alignment, size);
  return *p == nullptr ? ENOMEM : 0;
}
void free(void* p) noexcept {
  const in_heap lock;
  __libc_free(p);
}
}

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;

// churn allocates, frees and throws for a while; `rest` is called in between.
template <class Rest>
std::size_t churn(int rounds, unsigned seed, Rest rest) {
  std::vector<std::string> kept(16);
  std::size_t caught = 0;
  for (int i = 0; i < rounds; ++i) {
    seed = seed * 1664525 + 1013904223;
    kept[seed >> 28].assign(seed >> 20, 'x');
    try {
      if (seed % 4 == 0) throw std::runtime_error(kept[seed >> 28]);
    } catch (const std::runtime_error& e) {
      caught += std::strlen(e.what()) != 0;
      rest(i);
    }
    if (i % 8 == 0) rest(i);
  }
  return caught;
}

// covers O34
TEST(LockCheckAllocator, ManyThreadsAndFibersAllocateAndPark) {
  const int rounds = scaled(1000);
  const long before = by_fibers;
  std::mutex between;
  on_fibers([&] {
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        while (!over) churn(100, t, [](int) {});
      });
    }
    std::vector<weft::fiber<void>> all;
    for (unsigned f = 0; f < 50; ++f) {
      all.push_back(weft::spawn([&, f] {
        churn(rounds, f, [&](int i) {
          {
            const std::lock_guard guard(between);
            delete new int(i);
          }
          i % 64 == 0 ? weft::this_fiber::sleep_for(10us) : weft::this_fiber::yield();
        });
      }));
    }
    for (auto& f : all) f.join();
    over = true;
    weft::blocking([&] {
      for (auto& t : threads) t.join();
    });
  });
  EXPECT_GT(by_fibers - before, 50 * rounds);
}

class LockCheckAllocatorDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// covers O34
TEST_F(LockCheckAllocatorDeathTest, TheAllocatorsOwnLockIsLikeAnyOther) {
  // And nothing that is done for the report comes back to malloc.
  EXPECT_EXIT(weft::run([] {
                const in_heap lock;
                for (int i = 0; i < 1000; ++i) weft::this_fiber::yield();
              }),
              ::testing::KilledBySignal(SIGABRT), "fatal: fiber [0-9]+ 'main' yields while it holds the pthread mutex");
}

}  // namespace
