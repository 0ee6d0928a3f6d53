// Reads that last: they give back what their stacks don't need, and nobody notices.
#include "tcp_pair.hpp"

#include <control_block.hpp>
#include <current.hpp>

#include <weft/weft.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/mman.h>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using namespace testing_support;
using clock_type = std::chrono::steady_clock;

constexpr std::size_t page = 4096;
constexpr std::size_t touched = 64 * 1024;
constexpr auto long_enough = 1200ms;  // a read is interrupted after a second

[[gnu::noinline]] void touch_stack() {
  auto* room = static_cast<volatile char*>(__builtin_alloca(touched));
  for (std::size_t i = 0; i < touched; i += page / 2) room[i] = 1;
  asm volatile("" : : "r"(room) : "memory");  // else clang takes the function for one without effect
}

// resident_pages counts those of the lower half of what touch_stack has touched from `top` down.
std::size_t resident_pages(const std::byte* top) {
  const auto end = (reinterpret_cast<std::uintptr_t>(top) - touched / 2) / page * page;
  std::array<unsigned char, touched / 2 / page> in_memory{};
  EXPECT_EQ(::mincore(reinterpret_cast<void*>(end - touched / 2), touched / 2, in_memory.data()), 0);
  std::size_t n = 0;
  for (const unsigned char each : in_memory) n += each & 1;
  return n;
}

// soon repeats the question for up to 10 s, and lets other fibers go first.
template <class Question>
bool soon(Question holds) {
  for (const auto end = clock_type::now() + 10s; !holds(); weft::this_fiber::yield()) {
    if (clock_type::now() > end) return false;
  }
  return true;
}

char read_one(weft::net::tcp_conn& conn) {
  char c = 0;
  return conn.read_some({&c, 1}) == 1 ? c : '\0';
}

// covers O55
TEST(IdleRead, GivesItsStackBackAndGetsWhatComes) {
  on_fibers([] {
    constexpr std::size_t n = 40;
    std::vector<tcp_pair> pairs(n);
    std::vector<const std::byte*> tops(n);
    std::vector<char> received(n);
    weft::wait_group about_to_read;
    weft::task_group<> readers;
    about_to_read.add(n);
    for (std::size_t i = 0; i < n; ++i) {
      pairs[i] = connected_pair();
      readers.spawn([&, i] {
        touch_stack();
        tops[i] = static_cast<const std::byte*>(__builtin_frame_address(0));
        about_to_read.done();
        received[i] = read_one(pairs[i].server);
      });
    }
    about_to_read.wait();
    std::size_t before = 0;
    for (const std::byte* top : tops) before += resident_pages(top);
    EXPECT_EQ(before, n * (touched / 2 / page));
    std::size_t after = before;
    for (const auto end = clock_type::now() + 60s; after > 0 && clock_type::now() < end;) {
      weft::this_fiber::sleep_for(20ms);
      after = 0;
      for (const std::byte* top : tops) after += resident_pages(top);
    }
    EXPECT_EQ(after, 0u);
    for (std::size_t i = 0; i < n; ++i) {
      const char sent = static_cast<char>('a' + i % 26);
      pairs[i].client.write(weft::const_buffer(&sent, 1));
    }
    readers.join();
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(received[i], static_cast<char>('a' + i % 26));
  });
}

// The alarm that the first read has set rings in the second one, before that has lasted for long: it is set once more.
// covers O55
TEST(IdleRead, GivesItsStackBackInALaterWaitToo) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    std::atomic<const std::byte*> top{nullptr};
    weft::fiber<void> reader = weft::spawn([&] {
      EXPECT_EQ(read_one(pair.server), 'a');
      touch_stack();
      top.store(static_cast<const std::byte*>(__builtin_frame_address(0)));
      EXPECT_EQ(read_one(pair.server), 'b');
    });
    weft::this_fiber::sleep_for(long_enough / 2);
    pair.client.write("a"sv);
    EXPECT_TRUE(soon([&] { return top.load() != nullptr; }));
    std::size_t left = 1;
    for (const auto end = clock_type::now() + 60s; left > 0 && clock_type::now() < end;) {
      weft::this_fiber::sleep_for(20ms);
      left = resident_pages(top.load());
    }
    EXPECT_EQ(left, 0u);
    pair.client.write("b"sv);
    reader.join();
  });
}

