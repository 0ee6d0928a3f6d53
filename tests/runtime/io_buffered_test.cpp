// Reading and writing through buffers, and reading as much as is wanted.
#include "runtime_fixture.hpp"
#include "script_stream.hpp"
#include "tcp_pair.hpp"

#include <weft/io.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <system_error>
#include <type_traits>

namespace {

using testing_support::connected_pair;
using testing_support::on_fibers;
using testing_support::pattern;
using testing_support::script_reader;
using testing_support::string_writer;
using testing_support::thrown_by;
using testing_support::with_workers;
using weft::errc;
using weft::io::buffer_options;
using weft::io::buffered_reader;
using weft::io::buffered_writer;
using weft::io::limit_reader;

const std::error_code no_space = std::make_error_code(std::errc::no_space_on_device);
const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

buffer_options small(std::size_t size) {
  buffer_options options;
  options.size = size;
  return options;
}

static_assert(weft::io::reader<weft::net::tcp_conn> && weft::io::writer<weft::net::tcp_conn>);
static_assert(weft::io::reader<weft::io::pipe_end> && weft::io::writer<weft::io::pipe_end>);
static_assert(weft::io::reader<script_reader> && weft::io::writer<string_writer>);
static_assert(weft::io::reader<buffered_reader<script_reader&>> && weft::io::reader<limit_reader<script_reader>>);
static_assert(weft::io::writer<buffered_writer<weft::net::tcp_conn>>);
static_assert(!weft::io::reader<std::string> && !weft::io::writer<script_reader>);

// Which of the forms exist, and which of them throw nothing.
template <class... How>
concept line_form = requires(buffered_reader<script_reader>& r, std::string& s, How... how) {
  r.read_line(s, std::size_t{1}, static_cast<How>(how)...);
};
static_assert(line_form<> && line_form<std::error_code&> && line_form<std::stop_token> &&
              line_form<const std::stop_token&, std::error_code&>);
static_assert(!line_form<int> && !line_form<std::error_code&, std::stop_token> && !line_form<const std::error_code&>);

TEST(BufferedReader, LendsOrOwnsItsSource) {
  script_reader source{{"ab", {}}};
  buffered_reader borrows(source);
  buffered_reader owns(script_reader{{"cd", {}}});
  static_assert(std::is_same_v<decltype(borrows), buffered_reader<script_reader&>>);
  static_assert(std::is_same_v<decltype(owns), buffered_reader<script_reader>>);
  EXPECT_EQ(source.reads, 0);
  EXPECT_EQ(borrows.read_byte(), std::byte{'a'});
  EXPECT_EQ(owns.read_byte(), std::byte{'c'});
  EXPECT_EQ(source.reads, 1);
  EXPECT_EQ(borrows.buffered(), "b");
  buffered_reader moved(std::move(owns));
  EXPECT_EQ(moved.read_byte(), std::byte{'d'});
  EXPECT_EQ(moved.read_byte(), std::nullopt);
}

TEST(BufferedReader, ReadsOnceForManySmallReads) {
  script_reader source{{"hello", {}}, {" world", {}}};
  buffered_reader in(source);
  std::array<char, 2> two;
  std::string all;
  while (const std::size_t n = in.read_some(two)) all.append(two.data(), n);
  EXPECT_EQ(all, "hello world");
  EXPECT_EQ(source.reads, 3);
}

TEST(BufferedReader, ReadsLargePiecesDirectly) {
  script_reader source{{std::string(100, 'x'), {}}};
  buffered_reader in(source, small(10));
  std::array<char, 100> large;
  EXPECT_EQ(in.read_some(large), 100u);
  EXPECT_TRUE(in.buffered().empty());
}

TEST(BufferedReader, GivesBytesBeforeTheErrorThatCameWithThem) {
  buffered_reader in(script_reader{{"abc", timed_out}, {"def", {}}});
  std::array<char, 10> b;
  std::error_code ec;
  EXPECT_EQ(in.read_some(b, ec), 3u);
  EXPECT_FALSE(ec);
  EXPECT_EQ(in.read_some(b, ec), 0u);
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(in.read_full(std::span(b).first(2), ec), 2u);  // an error is not for ever
  EXPECT_FALSE(ec);
}

TEST(BufferedReader, ReadFullGivesLessAtTheEndAndCountsBeforeAnError) {
  buffered_reader in(script_reader{{"abc", {}}, {"de", timed_out}, {"fg", {}}});
  std::array<char, 6> b;
  std::error_code ec;
  EXPECT_EQ(in.read_full(b, ec), 5u);
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(in.read_full(b, ec), 2u);
  EXPECT_FALSE(ec);
}

TEST(BufferedReader, PeekLeavesTheBytesAndGrows) {
  buffered_reader in(script_reader{{"abc", {}}, {"defgh", {}}, {"i", timed_out}, {"jk", {}}}, small(4));
  EXPECT_EQ(in.peek(2), "ab");
  EXPECT_EQ(in.peek(8), "abcdefgh");
  std::error_code ec;
  EXPECT_EQ(in.peek(10, ec), "abcdefghi");
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(in.peek(20), "abcdefghijk");
  EXPECT_EQ(in.discard(3), 3u);
  EXPECT_EQ(in.peek(2), "de");
  EXPECT_EQ(in.discard(100), 8u);
  EXPECT_EQ(in.peek(1), "");
}

TEST(BufferedReader, DiscardCountsBeforeAnError) {
  buffered_reader in(script_reader{{"abc", timed_out}, {"def", {}}}, small(2));
  std::error_code ec;
  EXPECT_EQ(in.discard(5, ec), 3u);
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(in.discard(2, ec), 2u);
  EXPECT_EQ(in.read_byte(), std::byte{'f'});
}

TEST(BufferedReader, LinesEndWithLfOrCrLf) {
  buffered_reader in(script_reader{{"one\ntwo\r", {}}, {"\n\n\r\nfi\rve\r\r\nlast", {}}}, small(3));
  std::string line = "x";
  std::vector<std::string> lines;
  while (in.read_line(line, 8)) lines.push_back(line);
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "two", "", "", "fi\rve\r", "last"}));
  EXPECT_EQ(line, "");
  EXPECT_FALSE(in.read_line(line, 8));
}

