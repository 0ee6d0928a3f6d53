// What an error says of a connection whose handle has gone by the time that the call comes back.
#include "migration.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace testing_support;
using weft::net::tcp_conn;

using failure = std::pair<std::error_code, std::string>;

std::string text_of(const char* operation, const tcp_conn& conn) {
  return std::string(operation) + " tcp " + conn.local_endpoint().to_string() + "->" + conn.remote_endpoint().to_string() +
         ": ";
}

void expect_closed(const failure& got, const std::string& named) {
  EXPECT_EQ(got.first, weft::errc::closed);
  EXPECT_EQ(got.second.compare(0, named.size(), named), 0) << got.second << " does not begin with " << named;
}

// The first waits for the system, the others in line behind it; then the handle is destroyed.
template <class Call>
void outlive(const char* operation, Call call) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  on_fibers(
      [&] {
        for (int i = 0; i < scaled(100); ++i) {
          tcp_pair pair = connected_pair();
          std::optional<tcp_conn> conn(std::move(pair.client));
          const std::string named = text_of(operation, *conn);
          std::vector<weft::fiber<failure>> calls;
          for (int each = 0; each < 4; ++each) {
            calls.push_back(weft::spawn([&conn, &call] { return thrown_by([&] { call(*conn); }); }));
          }
          weft::this_fiber::yield();  // with one worker, all of them now run until they wait
          conn.reset();
          for (auto& each : calls) expect_closed(each.join(), named);
        }
      },
      with_workers(1));
}

// covers O56
TEST(TcpName, ReadsThatOutliveTheHandleKnowIt) {
  outlive("read", [](tcp_conn& conn) {
    std::array<char, 8> buffer;
    static_cast<void>(conn.read_some(buffer));
  });
}

// covers O56
TEST(TcpName, WritesThatOutliveTheHandleKnowIt) {
  const std::string more_than_there_is_room_for(16 << 20, 'x');
  outlive("write", [&](tcp_conn& conn) { conn.write(more_than_there_is_room_for); });
}

// covers O56
TEST(TcpName, HalvesThatOutliveEachOtherKnowTheWhole) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    const std::string read = text_of("read", pair.client);
    auto halves = weft::net::split(std::move(pair.client));
    pair.server.set_linger(std::chrono::seconds(0));
    pair.server.close();
    std::array<char, 8> buffer;
    const failure got = thrown_by([&] { static_cast<void>(halves.reader.read_some(buffer)); });
    EXPECT_EQ(got.first, std::errc::connection_reset);
    EXPECT_EQ(got.second.compare(0, read.size(), read), 0) << got.second;
  });
}

// covers O56
TEST(TcpName, CallsThatNeverBeganKnowIt) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    pair.client.close();
    std::array<char, 8> buffer;
    expect_closed(thrown_by([&] { static_cast<void>(pair.client.read_some(buffer)); }), text_of("read", pair.client));
    expect_closed(thrown_by([&] { static_cast<void>(pair.client.read_some({buffer.data(), 0})); }),
                  text_of("read", pair.client));
    expect_closed(thrown_by([&] { pair.client.write("x"); }), text_of("write", pair.client));
    tcp_conn none;
    EXPECT_EQ(thrown_by([&] { static_cast<void>(none.read_some(buffer)); }).first, weft::errc::closed);
    const tcp_conn moved = std::move(pair.client);
    EXPECT_TRUE(moved.local_endpoint());
    EXPECT_FALSE(pair.client.local_endpoint());
  });
}

}  // namespace
