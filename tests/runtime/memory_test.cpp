// What fibers take, give back, and do without: a million of them with guards, spikes, and memory that has run out.
#include "tcp_pair.hpp"

#include <control_block.hpp>
#include <current.hpp>
#include <stack_guard.hpp>

#include <weft/weft.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using namespace testing_support;

constexpr std::size_t page = 4096;

std::size_t resident_bytes() { return value_of("VmRSS") * 1024; }
std::size_t page_table_bytes() { return value_of("VmPTE") * 1024; }

std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

// available_bytes is what the machine has left.
std::size_t available_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string word; info >> word;) {
    std::size_t kilobytes = 0;
    if (word == "MemAvailable:" && info >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

bool markers_work() {
  void* p = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool works = ::madvise(p, page, 102) == 0;  // MADV_GUARD_INSTALL
  ::munmap(p, page);
  return works;
}

// A spot is where a parked fiber's stack ends.
std::byte* bottom_of_caller() { return weft::sched::current_fiber()->stack_bottom; }

// The system itself is asked whether an address can be read: EFAULT if not.
class prober {
 public:
  prober() { EXPECT_EQ(::pipe2(ends_.data(), O_CLOEXEC), 0); }
  ~prober() {
    for (const int fd : ends_) ::close(fd);
  }
  prober(const prober&) = delete;
  prober& operator=(const prober&) = delete;

  bool readable(const std::byte* address) const {
    const ssize_t n = ::write(ends_[1], address, 1);
    char taken;
    return n == 1 && ::read(ends_[0], &taken, 1) == 1;
  }

 private:
  std::array<int, 2> ends_{};
};

// parked_fibers are fibers that wait until they are let go.
class parked_fibers {
 public:
  // park starts n fibers that call use() and wait, and returns when all do.
  template <class Use>
  void park(std::size_t n, Use use) {
    bottoms_.resize(n);
    parked_.add(static_cast<std::ptrdiff_t>(n));
    ended_.add(static_cast<std::ptrdiff_t>(n));
    for (std::size_t i = 0; i < n; ++i) {
      weft::go([this, i, use] {
        use();
        bottoms_[i] = bottom_of_caller();
        parked_.done();
        open_.wait();
        ended_.done();
      });
      weft::this_fiber::checkpoint();
    }
    parked_.wait();
  }
  // wake lets all go, and returns when all have gone on.
  void wake() {
    open_.set();
    ended_.wait();
  }
  const std::vector<std::byte*>& bottoms() const { return bottoms_; }

 private:
  std::vector<std::byte*> bottoms_;
  weft::wait_group parked_;
  weft::wait_group ended_;
  weft::event open_;
};

[[gnu::noinline]] void touch_stack(std::size_t size) {
  auto* room = static_cast<volatile char*>(__builtin_alloca(size));
  for (std::size_t i = 0; i < size; i += page / 2) room[i] = 1;
}

bool touching_ends_by_sigsegv(std::byte* address) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    *reinterpret_cast<volatile char*>(address) = 1;
    ::_exit(0);
  }
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

// covers O40
TEST(Memory, AMillionParkedFibersHaveGuardsAndAllWake) {
  std::size_t n = static_cast<std::size_t>(scaled(1'000'000));
  if (sanitized) n = std::min<std::size_t>(n, 2000);  // a sanitizer keeps too much of each
  // A page, its share of page tables, and what else is written once.
  const std::size_t needed = n * (page + 2048);
  if (available_bytes() < needed + needed / 4) GTEST_SKIP() << "not enough memory for " << n << " fibers";
  weft::runtime_options options;
  options.hog_threshold = 0s;  // a fork of so large a process takes its time
  on_fibers([n] {
    const std::size_t mappings_before = mappings();
    const std::size_t resident_before = resident_bytes();
    parked_fibers fibers;
    fibers.park(n, [] {});
    RecordProperty("resident_bytes_each", static_cast<int>((resident_bytes() - resident_before) / n));
    RecordProperty("page_table_bytes_each", static_cast<int>(page_table_bytes() / n));
    if (markers_work() && !sanitized) {
      // A slab of 2048 stacks is a mapping at most. By default, a process may have 65530.
      EXPECT_LE(mappings(), mappings_before + n / 2048 + 100);
      EXPECT_LE(resident_bytes() - resident_before, n * (page + 512) + 64 * 1024 * 1024);
      const prober memory;
      std::size_t open = 0;
      for (std::size_t i = 0; i < n; i += 7) {
        std::byte* const bottom = fibers.bottoms()[i];
        const std::byte* const guard = bottom - weft::sched::guard_size;
        open += memory.readable(bottom - 1) || memory.readable(guard) || !memory.readable(bottom);
      }
      EXPECT_EQ(open, 0u) << "stacks without a guard";
      EXPECT_TRUE(touching_ends_by_sigsegv(fibers.bottoms()[n / 2] - 1));
      EXPECT_FALSE(touching_ends_by_sigsegv(fibers.bottoms()[n / 2]));
    }
    fibers.wake();
  }, options);
}

struct spike {
  const char* name;
  std::size_t fibers;
  std::size_t touched;
};

class Spikes : public ::testing::TestWithParam<spike> {};

// covers O41
TEST_P(Spikes, GiveTheirMemoryBack) {
  if (sanitized) GTEST_SKIP() << "the sanitizer keeps memory of its own";
  const spike p = GetParam();
  const std::size_t n = static_cast<std::size_t>(scaled(static_cast<int>(p.fibers)));
  const std::size_t each = p.touched + 2 * page;
  if (available_bytes() < n * each + n * each / 4) GTEST_SKIP() << "not enough memory for " << n << " fibers";
  weft::runtime rt;
  rt.spawn([] { touch_stack(1024); }).join();
  const std::size_t before = resident_bytes();
  const std::size_t tables_before = page_table_bytes();
  std::size_t during = 0;
  std::size_t tables_during = 0;
  const auto once = [&] {
    rt.spawn([&] {
      parked_fibers fibers;
      fibers.park(n, [touched = p.touched] { touch_stack(touched); });
      during = resident_bytes();
      tables_during = page_table_bytes();
      fibers.wake();
    }).join();
  };
  once();
  EXPECT_GE(during - before, n * p.touched);
  const auto spent = [&] { return resident_bytes() - std::min(before, resident_bytes()); };
  // What may stay: some hundred stacks in the pool and with the processors, and 64 bytes a stack of the slabs' own books.
  const std::size_t warm = 256 + 64 * rt.stats().workers;
  const std::size_t may_stay = warm * each + n * 64 + 4 * 1024 * 1024;
  const auto end = std::chrono::steady_clock::now() + 60s;
  while ((rt.stats().warm_stacks > 256 || spent() > may_stay) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(50ms);
  }
  const weft::runtime_stats stats = rt.stats();
  EXPECT_LE(stats.warm_stacks, 256u);
  EXPECT_GE(stats.free_stacks, n - 64 * stats.workers);
  EXPECT_GE(stats.stacks, n);
  EXPECT_LE(spent(), may_stay);
  // Page tables go with the slabs that are all free.
  EXPECT_LE(page_table_bytes() - std::min(tables_before, page_table_bytes()),
            (tables_during - tables_before) / 4 + 2 * 1024 * 1024);
  std::printf("%zu fibers: resident %zu KiB before, %zu during, %zu after; page tables %zu, %zu, %zu KiB\n", n, before / 1024,
              during / 1024, resident_bytes() / 1024, tables_before / 1024, tables_during / 1024, page_table_bytes() / 1024);
  // The same again, on the same address space.
  once();
  EXPECT_LE(rt.stats().stack_bytes, stats.stack_bytes + stats.stack_bytes / 4);
}

INSTANTIATE_TEST_SUITE_P(Memory, Spikes,
                         ::testing::Values(spike{"shallow", 100'000, 0}, spike{"deep", 100'000, 32 * 1024}),
                         [](const auto& instance) { return instance.param.name; });

// Each sleeper leaves a timer in a heap, which lies in its stack: that must not keep the stacks.
// covers O41
TEST(Memory, StacksOfStoppedSleepersGoBackToo) {
  if (sanitized) GTEST_SKIP() << "the sanitizer keeps memory of its own";
  const int n = std::max(scaled(20'000), 2000);
  weft::runtime rt;
  rt.spawn([&] {
    weft::task_group<> group;
    for (int i = 0; i < n; ++i) group.spawn([] { weft::this_fiber::sleep_for(1h); });
    weft::this_fiber::sleep_for(1ms);
    group.request_stop();
    group.join();
  }).join();
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (rt.stats().warm_stacks > 256 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(20ms);
  EXPECT_LE(rt.stats().warm_stacks, 256u);
}

// Without memory

// without_markers makes the system refuse guard markers, as one before Linux 6.13 does, from now on and for new threads.
bool without_markers() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Fills the process's mappings up to the system's limit, or gives its address space a bound.
class shortage {
 public:
  virtual ~shortage() = default;
  virtual void begin() = 0;
  virtual void end() = 0;
};

class of_address_space final : public shortage {
 public:
  void begin() override {
    if (::getrlimit(RLIMIT_AS, &before_) != 0) std::_Exit(20);
    rlimit little = before_;
    little.rlim_cur = value_of("VmSize") * 1024 + 64 * 1024 * 1024;
    if (::setrlimit(RLIMIT_AS, &little) != 0) std::_Exit(20);
  }
  void end() override {
    if (::setrlimit(RLIMIT_AS, &before_) != 0) std::_Exit(20);
  }

 private:
  rlimit before_{};
};

class of_mappings final : public shortage {
 public:
  void begin() override {
    std::ifstream("/proc/sys/vm/max_map_count") >> most_;
    size_ = (most_ + 10) * page;
    room_ = static_cast<std::byte*>(
        ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (room_ == MAP_FAILED) std::_Exit(20);
    // Every second page another protection: two mappings each.
    for (std::size_t i = 1; i < most_ + 10; i += 2) {
      if (::mprotect(room_ + i * page, page, PROT_READ) != 0) return;
    }
  }
  void end() override { ::munmap(room_, size_); }
  std::size_t most() const { return most_; }

 private:
  std::size_t most_ = 0;
  std::size_t size_ = 0;
  std::byte* room_ = nullptr;
};

// spawn_until_refused starts fibers that wait, until ten times none could be started; with the error that is documented.
std::size_t spawn_until_refused(std::vector<weft::fiber<int>>& all, weft::event& open, std::size_t at_most) {
  int refused = 0;
  const std::size_t before = all.size();
  while (refused < 10 && all.size() - before < at_most) {
    try {
      all.push_back(weft::spawn([&open] {
        open.wait();
        return 7;
      }));
    } catch (const std::system_error& e) {
      if (e.code() != std::errc::not_enough_memory) std::_Exit(11);
      ++refused;
      weft::this_fiber::yield();
    }
  }
  if (refused != 10) std::_Exit(12);
  return all.size() - before;
}

// outlive is what a child does: a shortage comes and goes while others run.
void outlive(shortage& s, bool markers, std::size_t at_least) {
  if (!markers && !without_markers()) std::_Exit(77);
  weft::runtime rt;
  rt.spawn([&] {
    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> ticks{0};
    std::atomic<std::uint64_t> echoes{0};
    weft::fiber<void> ticker = weft::spawn([&] {
      while (!over.load()) {
        weft::this_fiber::sleep_for(100us);
        ticks.fetch_add(1);
      }
    });
    tcp_pair pair = connected_pair();
    weft::fiber<void> server = weft::spawn([&] {
      std::array<char, 16> buffer;
      while (const std::size_t n = pair.server.read_some(buffer)) pair.server.write(std::span(buffer).first(n));
    });
    weft::fiber<void> client = weft::spawn([&] {
      std::array<char, 4> buffer{};
      while (!over.load()) {
        pair.client.write(std::string_view("ping"));
        if (pair.client.read_full(buffer) != 4) std::_Exit(13);
        echoes.fetch_add(1);
        weft::this_fiber::sleep_for(100us);
      }
      pair.client.close();
    });
    const auto others_get_on = [&] {
      const std::uint64_t t = ticks.load();
      const std::uint64_t e = echoes.load();
      const auto end = std::chrono::steady_clock::now() + 20s;
      while (ticks.load() < t + 3 || echoes.load() < e + 3) {
        if (std::chrono::steady_clock::now() > end) std::_Exit(14);
        weft::this_fiber::yield();
      }
    };
    others_get_on();
    std::vector<weft::fiber<int>> all;
    all.reserve(300'000);
    weft::event open;
    s.begin();
    const std::size_t some = spawn_until_refused(all, open, 290'000);
    others_get_on();
    // The ones that there are end as usual, and their stacks serve others, while the shortage lasts.
    open.set();
    for (auto& f : all) {
      if (f.join() != 7) std::_Exit(15);
    }
    all.clear();
    open.reset();
    // Address space that a fiber had may go to the heap meanwhile, but its stack's does not.
    if (spawn_until_refused(all, open, 290'000) + 64 < some) std::_Exit(16);
    s.end();
    for (std::size_t i = 0; i < at_least; ++i) {
      all.push_back(weft::spawn([&open] {
        open.wait();
        return 7;
      }));
    }
    others_get_on();
    open.set();
    for (auto& f : all) {
      if (f.join() != 7) std::_Exit(17);
    }
    over.store(true);
    client.join();
    server.join();
    ticker.join();
  }).join();
  rt.stop();
  std::_Exit(0);
}

class ShortageDeathTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (sanitized) GTEST_SKIP() << "the sanitizer needs the memory";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

// The status of a child that could not set its stage.
bool ended_well(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    std::fprintf(stderr, "SKIPPED: the system allows no filter of system calls\n");
    return true;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// covers O42
TEST_P(ShortageDeathTest, OfAddressSpaceIsOutlived) {
  EXPECT_EXIT(
      {
        of_address_space little;
        outlive(little, GetParam(), 2000);
      },
      ended_well, "");
}

// covers O42
TEST_P(ShortageDeathTest, OfMappingsIsOutlived) {
  std::size_t most = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> most;
  if (most > 200'000) GTEST_SKIP() << "the limit of mappings is too high to be reached here";
  EXPECT_EXIT(
      {
        of_mappings none;
        outlive(none, GetParam(), 2000);
      },
      ended_well, "");
}

INSTANTIATE_TEST_SUITE_P(Memory, ShortageDeathTest, ::testing::Bool(),
                         [](const auto& instance) { return instance.param ? "WithMarkers" : "WithoutMarkers"; });

// More fibers than mappings allow by mprotect: the rest has a canary, and the process its other half of the mappings.
// covers O40
TEST(MemoryDeathTest, WithoutMarkersMoreFibersThanMappingsCanBe) {
  if (sanitized) GTEST_SKIP() << "the sanitizer's own mappings count too";
  std::size_t most = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> most;
  if (most > 200'000) GTEST_SKIP() << "the limit of mappings is too high to be reached here";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        if (!without_markers()) std::_Exit(77);
        weft::runtime rt;
        rt.spawn([&] {
          parked_fibers fibers;
          const std::size_t n = most / 2;
          fibers.park(n, [] {});
          if (mappings() > most / 2 + 1000) std::_Exit(2);
          const prober memory;
          std::size_t guarded = 0;
          for (std::byte* bottom : fibers.bottoms()) guarded += !memory.readable(bottom - 1);
          if (guarded < most / 4 - 100 || guarded > most / 4) std::_Exit(3);
          // Others can still map.
          if (::mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) std::_Exit(4);
          fibers.wake();
        }).join();
        rt.stop();
        std::_Exit(0);
      },
      ended_well, "");
}

}  // namespace