// A line of every length around the limit and the buffer's size, in pieces of every size.
TEST(BufferedReader, LimitsLinesToTheByte) {
  for (const std::string end : {"\n", "\r\n", ""}) {
    for (std::size_t length = 1; length < 12; ++length) {
      for (std::size_t limit = 0; limit < 13; ++limit) {
        for (std::size_t cut = 0; cut <= length; ++cut) {
          const std::string text = std::string(length, 'x') + end + (end.empty() ? "" : "next\n");
          buffered_reader in(script_reader{{text.substr(0, cut), {}}, {text.substr(cut), {}}}, small(5));
          if (cut == 0) continue;  // an empty piece would be the end
          std::string line = "before";
          std::error_code ec;
          const bool got = in.read_line(line, limit, ec);
          if (length <= limit) {
            EXPECT_TRUE(got && !ec) << length << " of " << limit;
            EXPECT_EQ(line, std::string(length, 'x'));
            continue;
          }
          EXPECT_FALSE(got);
          EXPECT_EQ(ec, errc::too_long) << length << " of " << limit;
          EXPECT_EQ(line, "before");
          EXPECT_TRUE(in.read_line(line, 12));  // nothing of it was lost
          EXPECT_EQ(line, std::string(length, 'x'));
        }
      }
    }
  }
}

TEST(BufferedReader, ALoneCarriageReturnAtTheEndIsOfTheLine) {
  buffered_reader in(script_reader{{"abc\r", {}}});
  std::string line;
  EXPECT_EQ(thrown_by([&] { in.read_line(line, 3); }).first, errc::too_long);
  EXPECT_TRUE(in.read_line(line, 4));
  EXPECT_EQ(line, "abc\r");
}

