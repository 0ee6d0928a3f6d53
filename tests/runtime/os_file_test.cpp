// Files: what blocks its thread while other fibers go on.
#include "migration.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::is_open_number;
using testing_support::on_fibers;
using testing_support::thrown_by;
namespace os = weft::os;

// directory is an empty one of the test's own, gone with it.
class directory {
 public:
  directory() {
    std::string pattern = std::string(::testing::TempDir()) + "/weft-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~directory() { std::system(("rm -rf '" + path_ + "'").c_str()); }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

std::string content_of(os::file& f) {
  std::string s(static_cast<std::size_t>(f.size()), '\0');
  EXPECT_EQ(f.read_at(s, 0), s.size());
  return s;
}

// covers C52
TEST(OsFile, ReadsAndWritesAtItsPosition) {
  const directory dir;
  on_fibers([&] {
    os::file f = os::create_file(dir / "a");
    EXPECT_EQ(f.path(), dir / "a");
    f.write("hello, ");
    f.writev({"wor", "", "ld"});
    EXPECT_EQ(f.size(), 12);
    EXPECT_EQ(f.seek(0), 0);
    std::array<char, 5> head;
    EXPECT_EQ(f.read_some(head), 5u);
    EXPECT_EQ(std::string_view(head.data(), 5), "hello");
    std::array<char, 100> rest;
    EXPECT_EQ(f.read_full(rest), 7u);
    EXPECT_EQ(f.read_some(rest), 0u);  // the end
    EXPECT_EQ(f.seek(-5, os::seek_from::end), 7);
    EXPECT_EQ(f.seek(1, os::seek_from::current), 8);
    EXPECT_EQ(f.read_some(rest), 4u);
    EXPECT_EQ(std::string_view(rest.data(), 4), "orld");
    std::error_code ec;
    f.wait_readable(ec);  // never waits
    EXPECT_FALSE(ec);
  });
}

TEST(OsFile, ReadsAndWritesAtPlacesOfTheirOwn) {
  const directory dir;
  on_fibers([&] {
    os::file f = os::create_file(dir / "a");
    std::vector<weft::fiber<void>> writers;
    for (int i = 0; i < 20; ++i) {
      writers.push_back(weft::spawn([&f, i] { f.write_at(std::string(1000, static_cast<char>('a' + i)), i * 1000); }));
    }
    for (auto& w : writers) w.join();
    EXPECT_EQ(f.seek(0, os::seek_from::current), 0);
    const std::string all = content_of(f);
    ASSERT_EQ(all.size(), 20'000u);
    for (std::size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<char>('a' + i / 1000)) << i;
    f.resize(10);
    EXPECT_EQ(content_of(f), std::string(10, 'a'));
    std::array<char, 10> buffer;
    EXPECT_EQ(f.read_at(buffer, 4), 6u);
    EXPECT_EQ(f.read_at(buffer, 10), 0u);
    f.sync();
    f.sync_data();
  });
}

TEST(OsFile, OptionsSayHowItIsOpened) {
  const directory dir;
  on_fibers([&] {
    os::open_options create;
    create.access = os::file_access_mode::write;
    create.create = create.exclusive = true;
    create.permissions = 0600;
    os::open_file(dir / "a", create).write("one");
    struct stat s {};
    EXPECT_EQ(::stat((dir / "a").c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 0777u, 0600u);
    std::error_code ec;
    EXPECT_FALSE(os::open_file(dir / "a", create, ec).is_open());
    EXPECT_EQ(ec, std::errc::file_exists);
    os::open_options append;
    append.access = os::file_access_mode::write;
    append.append = true;
    os::file appending = os::open_file(dir / "a", append);
    appending.write(" two");
    appending.write_at("x", 0, ec);
    EXPECT_EQ(ec, std::errc::invalid_argument);
    os::file f = os::open_file(dir / "a");
    EXPECT_EQ(content_of(f), "one two");
    EXPECT_TRUE(::fcntl(f.native_handle(), F_GETFD) & FD_CLOEXEC);
    f.write("x", ec);
    EXPECT_EQ(ec, std::errc::bad_file_descriptor);  // opened to read
    append.append = false;
    append.truncate = true;
    os::file emptied = os::open_file(dir / "a", append);
    EXPECT_EQ(emptied.size(), 0);
  });
}

TEST(OsFile, ErrorsNameTheOperationAndThePath) {
  const directory dir;
  on_fibers([&] {
    const auto [code, what] = thrown_by([&] { (void)os::open_file(dir / "none"); });
    EXPECT_EQ(code, std::errc::no_such_file_or_directory);
    EXPECT_EQ(what, "open file " + dir / "none" + ": no such file or directory");
    std::error_code ec;
    (void)os::open_file(std::string("a\0b", 3), ec);
    EXPECT_EQ(ec, std::errc::invalid_argument);
    os::file folder = os::open_file(dir / "");
    std::array<char, 10> buffer;
    const auto reading = thrown_by([&] { folder.read_some(buffer); });
    EXPECT_EQ(reading.first, std::errc::is_a_directory);
    EXPECT_EQ(reading.second, "read file " + dir / "" + ": is a directory");
    os::open_options to_write;
    to_write.access = os::file_access_mode::write;
    os::file full = os::open_file("/dev/full", to_write);
    EXPECT_EQ(thrown_by([&] { full.write("x"); }).first, std::errc::no_space_on_device);
  });
  std::error_code ec;
  EXPECT_FALSE(os::open_file("/dev/null", ec).is_open());
  EXPECT_EQ(ec, weft::errc::no_runtime);
}

// covers B41
TEST(OsFile, RegularFilesRefuseDeadlines) {
  const directory dir;
  on_fibers([&] {
    os::file f = os::create_file(dir / "a");
    std::error_code ec;
    f.set_deadline(1s, ec);
    EXPECT_EQ(ec, weft::errc::not_pollable);
    EXPECT_EQ(thrown_by([&] { f.set_read_deadline(0s); }).second.find("set deadline of file "), 0u);
    f.write("still of use");
    f.close();
    f.set_deadline(1s, ec);
    EXPECT_EQ(ec, weft::errc::closed);
    f.close(ec);
    EXPECT_EQ(ec, weft::errc::closed);
    f.read_at(std::span<char>(), 0, ec);
    EXPECT_EQ(ec, weft::errc::closed);
  });
}

// A FIFO opened as a file is waited for like a socket.
TEST(OsFile, AFifoIsPolled) {
  const directory dir;
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  on_fibers([&] {
    os::file reader = os::open_file(dir / "fifo");
    os::open_options to_write;
    to_write.access = os::file_access_mode::write;
    os::file writer = os::open_file(dir / "fifo", to_write);
    std::array<char, 10> buffer;
    std::error_code ec;
    reader.set_read_deadline(1ms);
    EXPECT_EQ(reader.read_some(buffer, ec), 0u);
    EXPECT_EQ(ec, std::errc::timed_out);
    reader.clear_deadline();
    auto got = weft::spawn([&] { return reader.read_some(buffer); });
    writer.write("abc");
    EXPECT_EQ(got.join(), 3u);
    writer.close();
    EXPECT_EQ(reader.read_some(buffer), 0u);
  });
}

// covers J136
TEST(OsFile, OthersGoOnWhileACallBlocks) {
  const directory dir;
  on_fibers([&] {
    os::file f = os::create_file(dir / "a");
    const std::string large(8 << 20, 'x');
    std::atomic<bool> done{false};
    auto writer = weft::spawn([&] {
      for (int i = 0; i < 20; ++i) f.write_at(large, 0);
      f.sync();
      done = true;
    });
    long turns = 0;
    while (!done) {
      weft::this_fiber::yield();
      ++turns;
    }
    writer.join();
    EXPECT_GT(turns, weft::sched::forced_migration ? 5 : 1000);
  });
}

// covers D67
TEST(OsFile, CloseDoesNotWaitForACallStuckInTheSystem) {
  on_fibers([&] {
    // A pipe in blocking mode takes the place of the file behind the number: a file whose call is stuck.
    const directory dir;
    os::file f = os::create_file(dir / "a");
    const int number = f.native_handle();
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    ASSERT_EQ(::dup2(ends[0], number), number);  // reads of f block for good from here on
    std::atomic<bool> began{false};
    std::error_code ec;
    auto reader = weft::spawn([&] {
      std::array<char, 10> buffer;
      began = true;
      return f.read_some(buffer, ec);
    });
    while (!began) weft::this_fiber::yield();
    weft::this_fiber::sleep_for(20ms);  // so that it is inside, as a rule; the outcome is right in either case
    f.close();
    EXPECT_FALSE(f.is_open());
    EXPECT_EQ(::write(ends[1], "x", 1), 1);  // lets it go
    EXPECT_EQ(reader.join(), ec ? 0u : 1u);
    ::close(ends[0]);
    ::close(ends[1]);
    while (is_open_number(number)) weft::this_fiber::yield();  // closed by the last call
  });
}

TEST(OsFile, AStopIsNoticedWhenACallBegins) {
  const directory dir;
  on_fibers([&] {
    os::file f = os::create_file(dir / "a");
    std::stop_source source;
    f.write_at("abc", 0, source.get_token());
    source.request_stop();
    std::array<char, 10> buffer;
    std::error_code ec;
    EXPECT_EQ(f.read_at(buffer, 0, source.get_token(), ec), 0u);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    EXPECT_EQ(f.write_at("xyz", 0, source.get_token(), ec), 0u);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    EXPECT_EQ(content_of(f), "abc");
  });
}

TEST(OsFile, PlainThreadsUseOneToo) {
  const directory dir;
  weft::runtime rt;
  const auto inside = rt.enter();
  os::file f = os::create_file(dir / "a");
  f.write("from a thread");
  EXPECT_EQ(content_of(f), "from a thread");
  std::thread([&] { f.write_at("FROM", 0); }).join();
  EXPECT_EQ(content_of(f), "FROM a thread");
}

}  // namespace
