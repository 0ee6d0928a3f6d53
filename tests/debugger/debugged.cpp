// The program that gdb looks at: a fiber in each state, in a function of a known name.
// Usage: debugged wait|abort    wait: until SIGTERM, then ends with status 0 if all went on as it should
#include <weft/debug/dump.hpp>
#include <weft/weft.hpp>

#include <atomic>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <unistd.h>

using namespace std::chrono_literals;

namespace {

std::atomic<bool> leave{false};
std::atomic<bool> computes{false};

weft::spawn_options named(std::string_view name) { return weft::spawn_options(name); }

// Parked in another library call each, with a local that a debugger shall find.

[[gnu::noinline]] int wait_on_channel(weft::channel<int>& channel, int depth) {
  volatile int token = 4711 + depth;
  const int below = depth == 0 ? channel.receive().value_or(0) : wait_on_channel(channel, depth - 1);
  return below + token;
}

[[gnu::noinline]] void wait_on_mutex(weft::mutex& m) {
  volatile int token = 815;
  m.lock();
  token = token + 1;
  m.unlock();
}

[[gnu::noinline]] void wait_on_clock() {
  volatile int token = 1;
  weft::this_fiber::sleep_for(1h);
  token = token + 1;
}

[[gnu::noinline]] void wait_elsewhere() {
  volatile int token = 6;
  weft::this_fiber::sleep_for(1h);
  token = token + 1;
}

[[gnu::noinline]] std::size_t wait_on_pipe(weft::os::pipe_reader& from) {
  volatile int token = 2;
  std::array<char, 8> buffer;
  const std::size_t n = from.read_some(buffer);
  token = token + 1;
  return n;
}

[[gnu::noinline]] void wait_on_fiber(weft::fiber<int>& other) {
  volatile int token = 3;
  other.join();
  token = token + 1;
}

[[gnu::noinline]] void block_the_thread(int descriptor) {
  volatile int token = 4;
  char byte;
  token = token + static_cast<int>(::read(descriptor, &byte, 1));
}

[[gnu::noinline]] void keep_the_worker() {
  volatile int token = 5;
  computes = true;
  while (!leave) ::usleep(1000);
  token = token + 1;
}

[[gnu::noinline]] void until_told_to_leave(bool die) {
  std::puts("ready");
  std::fflush(stdout);
  if (die) std::abort();
  while (!leave) ::usleep(1000);
}

void until_dump_shows(const std::string& text) {
  while (weft::debug::dump().find(text) == std::string::npos) weft::this_fiber::sleep_for(1ms);
}

int run_fibers(bool die) {
  weft::runtime other_runtime(weft::runtime_options{});
  weft::fiber<void> elsewhere = other_runtime.spawn(named("elsewhere"), [] { wait_elsewhere(); });

  weft::channel<int> channel(0);
  weft::mutex m;
  m.lock();
  weft::os::pipe_ends pipe = weft::os::pipe();
  std::array<int, 2> plain;
  if (::pipe(plain.data()) != 0) return 1;

  auto receiver = weft::spawn(named("receiver"), [&] { return wait_on_channel(channel, 20); });
  auto locker = weft::spawn(named("locker"), [&] { wait_on_mutex(m); });
  auto sleeper = weft::spawn(named("sleeper"), [] { wait_on_clock(); });
  auto reader = weft::spawn(named("reader"), [&] { return wait_on_pipe(pipe.reader); });
  auto joiner = weft::spawn(named("joiner"), [&] { wait_on_fiber(receiver); });
  auto blocker = weft::spawn(named("blocker"), [&] { weft::blocking([&] { block_the_thread(plain[0]); }); });
  for (const char* state : {"'receiver' [receive", "'locker' [lock", "'sleeper' [sleep", "'reader' [read", "'joiner' [join",
                            "'blocker' [blocking", "'elsewhere' [sleep"}) {
    until_dump_shows(state);
  }
  // With this one and main both workers are taken, so that the last is not run.
  auto computer = weft::spawn(named("computer"), [] { keep_the_worker(); });
  while (!computes) weft::this_fiber::yield();
  auto fresh = weft::spawn(named("fresh"), [] {});

  until_told_to_leave(die);

  static_cast<void>(channel.send(1));
  m.unlock();
  pipe.writer.write(std::string_view("!"));
  if (::write(plain[1], "!", 1) != 1) return 1;
  for (weft::fiber<void>* sleeps : {&sleeper, &elsewhere}) {
    sleeps->request_stop();
    try {
      sleeps->join();
      return 1;
    } catch (const weft::canceled_error&) {
    }
  }
  locker.join();
  joiner.join();
  blocker.join();
  computer.join();
  fresh.join();
  return reader.join() == 1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const bool die = argc > 1 && std::strcmp(argv[1], "abort") == 0;
  std::signal(SIGTERM, [](int) { leave = true; });
  weft::runtime_options options;
  options.workers = 2;
  options.hog_threshold = 0s;
  return weft::run([die] { return run_fibers(die); }, options);
}