TEST(BufferedReader, ATooLongLineCanBeDropped) {
  buffered_reader in(script_reader{{std::string(100, 'x'), {}}, {std::string(100, 'y') + "\nshort\nrest", {}}},
                     small(8));
  std::string line;
  EXPECT_EQ(thrown_by([&] { in.read_line(line, 50); }),
            (std::pair<std::error_code, std::string>(errc::too_long, "read: longer than the limit")));
  EXPECT_TRUE(in.discard_until('\n'));
  EXPECT_TRUE(in.read_line(line, 50));
  EXPECT_EQ(line, "short");
  EXPECT_FALSE(in.discard_until('\n'));
}

TEST(BufferedReader, AFailedLineIsReadWholeLater) {
  buffered_reader in(script_reader{{"half a ", timed_out}, {"line;more", {}}}, small(4));
  std::string text = "before";
  std::error_code ec;
  EXPECT_FALSE(in.read_until(text, ';', 100, ec));
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(text, "before");
  EXPECT_TRUE(in.read_until(text, ';', 100, ec));
  EXPECT_EQ(text, "half a line");
  EXPECT_TRUE(in.read_until(text, ';', ~std::size_t{0}));
  EXPECT_EQ(text, "more");
}

// The name of a stream of weft's is in the text, and a stop ends one call and loses nothing.
TEST(BufferedReader, NamesTheConnectionAndObeysTokens) {
  on_fibers([] {
    auto pair = connected_pair();
    buffered_reader in(pair.server);
    std::string line;
    pair.client.write("half");
    EXPECT_EQ(in.peek(1).substr(0, 1), "h");
    std::stop_source source;
    source.request_stop();
    std::error_code ec;
    EXPECT_FALSE(in.read_line(line, 10, source.get_token(), ec));
    EXPECT_EQ(ec, std::errc::operation_canceled);
    EXPECT_THROW(in.read_line(line, 10, source.get_token()), weft::canceled_error);
    pair.server.set_read_deadline(std::chrono::milliseconds(0));
    const auto [code, text] = thrown_by([&] { in.read_line(line, 10); });
    EXPECT_EQ(code, timed_out);
    EXPECT_EQ(text, "read tcp " + pair.server.local_endpoint().to_string() + "->" +
                        pair.server.remote_endpoint().to_string() + ": i/o timeout");
    pair.server.clear_deadline();
    pair.client.write(" a line\n");
    EXPECT_TRUE(in.read_line(line, 20));
    EXPECT_EQ(line, "half a line");
  });
}

TEST(BufferedWriter, JoinsSmallWrites) {
  string_writer sink;
  buffered_writer out(sink, small(4));
  EXPECT_EQ(out.size(), 4u);
  out.write("ab");
  out.write("cd");
  EXPECT_EQ(sink.writes, 0);
  EXPECT_EQ(out.buffered(), 4u);
  EXPECT_EQ(out.available(), 0u);
  out.write("efg");
  EXPECT_EQ(sink.text, "abcd");
  EXPECT_EQ(out.flush(), 3u);
  EXPECT_EQ(sink.text, "abcdefg");
  out.write("0123456789");  // nothing buffered: directly
  EXPECT_EQ(sink.text, "abcdefg0123456789");
  EXPECT_EQ(sink.writes, 3);
  EXPECT_EQ(out.flush(), 0u);
  EXPECT_EQ(sink.writes, 3);
}

TEST(BufferedWriter, AnySizesInAnyOrder) {
  const std::string all = pattern(5000);
  for (const std::size_t size : {1, 2, 7, 64, 4096}) {
    string_writer sink;
    buffered_writer out(sink, small(size));
    std::size_t at = 0;
    for (std::size_t step = 0; at < all.size(); ++step) {
      const std::size_t n = std::min(step * 7 % 150, all.size() - at);
      EXPECT_EQ(out.write(weft::const_buffer(all.data() + at, n)), n);
      at += n;
    }
    out.flush();
    EXPECT_TRUE(sink.text == all) << size;
  }
}

