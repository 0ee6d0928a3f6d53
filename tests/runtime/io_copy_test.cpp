// copy through memory, and through what stands before a stream.
#include "copy_support.hpp"
#include "runtime_fixture.hpp"
#include "script_stream.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <string>
#include <system_error>

namespace {

namespace io = weft::io;  // not copy alone: an error_code argument would bring std::copy in
using testing_support::at_most;
using testing_support::connected_pair;
using testing_support::file_of;
using testing_support::native;
using testing_support::on_fibers;
using testing_support::pattern;
using testing_support::script_reader;
using testing_support::string_writer;
using testing_support::tcp_pair;
using testing_support::thrown_by;
using testing_support::transfer;
using weft::io::copy_options;

const std::error_code timed_out = std::make_error_code(std::errc::timed_out);

TEST(Copy, GoesThroughMemoryForWhateverReadsAndWrites) {
  const std::string all = pattern(100000);
  for (const std::size_t size : {1, 1000, 32768, 1 << 20}) {
    script_reader source{{all.substr(0, 500), {}}, {all.substr(500), {}}};
    string_writer sink;
    copy_options options;
    options.buffer = size;
    EXPECT_EQ(io::copy(sink, source, options), all.size());
    EXPECT_TRUE(sink.text == all);
  }
  script_reader source{{"abcdef", {}}};
  string_writer sink;
  EXPECT_EQ(io::copy(sink, source, at_most(4)), 4u);
  EXPECT_EQ(sink.text, "abcd");
  EXPECT_EQ(io::copy(sink, source, at_most(0)), 0u);
  EXPECT_EQ(io::copy(sink, weft::io::limit_reader(source, 1)), 1u);
  EXPECT_EQ(sink.text, "abcde");
}

TEST(Copy, WritesTheBytesThatCameWithAnError) {
  script_reader source{{"abc", timed_out}, {"d", {}}};
  string_writer sink;
  std::error_code ec;
  EXPECT_EQ(io::copy(sink, source, ec), 3u);
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(io::copy(sink, source, ec), 1u);
  EXPECT_FALSE(ec);
}

TEST(Copy, TellsWhatWasWrittenBeforeAFailure) {
  script_reader source{{std::string(100, 'x'), {}}};
  string_writer sink(60);
  copy_options options;
  options.buffer = 25;
  try {
    io::copy(sink, source, options);
    ADD_FAILURE() << "no error";
  } catch (const weft::io_error& error) {
    EXPECT_EQ(error.code(), std::errc::no_space_on_device);
    EXPECT_EQ(error.transferred(), 60u);
    EXPECT_EQ(error.operation().operation, "write");
  }
}

// The head of a stream is read with a buffered_reader, the rest copied; what it had read ahead comes first.
TEST(Copy, EmptiesABufferedReaderFirst) {
  on_fibers([] {
    tcp_pair in = connected_pair();
    tcp_pair out = connected_pair();
    weft::io::buffered_reader reader(in.server);
    in.client.write("head\nbody ");
    std::string head;
    EXPECT_TRUE(reader.read_line(head, 100));
    in.client.write("and more, and the next");
    EXPECT_EQ(io::copy(out.client, weft::io::limit_reader(reader, 14)), 14u);
    std::string body(14, '\0');
    EXPECT_EQ(out.server.read_full(body), 14u);
    EXPECT_EQ(body, "body and more,");
    EXPECT_EQ(io::copy(out.client, reader, at_most(4)), 4u);
    in.client.close();
    EXPECT_EQ(io::copy(out.client, reader), 9u);
    std::string rest(13, '\0');
    EXPECT_EQ(out.server.read_full(rest), 13u);
    EXPECT_EQ(rest, " and the next");
  });
  weft::io::buffered_reader reader(script_reader{{"abcdef", {}}, {"gh", {}}});
  EXPECT_EQ(reader.peek(1), "a");
  string_writer full(2);
  std::error_code ec;
  EXPECT_EQ(io::copy(full, reader, ec), 2u);
  EXPECT_EQ(ec, std::errc::no_space_on_device);
  string_writer sink;
  EXPECT_EQ(io::copy(sink, reader, ec), 6u);  // it has kept what could not be written
  EXPECT_EQ(sink.text, "cdefgh");
}

TEST(Copy, GivesTheErrorThatABufferedReaderKeeps) {
  weft::io::buffered_reader reader(script_reader{{"abc", timed_out}, {"d", {}}});
  EXPECT_EQ(reader.peek(1), "a");
  string_writer sink;
  std::error_code ec;
  EXPECT_EQ(io::copy(sink, reader, at_most(3), ec), 3u);
  EXPECT_FALSE(ec);
  EXPECT_EQ(io::copy(sink, reader, ec), 0u);
  EXPECT_EQ(ec, timed_out);
  EXPECT_EQ(io::copy(sink, reader, ec), 1u);
  EXPECT_FALSE(ec);
}

TEST(Copy, AClosedHandleIsNamed) {
  weft::net::tcp_conn none;
  string_writer sink;
  EXPECT_EQ(thrown_by([&] { io::copy(sink, none); }).second, "read tcp: closed");
  script_reader source{{"abc", {}}};
  EXPECT_EQ(thrown_by([&] { io::copy(none, source); }).second, "write tcp: closed");
}

// The handles of files and pipes are what the system copies between.
TEST(Copy, KnowsFilesAndPipes) {
  on_fibers([] {
    weft::os::pipe_ends pipe = weft::os::pipe();
    native file = file_of("content");
    EXPECT_TRUE(transfer(pipe.writer, file, 4).handled);
    tcp_pair pair = connected_pair();
    EXPECT_TRUE(transfer(pair.client, pipe.reader, 4).handled);
    EXPECT_TRUE(transfer(pipe.writer, file, 100).handled);
    pipe.writer.close();
    EXPECT_EQ(io::copy(pair.client, pipe.reader), 3u);
    std::string got(7, '\0');
    EXPECT_EQ(pair.server.read_full(got), 7u);
    EXPECT_EQ(got, "content");
    auto ends = io::pipe();
    auto& a = ends.first;
    EXPECT_FALSE(transfer(a, pair.server, 1).handled);
  });
}

}  // namespace
