// Local sockets: streams, packets and datagrams between processes of one machine.
#include "tcp_pair.hpp"

#include <support/poll_seam.hpp>
#include <weft/weft.hpp>

#include <fcntl.h>
#include <sys/socket.h>
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
using testing_support::open_descriptors;
using testing_support::scaled;
using testing_support::thrown_by;
using namespace weft::net;

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

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::string abstract_name(const char* of) { return "@weft-" + std::to_string(::getpid()) + "-" + of; }

TEST(LocalEndpoint, ReadsPathsAndAbstractNames) {
  const local_endpoint path = local_endpoint::parse("/run/a");
  EXPECT_TRUE(path.is_path());
  EXPECT_EQ(path.to_string(), "/run/a");
  const local_endpoint abstract = local_endpoint::parse(std::string("@a\0b", 4));
  EXPECT_TRUE(abstract.is_abstract());
  EXPECT_EQ(abstract.text().size(), 4u);
  EXPECT_TRUE(local_endpoint().is_unnamed());
  EXPECT_NE(path, abstract);
  EXPECT_EQ(std::hash<local_endpoint>()(path), std::hash<local_endpoint>()(local_endpoint::parse("/run/a")));
  std::error_code ec;
  for (const std::string& bad : {std::string(), std::string(108, 'x'), std::string("a\0b", 3)}) {
    EXPECT_FALSE(local_endpoint::parse(bad, ec));
    EXPECT_EQ(ec, std::errc::invalid_argument);
  }
  EXPECT_TRUE(local_endpoint::parse(std::string(107, 'x'), ec));
  EXPECT_FALSE(ec);
  EXPECT_NE(thrown_by([] { (void)local_endpoint::parse(std::string(200, 'x')); }).second.find("longer than 107 bytes"),
            std::string::npos);
}

TEST(Local, StreamsOverPathsAndAbstractNames) {
  const directory dir;
  on_fibers([&] {
    for (const std::string& where : {dir / "socket", abstract_name("stream")}) {
      local_listener listener = listen_local(where);
      EXPECT_EQ(listener.local().to_string(), where);
      EXPECT_EQ(exists(dir / "socket"), where[0] == '/');
      local_conn client = dial_local(where);
      local_conn server = listener.accept();
      EXPECT_EQ(client.remote().to_string(), where);
      EXPECT_TRUE(client.local().is_unnamed());
      EXPECT_EQ(server.local().to_string(), where);
      const std::string sent(1 << 20, 'u');
      auto writer = weft::spawn([&] {
        client.write(sent);
        client.shutdown(shutdown_side::write);
      });
      std::string got(sent.size() + 1, '\0');
      EXPECT_EQ(server.read_full(got), sent.size());
      got.pop_back();
      EXPECT_TRUE(got == sent);
      writer.join();
      server.write("the other way still works");
      std::array<char, 100> buffer;
      EXPECT_EQ(client.read_some(buffer), 25u);
      const peer_credentials who = server.credentials();
      EXPECT_EQ(who.pid, ::getpid());
      EXPECT_EQ(who.uid, ::getuid());
    }
    EXPECT_FALSE(exists(dir / "socket"));
  });
}

// The file goes with the listener, unless it is to be kept or is no longer the listener's.
TEST(Local, TheFileOfASocketGoesWithItsListener) {
  const directory dir;
  const std::string path = dir / "socket";
  on_fibers([&] {
    local_listener listener = listen_local(path);
    EXPECT_EQ(thrown_by([&] { (void)listen_local(path); }).second, "listen unix " + path + ": address already in use");
    listener.close();
    EXPECT_FALSE(exists(path));

    local_listen_options options;
    options.keep_file = true;
    options.permissions = 0600;
    listen_local(path, options).close();
    EXPECT_TRUE(exists(path));
    struct stat s {};
    EXPECT_EQ(::stat(path.c_str(), &s), 0);
    EXPECT_EQ(s.st_mode & 0777u, 0600u);

    // A stale file is replaced on request, and only if nobody listens.
    EXPECT_EQ(thrown_by([&] { (void)listen_local(path); }).first, std::errc::address_in_use);
    EXPECT_EQ(thrown_by([&] { (void)dial_local(path); }).second, "dial unix " + path + ": connection refused");
    options = local_listen_options();
    options.replace_stale = true;
    local_listener replacing = listen_local(path, options);
    EXPECT_EQ(thrown_by([&] { (void)listen_local(path, options); }).first, std::errc::address_in_use);

    // What somebody else has put there is not ours to remove.
    EXPECT_EQ(::unlink(path.c_str()), 0);
    local_listener other = listen_local(path);
    replacing.close();
    EXPECT_TRUE(exists(path));
    {
      local_listener moved = std::move(other);
      EXPECT_TRUE(exists(path));
    }
    EXPECT_FALSE(exists(path));
  });
}

