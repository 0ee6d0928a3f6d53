// A program with a mistake, and one without (any argument): a std::mutex that is held while the fiber sleeps.
#include <weft/weft.hpp>

#include <chrono>
#include <mutex>

std::mutex mutex;
volatile int calls = 0;

// Something is left to do after each call, so that the functions are there when they are looked for.
[[gnu::noinline]] void take() {
  mutex.lock();
  calls = calls + 1;
}

[[gnu::noinline]] void wait_a_moment() {
  weft::this_fiber::sleep_for(std::chrono::milliseconds(1));
  calls = calls + 1;
}

int main(int argc, char**) {
  weft::runtime_options options;
  options.workers = 1;  // where it does no harm
  return weft::run(
      [argc] {
        take();
        if (argc != 1) mutex.unlock();
        wait_a_moment();
        if (argc == 1) mutex.unlock();
      },
      options);
}
