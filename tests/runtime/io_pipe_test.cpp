// What a pipe inside the program does that a connection of the system doesn't.
#include "runtime_fixture.hpp"
#include "script_stream.hpp"
#include "tcp_pair.hpp"

#include <weft/io.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

namespace {

using std::chrono::milliseconds;
using testing_support::on_fibers;
using testing_support::pattern;
using testing_support::scaled;
using testing_support::thrown_by;
using weft::errc;
using weft::io::pipe;
using weft::io::pipe_end;

const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

TEST(MemoryPipe, NeedsARuntime) {
  std::error_code ec;
  auto ends = pipe(ec);
  EXPECT_EQ(ec, errc::no_runtime);
  EXPECT_FALSE(ends.first.is_open());
  EXPECT_EQ(thrown_by([] { (void)pipe(); }).first, errc::no_runtime);
}

TEST(MemoryPipe, AWriteWaitsForItsReader) {
  on_fibers([] {
    auto ends = pipe();
    auto& a = ends.first;
    auto& b = ends.second;
    std::atomic<bool> written = false;
    auto writer = weft::spawn([&] {
      a.write("abcdef");
      written = true;
    });
    std::array<char, 4> buffer;
    EXPECT_EQ(b.read_some(std::span(buffer).first(1)), 1u);
    for (int i = 0; i < 100; ++i) weft::this_fiber::yield();
    EXPECT_FALSE(written);
    EXPECT_EQ(b.read_some(buffer), 4u);
    EXPECT_EQ(std::string_view(buffer.data(), 4), "bcde");
    EXPECT_FALSE(written);
    EXPECT_EQ(b.read_some(buffer), 1u);
    writer.join();
    EXPECT_TRUE(written);
    a.write("");  // an empty one doesn't wait
  });
}

TEST(MemoryPipe, TheEndComesBeforeADeadlineAndCloseBeforeTheEnd) {
  on_fibers([] {
    auto ends = pipe();
    auto& a = ends.first;
    auto& b = ends.second;
    std::array<char, 4> buffer;
    std::error_code ec;
    b.close();
    a.set_deadline(milliseconds(0));
    EXPECT_EQ(a.read_some(buffer, ec), 0u);
    EXPECT_FALSE(ec);
    EXPECT_EQ(a.write("x", ec), 0u);
    EXPECT_EQ(ec, std::errc::broken_pipe);
    a.write("", ec);
    EXPECT_EQ(ec, std::errc::broken_pipe);
    a.close();
    EXPECT_EQ(a.read_some(buffer, ec), 0u);
    EXPECT_EQ(ec, errc::closed);
    EXPECT_EQ(a.write("x", ec), 0u);
    EXPECT_EQ(ec, errc::closed);
    EXPECT_EQ(thrown_by([&] { a.write("x"); }).second, "write pipe: closed");
    EXPECT_EQ(a.native_handle(), -1);
  });
}

// Writers don't mix their bytes, and each finds out about its own.
TEST(MemoryPipe, WritersTakeTurns) {
  on_fibers([] {
    auto ends = pipe();
    auto& a = ends.first;
    auto& b = ends.second;
    const int writers = 20;
    std::vector<weft::fiber<void>> fibers;
    for (int i = 0; i < writers; ++i) {
      fibers.push_back(weft::spawn([&a, i] { a.write(std::string(1000, static_cast<char>('a' + i))); }));
    }
    std::string got(1000 * writers, '\0');
    std::size_t n = 0;
    while (n < got.size())
      n += b.read_some(weft::mutable_buffer(got.data() + n, std::min<std::size_t>(333, got.size() - n)));
    for (auto& f : fibers) f.join();
    for (std::size_t i = 0; i < got.size(); i += 1000) EXPECT_EQ(got.substr(i, 1000), std::string(1000, got[i]));
  });
}

// A write that is cut off says to the byte how much was read, wherever the cut falls.
TEST(MemoryPipe, NothingIsLostWhenWritesAreCutOff) {
  on_fibers([] {
    auto ends = pipe();
    auto& a = ends.first;
    auto& b = ends.second;
    const std::string all = pattern(static_cast<std::size_t>(scaled(200000)));
    auto writer = weft::spawn([&] {
      std::size_t sent = 0;
      for (unsigned i = 0; sent < all.size(); ++i) {
        std::error_code ec;
        a.set_write_deadline(std::chrono::microseconds(i % 50));
        const std::string_view piece = std::string_view(all).substr(sent, 1 + i % 3000);
        const std::size_t n = a.write(piece, ec);
        sent += n;
        EXPECT_EQ(bool(ec), n < piece.size());
        EXPECT_TRUE(!ec || ec == timed_out) << ec.message();
      }
      a.close();
    });
    std::string got;
    std::array<char, 1000> buffer;
    for (unsigned i = 0;; ++i) {
      std::error_code ec;
      b.set_read_deadline(std::chrono::microseconds(i % 70));
      const std::size_t n = b.read_some(weft::mutable_buffer(buffer.data(), 1 + i % 1000), ec);
      got.append(buffer.data(), n);
      if (ec) {
        EXPECT_EQ(ec, timed_out);
        EXPECT_EQ(n, 0u);
      } else if (n == 0) {
        break;
      }
    }
    writer.join();
    EXPECT_TRUE(got == all);
  });
}

// What was offered is gone with the call: a later reader finds nothing of it.
TEST(MemoryPipe, AWriteThatWasCutOffLeavesNothingBehind) {
  on_fibers([] {
    auto ends = pipe();
    std::error_code ec;
    ends.first.set_write_deadline(milliseconds(2));
    EXPECT_EQ(ends.first.write("lost", ec), 0u);
    EXPECT_EQ(ec, timed_out);
    std::array<char, 8> buffer;
    ends.second.set_read_deadline(milliseconds(2));
    EXPECT_EQ(ends.second.read_some(buffer, ec), 0u);
    EXPECT_EQ(ec, timed_out);
  });
}

// An end that is destroyed while its slot is used again: the other end's edges do no harm.
TEST(MemoryPipe, EndsComeAndGo) {
  on_fibers([] {
    std::vector<weft::fiber<void>> fibers;
    for (int f = 0; f < 8; ++f) {
      fibers.push_back(weft::spawn([] {
        for (int i = 0; i < scaled(300); ++i) {
          auto ends = pipe();
          auto& a = ends.first;
          auto& b = ends.second;
          auto other = weft::spawn([end = std::move(b)]() mutable {
            std::array<char, 8> buffer;
            std::error_code ec;
            EXPECT_EQ(end.read_some(buffer, ec), 5u);
          });
          a.write("hello");
          std::array<char, 8> buffer;
          EXPECT_EQ(a.read_some(buffer), 0u);
          other.join();
        }
      }));
    }
    for (auto& f : fibers) f.join();
  });
}

TEST(MemoryPipe, OutlivesItsRuntime) {
  pipe_end a, b;
  weft::run([&] {
    std::tie(a, b) = pipe();
    a.set_deadline(std::chrono::hours(1));
  });
  std::array<char, 8> buffer;
  std::error_code ec;
  EXPECT_EQ(a.read_some(buffer, ec), 0u);
  EXPECT_EQ(ec, errc::closed);
  b.close(ec);
}

}  // namespace
