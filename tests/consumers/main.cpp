// A consumer of weft: calls into every part, and catches what the library throws.
#include <weft/weft.hpp>

#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <system_error>

namespace {

int sum = 0;

int fibers() {
  weft::mutex lock;
  weft::wait_group group;
  group.add(10);
  for (int i = 0; i < 10; ++i) {
    weft::go([&] {
      {
        std::unique_lock guard(lock);
        ++sum;
      }
      group.done();
    });
  }
  group.wait();
  return sum;
}

bool catches_a_failed_dial() {
  try {
    weft::net::tcp_conn conn = weft::net::dial_tcp("not an address");
  } catch (const std::system_error& error) {
    std::printf("%s\n", error.what());
    return true;
  }
  return false;
}

}  // namespace

int main() {
  const int result = weft::run([] {
    if (!catches_a_failed_dial()) return 1;
    auto child = weft::spawn([]() -> int { throw std::runtime_error("across the library"); });
    try {
      child.join();
    } catch (const std::runtime_error&) {
      return fibers();
    }
    return 2;
  });
  return result == 10 ? 0 : 1;
}