TEST(BufferedWriter, AFailureIsForGood) {
  string_writer sink(5);
  buffered_writer out(sink, small(4));
  std::error_code ec;
  EXPECT_EQ(out.write("abcd", ec), 4u);
  EXPECT_EQ(out.write("efgh", ec), 4u);
  EXPECT_FALSE(ec);
  EXPECT_EQ(out.write("i", ec), 0u);
  EXPECT_EQ(ec, no_space);
  EXPECT_EQ(sink.text, "abcde");
  EXPECT_EQ(out.buffered(), 3u);
  const int writes = sink.writes;
  EXPECT_EQ(out.write("j", ec), 0u);
  EXPECT_EQ(ec, no_space);
  EXPECT_EQ(out.flush(ec), 0u);
  EXPECT_EQ(ec, no_space);
  EXPECT_EQ(thrown_by([&] { out.flush(); }).second.substr(0, 6), "write:");
  EXPECT_EQ(sink.writes, writes);
}

TEST(BufferedWriter, TheDestructorDropsWhatWasNotFlushed) {
  string_writer sink;
  { buffered_writer(sink).write("lost"); }
  EXPECT_EQ(sink.writes, 0);
}

TEST(LimitReader, EndsAtItsLimitAndReadsNoFurther) {
  script_reader source{{"abcdef", {}}, {"ghi", {}}};
  limit_reader in(source, 8);
  std::array<char, 100> b;
  EXPECT_EQ(in.read_some(b), 6u);
  EXPECT_EQ(in.remaining(), 2u);
  EXPECT_EQ(in.read_some(b), 2u);
  EXPECT_EQ(in.read_some(b), 0u);
  EXPECT_EQ(source.reads, 2);
  EXPECT_EQ(source.read_some(b), 1u);
  EXPECT_EQ(limit_reader(script_reader{{"xy", {}}}, 10).read_some(b), 2u);
}

TEST(ReadFull, TellsACleanEndFromOneInTheMiddle) {
  script_reader source{{"abc", {}}, {"def", timed_out}, {"gh", {}}};
  std::array<char, 6> b;
  EXPECT_EQ(weft::io::read_full(source, b), 6u);  // the error came with the last byte wanted
  std::error_code ec;
  EXPECT_EQ(weft::io::read_full(source, b, ec), 2u);
  EXPECT_EQ(ec, errc::end_of_stream);
  EXPECT_EQ(weft::io::read_full(source, b, ec), 0u);
  EXPECT_FALSE(ec);
  script_reader half{{"abc", {}}};
  const auto [code, text] = thrown_by([&] { weft::io::read_full(half, b); });
  EXPECT_EQ(code, errc::end_of_stream);
  EXPECT_EQ(text, "read: unexpected end of the stream");
  EXPECT_EQ(weft::io::read_full(half, weft::mutable_buffer()), 0u);
}

TEST(ReadAll, HasALimit) {
  const std::string all = pattern(20000);
  for (const std::size_t limit : {20000, 20001, 1000000}) {
    script_reader source{{all.substr(0, 7), {}}, {all.substr(7), {}}};
    EXPECT_TRUE(weft::io::read_all(source, limit) == all) << limit;
  }
  EXPECT_EQ(weft::io::read_all(*std::make_unique<script_reader>(script_reader{{"abc", {}}}), ~std::size_t{0}), "abc");
  for (const std::size_t limit : {0, 1, 4095, 4096, 19999}) {
    script_reader source{{all, {}}};
    std::error_code ec;
    EXPECT_TRUE(weft::io::read_all(source, limit, ec) == all.substr(0, limit)) << limit;
    EXPECT_EQ(ec, errc::too_long);
  }
  script_reader empty{};
  EXPECT_EQ(weft::io::read_all(empty, 0), "");
}

}  // namespace