// covers O55
TEST(IdleRead, EndsByItsDeadlineACloseAndAStopAsBefore) {
  on_fibers([] {
    tcp_pair timed = connected_pair();
    tcp_pair closed = connected_pair();
    tcp_pair stopped = connected_pair();
    weft::task_group<> readers;
    readers.spawn([&] {
      const auto end = clock_type::now() + 2 * long_enough;
      timed.server.set_read_deadline(end);
      EXPECT_EQ(thrown_by([&] { read_one(timed.server); }).first, std::errc::timed_out);
      EXPECT_GE(clock_type::now(), end);
    });
    readers.spawn([&] { EXPECT_EQ(thrown_by([&] { read_one(closed.server); }).first, weft::errc::closed); });
    weft::fiber<void> reader = weft::spawn([&] { EXPECT_THROW(read_one(stopped.server), weft::canceled_error); });
    weft::this_fiber::sleep_for(long_enough);
    closed.server.close();
    reader.request_stop();
    reader.join();
    readers.join();
  });
}

// A read that was short leaves its alarm behind, which rings in another wait: none but a read takes notice.
// covers O55
TEST(IdleRead, DisturbsNoOtherWaitOfItsFiber) {
  on_fibers([] {
    weft::channel<int> values(0);
    weft::event happened;
    weft::mutex held;
    weft::mutex* const lock = &held;
    held.lock();
    weft::task_group<> fibers;
    const auto after_a_read = [&](auto wait) {
      fibers.spawn([wait] {
        tcp_pair pair = connected_pair();
        weft::task_group<> writer;
        writer.spawn([&] { pair.client.write("x"sv); });
        EXPECT_EQ(read_one(pair.server), 'x');
        writer.join();
        wait();
      });
    };
    after_a_read([&] { EXPECT_EQ(values.receive(), std::optional<int>(7)); });
    after_a_read([&] { EXPECT_NO_THROW(happened.wait()); });
    after_a_read([lock] {
      EXPECT_NO_THROW(lock->lock());
      lock->unlock();
    });
    after_a_read([] {
      const auto end = clock_type::now() + long_enough;
      weft::this_fiber::sleep_until(end);
      EXPECT_GE(clock_type::now(), end);
    });
    after_a_read([] { EXPECT_EQ(weft::blocking([] { return 3; }), 3); });
    after_a_read([] {
      // A fiber's sleep takes over the alarm of its reads; the next read arms it anew.
      for (int i = 0; i < 3; ++i) {
        tcp_pair pair = connected_pair();
        const auto end = clock_type::now() + long_enough / 4;
        weft::fiber<void> writer = weft::spawn([&] {
          weft::this_fiber::sleep_until(end);
          pair.client.write("y"sv);
        });
        EXPECT_EQ(read_one(pair.server), 'y');
        EXPECT_GE(clock_type::now(), end);
        writer.join();
        const auto awake = clock_type::now() + long_enough / 4;
        weft::this_fiber::sleep_until(awake);
        EXPECT_GE(clock_type::now(), awake);
      }
    });
    weft::this_fiber::sleep_for(long_enough);
    EXPECT_FALSE(happened.is_set());
    values.send(7);
    happened.set();
    held.unlock();
    fibers.join();
  });
}

// A stack that is free may be given back: no alarm may ring in it.
// covers O55
TEST(IdleRead, LeavesNoAlarmBehindItsFiber) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    std::atomic<weft::sched::fiber*> self{nullptr};
    weft::fiber<void> reader = weft::spawn([&] {
      self.store(weft::sched::current_fiber());
      EXPECT_EQ(read_one(pair.server), 'x');
    });
    EXPECT_TRUE(soon([&] { return self.load() != nullptr && self.load()->sleep.alarm.armed(); }));
    pair.client.write("x"sv);
    EXPECT_TRUE(soon([&] { return weft::sched::ended(*self.load()); }));  // not joined: the handle keeps it
    EXPECT_FALSE(self.load()->sleep.alarm.armed());
    reader.join();
  });
}

}  // namespace
