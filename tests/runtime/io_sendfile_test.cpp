// copy from files: by sendfile.
#include "copy_support.hpp"
#include "runtime_fixture.hpp"
#include "script_stream.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <system_error>
#include <tuple>

namespace {

namespace io = weft::io;  // not copy alone: an error_code argument would bring std::copy in
using std::chrono::milliseconds;
using testing_support::at_most;
using testing_support::connected_pair;
using testing_support::ends;
using testing_support::file_of;
using testing_support::native;
using testing_support::on_fibers;
using testing_support::pattern;
using testing_support::position;
using testing_support::scaled;
using testing_support::system_pipe;
using testing_support::tcp_pair;
using testing_support::thrown_by;
using testing_support::transfer;
using weft::errc;
using weft::io::read_all;

const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

// covers E80
TEST(SendFile, MovesTheFileAndItsPosition) {
  on_fibers([] {
    const std::string all = pattern(static_cast<std::size_t>(scaled(5 << 20)));
    native file = file_of(all);
    tcp_pair pair = connected_pair();
    auto send = weft::spawn([&] {
      EXPECT_EQ(io::copy(pair.client, file), all.size());
      pair.client.close();
    });
    EXPECT_TRUE(read_all(pair.server, all.size()) == all);
    send.join();
    EXPECT_EQ(position(file), static_cast<off_t>(all.size()));
  });
}

// covers E80
TEST(SendFile, ExactAndLargerLimitsAndASeekedSource) {
  on_fibers([] {
    const std::string all = pattern(100000);
    struct {
      std::uint64_t limit;
      off_t start;
      std::size_t want;
    } const cases[] = {{0, 0, 0},           {1, 0, 1},           {99999, 0, 99999},
                       {100000, 0, 100000}, {100001, 0, 100000}, {~std::uint64_t{0}, 5, 99995},
                       {10, 99995, 5},      {10, 200000, 0},     {7, 3, 7}};
    for (const auto& c : cases) {
      native file = file_of(all);
      ::lseek(file.native_handle(), c.start, SEEK_SET);
      tcp_pair pair = connected_pair();
      auto read = weft::spawn([&] { return read_all(pair.server, all.size()); });
      EXPECT_EQ(io::copy(pair.client, file, at_most(c.limit)), c.want);
      EXPECT_EQ(position(file), c.start + static_cast<off_t>(c.want));
      pair.client.close();
      const std::string got = read.join();
      EXPECT_TRUE(c.want == 0 ? got.empty() : got == all.substr(static_cast<std::size_t>(c.start), c.want)) << c.limit;
    }
  });
}

TEST(SendFile, IsWhatTheSystemDoes) {
  on_fibers([] {
    native file = file_of("hello");
    tcp_pair pair = connected_pair();
    const auto r = transfer(pair.client, file, 100);
    EXPECT_TRUE(r.handled);
    EXPECT_EQ(r.count, 5u);
    native again = file_of("hello");
    ends pipe = system_pipe();
    EXPECT_TRUE(transfer(pipe.in, again, 100).handled);
    // Not for a file as the target, nor for a terminal or a device.
    native target = file_of("");
    EXPECT_FALSE(transfer(target, file, 100).handled);
    ::lseek(file.native_handle(), 0, SEEK_SET);
    EXPECT_EQ(io::copy(target, file), 5u);
    EXPECT_EQ(io::copy(target, pipe.out, at_most(5)), 5u);
    ::lseek(target.native_handle(), 0, SEEK_SET);
    EXPECT_EQ(read_all(target, 100), "hellohello");
    native zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC), weft::poll::kind::file);
    EXPECT_FALSE(transfer(pair.client, zero, 3).handled);
    EXPECT_EQ(io::copy(pair.client, zero, at_most(3)), 3u);
  });
}

// covers E80
TEST(SendFile, AnExpiredDeadlineMovesNothing) {
  on_fibers([] {
    native file = file_of("hello");
    tcp_pair pair = connected_pair();
    pair.client.set_write_deadline(milliseconds(-1));
    std::error_code ec;
    EXPECT_EQ(io::copy(pair.client, file, ec), 0u);
    EXPECT_EQ(ec, timed_out);
    EXPECT_EQ(position(file), 0);
    pair.client.clear_deadline();
    EXPECT_EQ(io::copy(pair.client, file, ec), 5u);
    EXPECT_FALSE(ec);
  });
}

// A deadline and a stop in the middle: the count, the file's position and what arrives agree, and the copy can go on.
TEST(SendFile, ACopyThatIsCutOffGoesOnWhereItWas) {
  on_fibers([] {
    const std::string all = pattern(16 << 20);
    native file = file_of(all);
    tcp_pair pair = connected_pair();
    std::error_code ec;
    pair.client.set_write_deadline(milliseconds(20));
    const std::uint64_t first = io::copy(pair.client, file, ec);
    EXPECT_EQ(ec, timed_out);
    EXPECT_GT(first, 0u);
    EXPECT_LT(first, all.size());
    EXPECT_EQ(position(file), static_cast<off_t>(first));
    pair.client.clear_deadline();
    std::stop_source source;
    auto stopper = weft::spawn([&] {
      for (int i = 0; i < 50; ++i) weft::this_fiber::yield();
      source.request_stop();
    });
    try {
      io::copy(pair.client, file, source.get_token());
      ADD_FAILURE() << "not stopped";
    } catch (const weft::canceled_error& error) {
      EXPECT_EQ(position(file), static_cast<off_t>(first + error.transferred()));
    }
    stopper.join();
    auto send = weft::spawn([&] {
      io::copy(pair.client, file);
      pair.client.close();
    });
    EXPECT_TRUE(read_all(pair.server, all.size()) == all);
    send.join();
  });
}

TEST(SendFile, FailsForTheSideThatFailed) {
  on_fibers([] {
    native file = file_of("hello");
    tcp_pair pair = connected_pair();
    file.close();
    auto [code, text] = thrown_by([&] { io::copy(pair.client, file); });
    EXPECT_EQ(code, errc::closed);
    EXPECT_EQ(text, "read native: closed");
    native other = file_of("hello");
    pair.client.close();
    std::tie(code, text) = thrown_by([&] { io::copy(pair.client, other); });
    EXPECT_EQ(code, errc::closed);
    EXPECT_EQ(text.substr(0, 10), "write tcp ");
  });
}

}  // namespace
