// Connections in two halves.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <array>
#include <chrono>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;
using testing_support::connected_pair;
using testing_support::is_open_number;
using testing_support::on_fibers;
using testing_support::tcp_pair;
using testing_support::thrown_by;
using weft::net::split;

TEST(Split, HalvesAreForTwoFibers) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    const int number = pair.client.native_handle();
    auto conn = split(std::move(pair.client));
    const std::string much(1 << 20, 'm');
    auto sends = weft::spawn([&, w = std::move(conn.writer)]() mutable { w.write(much); });
    auto echoes = weft::spawn([&] {
      std::array<char, 5000> buffer;
      while (const std::size_t n = pair.server.read_some(buffer)) pair.server.write({buffer.data(), n});
      pair.server.close();
    });
    std::string back(much.size() + 1, '\0');
    EXPECT_EQ(conn.reader.read_full(back), much.size());  // the end, once the writer has gone
    sends.join();
    echoes.join();
    EXPECT_TRUE(is_open_number(number));
    conn.reader = {};
    EXPECT_FALSE(is_open_number(number));
  });
}

TEST(Split, DeadlinesAreOfOneHalf) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    const std::string ends =
        pair.client.local_endpoint().to_string() + "->" + pair.client.remote_endpoint().to_string();
    auto conn = split(std::move(pair.client));
    conn.reader.set_deadline(1ms);
    std::array<char, 10> buffer;
    EXPECT_EQ(thrown_by([&] { conn.reader.read_some(buffer); }).second, "read tcp " + ends + ": i/o timeout");
    conn.writer.write("still");
    EXPECT_EQ(pair.server.read_some(buffer), 5u);
    conn.writer.set_deadline(0s);
    std::error_code ec;
    conn.writer.write("not", ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    conn.writer.shutdown();
    EXPECT_EQ(pair.server.read_some(buffer), 0u);
    decltype(conn.reader) none;
    none.set_deadline(1ms, ec);
    EXPECT_EQ(ec, weft::errc::closed);
    EXPECT_EQ(thrown_by([&] { none.read_some(buffer); }).first, weft::errc::closed);
  });
}

}  // namespace