TEST(Local, ErrorsNameTheNetworkAndTheSocket) {
  const directory dir;
  on_fibers([&] {
    const std::string none = dir / "none";
    EXPECT_EQ(thrown_by([&] { (void)dial_local(none); }).second, "dial unix " + none + ": no such file or directory");
    EXPECT_EQ(thrown_by([&] { (void)dial_local_packet(none); }).second,
              "dial unixpacket " + none + ": no such file or directory");
    EXPECT_EQ(thrown_by([&] { (void)dial_local_datagram(none); }).second,
              "dial unixgram " + none + ": no such file or directory");
    EXPECT_EQ(thrown_by([&] { (void)listen_local(dir / "no" + "/dir"); }).first, std::errc::no_such_file_or_directory);
    EXPECT_EQ(thrown_by([&] { (void)listen_local(std::string(300, 'x')); }).first, std::errc::invalid_argument);
    // A stream's name is no datagram's.
    local_listener listener = listen_local(dir / "s");
    EXPECT_EQ(thrown_by([&] { (void)dial_local_datagram(dir / "s"); }).first, std::errc::wrong_protocol_type);
  });
  std::error_code ec;
  (void)dial_local("/tmp", ec);
  EXPECT_EQ(ec, weft::errc::no_runtime);
}

TEST(Local, AFullQueueIsTriedAgainUntilTheTimeIsUp) {
  on_fibers([] {
    const std::string where = abstract_name("full");
    local_listen_options options;
    options.backlog = 1;
    local_listener listener = listen_local(where, options);
    std::vector<local_conn> queued;
    local_dial_options soon;
    soon.timeout = 5ms;
    std::error_code ec;
    for (int i = 0; i < 100; ++i) {
      local_conn c = dial_local(where, soon, ec);
      if (ec) break;
      queued.push_back(std::move(c));
    }
    EXPECT_EQ(ec, std::errc::timed_out);
    EXPECT_GT(queued.size(), 0u);
    EXPECT_LT(queued.size(), 100u);
    std::stop_source source;
    auto stopped = weft::spawn([&] { (void)dial_local(where, source.get_token(), ec); });
    weft::this_fiber::yield();
    source.request_stop();
    stopped.join();
    EXPECT_EQ(ec, std::errc::operation_canceled);
    auto waiting = weft::spawn([&] { return dial_local(where).is_open(); });
    std::vector<local_conn> accepted;
    for (std::size_t i = 0; i <= queued.size(); ++i) accepted.push_back(listener.accept());
    EXPECT_TRUE(waiting.join());
  });
}

TEST(Local, PacketsKeepTheirBounds) {
  on_fibers([] {
    const std::string where = abstract_name("packets");
    local_packet_listener listener = listen_local_packet(where);
    local_packet_conn client = dial_local_packet(where);
    local_packet_conn server = listener.accept();
    client.send_message("one", {});
    client.send_message("three", {});
    std::array<char, 10> buffer;
    EXPECT_EQ(server.receive_message(buffer, 0).size, 3u);
    EXPECT_EQ(server.receive_message(buffer, 0).size, 5u);
    client.send_message("longer than the buffer", {});
    const local_message cut = server.receive_message(buffer, 0);
    EXPECT_EQ(cut.size, 10u);
    EXPECT_TRUE(cut.truncated);
    client.close();
    EXPECT_EQ(server.receive_message(buffer, 0).size, 0u);
  });
}

