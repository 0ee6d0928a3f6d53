// bench/wake.cpp with two threads.
#include "samples.hpp"

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>

namespace {

class turns {
 public:
  void release() {
    {
      const std::scoped_lock lock(mutex_);
      ++count_;
    }
    changed_.notify_one();
  }
  void acquire() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ > 0; });
    --count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

void two_threads(std::size_t count) {
  turns there;
  turns back;
  std::thread thread([&] {
    for (std::size_t i = 0; i < count; ++i) {
      there.release();
      back.acquire();
    }
  });
  for (std::size_t i = 0; i < count; ++i) {
    there.acquire();
    back.release();
  }
  thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::options told =
      bench::options_from(argc, argv, "Time of waking a thread from a thread.", bench::meant_for::any_workers);
  const bench::side side(told, "thread");
  for (int i = 0; i < told.rounds; ++i) side.measure("woken by a thread, and back", 10'000, two_threads);
}
