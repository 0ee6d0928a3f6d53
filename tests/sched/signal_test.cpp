// Signals that hit the workers at any instruction.
#include <support/engine.hpp>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <dirent.h>
#include <signal.h>
#include <time.h>

namespace {

using namespace weft;
using namespace weft::testing;

std::atomic<long> handled{0};
std::atomic<long> on_workers{0};

// A handler that uses a good deal of stack, as a profiler's does.
void on_profile(int) {
  const int saved = errno;
  volatile char room[8192];
  std::memset(const_cast<char*>(room), 1, sizeof room);
  handled.fetch_add(1 + (room[17] - 1));
  if (sched::current_fiber() != nullptr) on_workers.fetch_add(1);
  errno = saved;
}

// Sends SIGPROF to every other thread of the process, a thousand times a second.
class storm {
 public:
  storm() {
    struct sigaction action {};
    action.sa_handler = on_profile;  // no SA_RESTART: system calls are interrupted
    ::sigaction(SIGPROF, &action, &before_);
    thread_ = std::thread([this] { blow(); });
  }
  ~storm() {
    stop_.store(true);
    thread_.join();
    ::sigaction(SIGPROF, &before_, nullptr);
  }

 private:
  void blow() {
    const long self = thread_id();
    const timespec period{0, 1'000'000};
    while (!stop_.load()) {
      DIR* tasks = ::opendir("/proc/self/task");
      while (const dirent* t = ::readdir(tasks)) {
        const long id = std::atol(t->d_name);
        if (id != 0 && id != self) ::syscall(SYS_tgkill, ::getpid(), id, SIGPROF);
      }
      ::closedir(tasks);
      ::nanosleep(&period, nullptr);
    }
  }

  struct sigaction before_ {};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// covers L162
TEST(Signals, AProfilersTimerDisturbsNoSwitchAndNoSleep) {
  storm s;
  engine e;
  const long wanted = handled.load() + 1000;
  std::atomic<long> wrong{0};
  for (const auto end = sched::after(patience); handled.load() < wanted && sched::now() < end;) {
    std::vector<task> tasks;
    for (int i = 0; i < 10; ++i) {
      tasks.push_back(e.spawn([&, i] {
        std::uint64_t locals[16];
        for (auto& x : locals) x = static_cast<std::uint64_t>(i) + 1;
        for (int k = 0; k < 500; ++k) sched::yield();
        const sched::nanotime at = sched::after(100 * microsecond);
        if (!sched::sleep_until(at) || sched::now() < at) wrong.fetch_add(1);
        for (auto x : locals) {
          if (x != static_cast<std::uint64_t>(i) + 1) wrong.fetch_add(1);
        }
      }));
    }
    // Sleeps of threads and in blocking regions are interrupted as well, and begin again.
    tasks.push_back(e.spawn([&] {
      sched::blocking_region region;
      const sched::nanotime at = sched::after(2 * millisecond);
      if (!sched::sleep_until(at) || sched::now() < at) wrong.fetch_add(1);
    }));
    tasks.clear();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(handled, wanted) << "no storm";
  EXPECT_GT(on_workers, 0) << "it missed the workers";
}

// covers L162
TEST(Signals, ExceptionsAreThrownAndCaughtUnderway) {
  storm s;
  engine e;
  const long wanted = handled.load() + 500;
  std::atomic<int> wrong{0};
  for (const auto end = sched::after(patience); handled.load() < wanted && sched::now() < end;) {
    std::vector<task> tasks;
    for (int i = 0; i < 8; ++i) {
      tasks.push_back(e.spawn([&, i] {
        for (int k = 0; k < 50; ++k) {
          try {
            throw i;
          } catch (int n) {
            sched::yield();
            if (n != i) wrong.fetch_add(1);
          }
        }
      }));
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(handled, wanted) << "no storm";
}

}  // namespace
