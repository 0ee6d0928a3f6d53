// The hot paths, each as often as it is told, on one worker, for counting instructions under callgrind
// (bench/instructions). Only what the worker does while it collects is counted: neither the beginning and end of the
// process nor other threads.
#include <weft/weft.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string_view>
#include <utility>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
constexpr bool counted = true;
#else
#define CALLGRIND_TOGGLE_COLLECT
constexpr bool counted = false;
#endif

namespace {

// Collecting is a state of the thread.
void begin_or_end() { CALLGRIND_TOGGLE_COLLECT; }

#ifdef __clang__
#define WEFT_BENCH_COMPILER "clang-%d" WEFT_BENCH_SWITCH, __clang_major__
#else
#define WEFT_BENCH_COMPILER "g++-%d" WEFT_BENCH_SWITCH, __GNUC__
#endif

void yield(std::size_t count) {
  const auto some = [count] {
    for (std::size_t i = 0; i < count / 2; ++i) weft::this_fiber::yield();
  };
  weft::fiber<> other = weft::spawn(some);
  some();
  other.join();
}

void spawn(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) weft::spawn([] {}).join();
}

void channel(std::size_t count) {
  const weft::channel<int> through(0);
  weft::fiber<> receiver = weft::spawn([&] {
    while (through.receive()) {
    }
  });
  for (std::size_t i = 0; i < count; ++i) through.send(1);
  through.close();
  receiver.join();
}

void echo(std::size_t count) {
  auto ends = weft::net::local_pair();
  weft::fiber<> server = weft::spawn([conn = std::move(ends.second)]() mutable {
    std::array<std::byte, 64> buffer;
    while (const std::size_t n = conn.read_some(buffer)) conn.write(std::span(buffer).first(n));
  });
  std::array<std::byte, 64> request{};
  for (std::size_t i = 0; i < count; ++i) {
    ends.first.write(request);
    ends.first.read_some(request);
  }
  ends.first.close();
  server.join();
}

struct path {
  const char* name;
  void (*run)(std::size_t count);
};
constexpr path paths[] = {{"yield", yield}, {"spawn_join", spawn}, {"channel", channel}, {"socketpair_echo", echo}};

}  // namespace

int main(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "--compiler") return std::printf(WEFT_BENCH_COMPILER) < 0;
  if (first == "--counted") return counted ? 0 : 1;
  const path* chosen = nullptr;
  for (const path& p : paths) {
    if (argc == 3 && first == p.name) chosen = &p;
  }
  const long count = argc == 3 ? std::atol(argv[2]) : 0;
  if (chosen == nullptr || count <= 0) {
    std::fprintf(stderr, "usage: %s yield|spawn_join|channel|socketpair_echo COUNT, or --compiler, or --counted\n",
                 argv[0]);
    return 2;
  }
  weft::runtime_options one_worker;
  one_worker.workers = 1;
  return weft::run(
      [&] {
        chosen->run(1000);
        begin_or_end();
        chosen->run(static_cast<std::size_t>(count));
        begin_or_end();
      },
      one_worker);
}