// The system tells of room in a receiver's queue only those whose datagrams it held.
TEST(Local, ASenderWaitsForAQueueThatIsFullOfOthersDatagrams) {
  on_fibers([] {
    const std::string where = abstract_name("queue");
    local_datagram receiver = listen_local_datagram(where);
    local_datagram other = listen_local_datagram(abstract_name("other"));
    local_datagram filler = dial_local_datagram(where);
    std::error_code ec;
    std::size_t in_queue = 0;
    for (filler.set_write_deadline(20ms); !ec && in_queue < 100'000; ++in_queue) filler.send_message("x", {}, ec);
    EXPECT_EQ(ec, std::errc::timed_out);

    local_datagram sender = listen_local_datagram(abstract_name("sender"));
    const auto await_sender = [&] {
      weft::testing::TEST_await_parked(*weft::io::access::descriptor(sender), weft::poll::mode::write);
    };
    sender.set_write_deadline(5ms);
    EXPECT_EQ(sender.send_to("late", receiver.local(), ec), 0u);
    EXPECT_EQ(ec, std::errc::timed_out);
    sender.clear_deadline();
    std::stop_source source;
    auto stopped = weft::spawn([&] { sender.send_to("late", receiver.local(), source.get_token(), ec); });
    await_sender();
    sender.send_to("elsewhere", other.local());  // is not held up
    source.request_stop();
    stopped.join();
    EXPECT_EQ(ec, std::errc::operation_canceled);

    auto waiting = weft::spawn([&] { sender.send_to("late", receiver.local()); });
    await_sender();
    std::array<char, 10> buffer;
    for (std::size_t i = 1; i < in_queue; ++i) receiver.receive_message(buffer, 0);
    EXPECT_EQ(receiver.receive_message(buffer, 0).size, 4u);
    waiting.join();

    for (ec.clear(), filler.set_write_deadline(20ms); !ec;) filler.send_message("x", {}, ec);
    auto closed = weft::spawn([&] { sender.send_to("never", receiver.local(), ec); });
    await_sender();
    sender.close();
    closed.join();
    EXPECT_EQ(ec, weft::errc::closed);
  });
}

TEST(Local, DatagramsReachNamesAndWaitForRoom) {
  const directory dir;
  on_fibers([&] {
    local_datagram receiver = listen_local_datagram(dir / "in");
    local_datagram sender = dial_local_datagram(dir / "in", "@");
    EXPECT_TRUE(sender.local().is_abstract());  // of the system's choice
    std::array<char, 10> buffer;
    sender.send_message("hello", {});
    const local_message got = receiver.receive_message(buffer, 0);
    EXPECT_EQ(got.size, 5u);
    EXPECT_EQ(got.from, sender.local());
    receiver.send_to("", got.from);
    EXPECT_EQ(sender.receive_message(buffer, 0).size, 0u);
    // More than the receiver's queue holds: the sender waits, nothing is lost.
    const int count = scaled(2000);
    auto flood = weft::spawn([&] {
      for (int i = 0; i < count; ++i) sender.send_message("x", {});
    });
    for (int i = 0; i < count; ++i) EXPECT_EQ(receiver.receive_message(buffer, 0).size, 1u);
    flood.join();
    receiver.close();
    std::error_code ec;
    sender.send_message("nobody", {}, ec);
    EXPECT_TRUE(ec == std::errc::connection_refused || ec == std::errc::not_connected) << ec.message();
    ::unlink((dir / "in").c_str());
  });
}

TEST(Local, DescriptorsTravelWithMessages) {
  on_fibers([] {
    auto ends = local_pair();
    local_conn& a = ends.first;
    local_conn& b = ends.second;
    std::array<char, 10> buffer;
    {
      weft::os::pipe_ends pipe = weft::os::pipe();
      const std::array<int, 1> number{pipe.writer.native_handle()};
      a.send_message("take", number);
      local_message got = b.receive_message(buffer, 4);
      EXPECT_EQ(got.size, 4u);
      ASSERT_EQ(got.descriptors.size(), 1u);
      EXPECT_TRUE(::fcntl(got.descriptors[0].get(), F_GETFD) & FD_CLOEXEC);
      pipe.writer.close();
      native_conn writer = from_native(got.descriptors[0].release());
      writer.write("through");
      EXPECT_EQ(pipe.reader.read_some(buffer), 7u);
    }
    // As many as the system takes, and one more.
    const std::size_t before = open_descriptors();
    std::vector<int> many(253, a.native_handle());
    a.send_message("x", many);
    EXPECT_EQ(b.receive_message(buffer, 253).descriptors.size(), 253u);
    many.push_back(a.native_handle());
    EXPECT_EQ(thrown_by([&] { a.send_message("x", many); }).first, std::errc::invalid_argument);
    // Those without room are closed, and one is told.
    many.resize(5);
    a.send_message("x", many);
    const local_message few = b.receive_message(buffer, 2);
    EXPECT_EQ(few.descriptors.size(), 2u);
    EXPECT_TRUE(few.truncated);
    EXPECT_EQ(open_descriptors(), before + 2);
  });
}

// A stream's read stops at the bytes that descriptors came with, so a short one does not mean that there is no more.
TEST(Local, AReadStopsAtDescriptorsAndTheNextFindsTheRest) {
  on_fibers([] {
    auto ends = local_pair();
    local_conn& a = ends.first;
    local_conn& b = ends.second;
    const std::array<int, 1> number{a.native_handle()};
    a.write("before");
    a.send_message("with", number);
    a.write("after");
    std::array<char, 100> buffer;
    std::string got;
    while (got.size() < 15) got.append(buffer.data(), b.read_some(buffer));
    EXPECT_EQ(got, "beforewithafter");
  });
}

// covers B27, D57
TEST(Local, DeadlinesStopsAndCloseEndWaits) {
  on_fibers([] {
    auto ends = local_pair();
    local_conn& a = ends.first;
    std::array<char, 10> buffer;
    std::error_code ec;
    a.set_read_deadline(2ms);
    a.read_some(buffer, ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    a.write("the other direction has none");
    a.clear_deadline();
    std::stop_source source;
    auto reader = weft::spawn([&] { a.receive_message(buffer, 1, source.get_token(), ec); });
    weft::this_fiber::yield();
    source.request_stop();
    reader.join();
    EXPECT_EQ(ec, std::errc::operation_canceled);
    auto parked = weft::spawn([&] { a.read_some(buffer, ec); });
    weft::this_fiber::yield();
    a.close();
    parked.join();
    EXPECT_EQ(ec, weft::errc::closed);
    // An acceptor likewise.
    local_listener listener = listen_local(abstract_name("close"));
    listener.set_deadline(1ms);
    (void)listener.accept(ec);
    EXPECT_EQ(ec, std::errc::timed_out);
    listener.clear_deadline();
    auto acceptor = weft::spawn([&] { (void)listener.accept(ec); });
    weft::this_fiber::yield();
    listener.close();
    acceptor.join();
    EXPECT_EQ(ec, weft::errc::closed);
  });
}

TEST(Local, ManyConnectionsAtOnce) {
  const int clients = scaled(200);
  on_fibers([&] {
    const std::string where = abstract_name("many");
    local_listener listener = listen_local(where);
    auto server = weft::spawn([&] {
      std::error_code ec;
      for (;;) {
        local_conn conn = listener.accept(ec);
        if (ec) return;
        weft::go([c = std::move(conn)]() mutable {
          std::array<char, 100> buffer;
          std::error_code error;
          while (const std::size_t n = c.read_some(buffer, error)) c.write({buffer.data(), n}, error);
        });
      }
    });
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < clients; ++i) {
      all.push_back(weft::spawn([&, i] {
        local_conn conn = dial_local(where);
        const std::string sent = "client " + std::to_string(i);
        conn.write(sent);
        std::string got(sent.size(), '\0');
        EXPECT_EQ(conn.read_full(got), sent.size());
        EXPECT_EQ(got, sent);
      }));
    }
    for (auto& f : all) f.join();
    listener.close();
    server.join();
  });
}

TEST(Local, PlainThreadsUseOneToo) {
  weft::runtime rt;
  const auto inside = rt.enter();
  auto ends = local_pair();
  local_conn& a = ends.first;
  local_conn& b = ends.second;
  std::thread echo([&b] {
    std::array<char, 100> buffer;
    while (const std::size_t n = b.read_some(buffer)) b.write({buffer.data(), n});
  });
  a.write("from a thread");
  std::array<char, 13> got;
  EXPECT_EQ(a.read_full(got), 13u);
  a.shutdown(shutdown_side::write);
  echo.join();
}

}  // namespace
