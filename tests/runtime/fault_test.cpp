// Overflows and other faults: what is said, and what is left to others.
#include "runtime_fixture.hpp"

#include <weft/sched/stack_position.hpp>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <unistd.h>

namespace {

using testing_support::on_fibers;

template <std::size_t Size>
[[gnu::noinline]] int recurse(int n) {
  volatile char pad[Size];
  pad[0] = static_cast<char>(n);
  const int below = n == 0 ? 0 : recurse<Size>(n + 1);
  return below + pad[0];
}

void overflow() {
  weft::spawn(weft::spawn_options("too deep"), [] { std::printf("%d", recurse<200>(1)); }).join();
}

// No sanitizer gets ahead of the fault.
__attribute__((no_sanitize("undefined"))) void store_to_null() {
  volatile int* volatile nothing = nullptr;
  *nothing = 1;
}

void touch_null() {
  weft::spawn(store_to_null).join();
}

char* below_the_stack_pointer(std::size_t n) {
  return reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(weft::sched::stack_position()) - n);
}

class FaultDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    if (testing_support::sanitized) GTEST_SKIP() << "the sanitizer reports faults itself";
  }
};

// covers O5
TEST_F(FaultDeathTest, AnOverflowIsNamedAndEndsByTheOriginalSignal) {
  EXPECT_EXIT(weft::run(overflow), ::testing::KilledBySignal(SIGSEGV),
              "stack overflow of fiber [0-9]+ 'too deep'.*256 KiB.*spawned at .*overflow.*#0 .*recurse.* more \\.\\.\\..*"
              "fiber_entry");
}

// covers O6
TEST_F(FaultDeathTest, ANullPointerIsNoOverflow) {
  // Nothing at all is said: what there is of the report would stand before the end of the line.
  EXPECT_EXIT(weft::run(touch_null), ::testing::KilledBySignal(SIGSEGV), "^$");
}

// covers O6
TEST_F(FaultDeathTest, AWildPointerIntoTheGuardIsNoOverflow) {
  EXPECT_EXIT(weft::run([] {
                weft::spawn([] {
                  // Far below where the stack pointer is.
                  auto* volatile wild = below_the_stack_pointer(280 * 1024);
                  *wild = 1;
                }).join();
              }),
              ::testing::KilledBySignal(SIGSEGV), "^$");
}

// covers O6
TEST_F(FaultDeathTest, AHandlerFromBeforeGetsTheFault) {
  const auto with_handler = [](auto body) {
    struct sigaction theirs {};
    theirs.sa_sigaction = [](int, siginfo_t* info, void*) {
      const char text[] = "theirs\n";
      [[maybe_unused]] const auto n = ::write(STDERR_FILENO, text, sizeof text - 1);
      ::_exit(info->si_addr == nullptr ? 7 : 8);
    };
    theirs.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigaction(SIGSEGV, &theirs, nullptr);
    weft::run(body);
  };
  EXPECT_EXIT(with_handler(touch_null), ::testing::ExitedWithCode(7), "^theirs");
  EXPECT_EXIT(with_handler(overflow), ::testing::ExitedWithCode(8), "stack overflow of fiber.*theirs");
}

// covers O6
TEST_F(FaultDeathTest, ASignalThatWasSentIsPassedOn) {
  EXPECT_EXIT(weft::run([] { ::raise(SIGSEGV); }), ::testing::KilledBySignal(SIGSEGV), "^$");
}

// covers O7
TEST_F(FaultDeathTest, ASystemCallMayFindTheOverflowFirst) {
  EXPECT_EXIT(weft::run([] {
                weft::net::tcp_listener l = weft::net::listen_tcp("127.0.0.1:0");
                weft::net::tcp_conn client = weft::net::dial_tcp(l.local_endpoint().to_string());
                weft::net::tcp_conn conn = l.accept();
                client.write("abc");
                weft::spawn(weft::spawn_options("reader"), [&] {
                  // As a buffer in a frame that has no room would be.
                  char* const below = below_the_stack_pointer(300 * 1024);
                  std::error_code ec;
                  conn.read_some(weft::mutable_buffer(below, 40 * 1024), ec);
                }).join();
              }),
              ::testing::KilledBySignal(SIGSEGV), "stack overflow of fiber [0-9]+ 'reader': a system call found the buffer");
}

// covers O7
TEST_F(FaultDeathTest, SoMayOneThatReceivesADatagram) {
  EXPECT_EXIT(weft::run([] {
                weft::net::udp_socket s = weft::net::listen_udp("127.0.0.1:0");
                s.send_to(weft::const_buffer("abc", 3), s.local_endpoint());
                weft::spawn(weft::spawn_options("receiver"), [&] {
                  char* const below = below_the_stack_pointer(300 * 1024);
                  std::error_code ec;
                  s.receive_from(weft::mutable_buffer(below, 40 * 1024), ec);
                }).join();
              }),
              ::testing::KilledBySignal(SIGSEGV), "stack overflow of fiber [0-9]+ 'receiver': a system call found the buffer");
}

TEST(Fault, DispositionsAreAsBefore) {
  struct sigaction before {};
  ::sigaction(SIGSEGV, nullptr, &before);
  on_fibers([&] {
    struct sigaction meanwhile {};
    ::sigaction(SIGSEGV, nullptr, &meanwhile);
    EXPECT_NE(meanwhile.sa_sigaction, before.sa_sigaction);
    // Of several runtimes the last puts it back.
    weft::blocking([] { weft::runtime other; });
    struct sigaction still {};
    ::sigaction(SIGSEGV, nullptr, &still);
    EXPECT_EQ(meanwhile.sa_sigaction, still.sa_sigaction);
  });
  struct sigaction after {};
  ::sigaction(SIGSEGV, nullptr, &after);
  EXPECT_EQ(after.sa_sigaction, before.sa_sigaction);

  weft::runtime_options off;
  off.handle_faults = false;
  on_fibers(
      [&] {
        struct sigaction meanwhile {};
        ::sigaction(SIGSEGV, nullptr, &meanwhile);
        EXPECT_EQ(meanwhile.sa_sigaction, before.sa_sigaction);
      },
      off);
}

}  // namespace
