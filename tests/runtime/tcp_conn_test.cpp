// Connections end to end: streams, ends, resets, close and cancellation, from fibers and plain threads.
#include "migration.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace testing_support;
using weft::const_buffer;
using weft::mutable_buffer;
using weft::net::shutdown_side;
using weft::net::tcp_conn;

std::string pattern(std::size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::uint32_t state = seed * 2654435761u + 1;
  for (char& c : text) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

std::string read_to_end(tcp_conn& conn) {
  std::string all;
  std::array<char, 10'000> buffer;
  while (const std::size_t n = conn.read_some(buffer)) all.append(buffer.data(), n);
  return all;
}

TEST(TcpConn, CarriesBytesBothWays) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    pair.client.write("ping");
    std::array<char, 64> buffer;
    EXPECT_EQ(pair.server.read_some(buffer), 4u);
    EXPECT_EQ(std::string(buffer.data(), 4), "ping");
    pair.server.write(std::string("pong!"));
    EXPECT_EQ(pair.client.read_full(std::span(buffer).first(5)), 5u);
    EXPECT_EQ(std::string(buffer.data(), 5), "pong!");
    EXPECT_EQ(pair.client.local_endpoint(), pair.server.remote_endpoint());
    EXPECT_EQ(pair.client.remote_endpoint(), pair.server.local_endpoint());
  });
}

TEST(TcpConn, EmptyBufferReturnsAtOnce) {  // covers E68
  on_fibers([] {
    tcp_pair pair = connected_pair();
    EXPECT_EQ(pair.client.read_some(mutable_buffer()), 0u);  // and nothing is there to read
    EXPECT_EQ(pair.client.read_full(mutable_buffer()), 0u);
    pair.client.write(const_buffer());
    pair.client.writev({});
    std::error_code ec = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(pair.client.read_some(mutable_buffer(), ec), 0u);
    EXPECT_FALSE(ec);
    pair.server.write("x");
    std::array<char, 1> one;
    EXPECT_EQ(pair.client.read_some(mutable_buffer()), 0u);
    EXPECT_EQ(pair.client.read_some(one), 1u);
  });
}

TEST(TcpConn, CloseOfThePeerIsTheEndOfTheStream) {  // covers E69
  on_fibers([] {
    tcp_pair pair = connected_pair();
    pair.client.write("last words");
    pair.client.close();
    EXPECT_EQ(read_to_end(pair.server), "last words");
    std::array<char, 8> buffer;
    EXPECT_EQ(pair.server.read_some(buffer), 0u);
    EXPECT_EQ(pair.server.read_full(buffer), 0u);
  });
}

TEST(TcpConn, HalfCloseLeavesTheOtherDirectionAlone) {  // covers E69
  on_fibers([] {
    tcp_pair pair = connected_pair();
    const std::string question = pattern(100'000, 1);
    const std::string answer = pattern(300'000, 2);
    auto server = weft::spawn([&] {
      EXPECT_EQ(read_to_end(pair.server), question);
      pair.server.write(answer);
      pair.server.shutdown(shutdown_side::write);
    });
    pair.client.write(question);
    pair.client.shutdown(shutdown_side::write);
    EXPECT_EQ(read_to_end(pair.client), answer);
    server.join();
    std::error_code ec;
    EXPECT_EQ(pair.client.write("more", ec), 0u);
    EXPECT_EQ(ec, std::errc::broken_pipe);
  });
}

TEST(TcpConn, ShutdownOfReadingEndsReads) {  // covers E69
  on_fibers([] {
    tcp_pair pair = connected_pair();
    auto reader = weft::spawn([&] { return read_to_end(pair.client); });
    weft::this_fiber::yield();
    pair.client.shutdown(shutdown_side::read);
    EXPECT_EQ(reader.join(), "");
    pair.client.write("still writes");
    pair.client.shutdown(shutdown_side::both);
    EXPECT_EQ(read_to_end(pair.server), "still writes");
  });
}

TEST(TcpConn, FullReadGivesWhatThereWasBeforeTheEnd) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    std::array<char, 10> buffer;
    auto reader = weft::spawn([&] { return pair.server.read_full(buffer); });
    for (const char* part : {"ab", "c", "def"}) {
      pair.client.write(std::string_view(part));
      weft::this_fiber::yield();
    }
    pair.client.close();
    EXPECT_EQ(reader.join(), 6u);
    EXPECT_EQ(std::string(buffer.data(), 6), "abcdef");
  });
}

TEST(TcpConn, ResetIsAnErrorAndNotTheEnd) {  // covers E70
  on_fibers([] {
    tcp_pair pair = connected_pair();
    auto reader = weft::spawn([&] {
      std::array<char, 8> buffer;
      return thrown_by([&] { static_cast<void>(pair.server.read_some(buffer)); });
    });
    weft::this_fiber::yield();
    pair.client.set_linger(std::chrono::seconds(0));
    const std::string ends =
        pair.server.local_endpoint().to_string() + "->" + pair.server.remote_endpoint().to_string();
    pair.client.close();
    const auto [code, what] = reader.join();
    EXPECT_EQ(code, std::errc::connection_reset);
    EXPECT_EQ(what, "read tcp " + ends + ": connection reset by peer");
  });
}

TEST(TcpConn, WriteToAClosedPeerFailsAndNobodyDies) {  // covers E75 L162
  on_fibers([] {
    auto write_until_it_fails = [](tcp_conn& conn) {
      std::error_code ec;
      const std::string block(10'000, 'x');
      for (int round = 0; round < 100'000 && !ec; ++round) static_cast<void>(conn.write(block, ec));
      EXPECT_TRUE(ec == std::errc::broken_pipe || ec == std::errc::connection_reset) << ec.message();
      static_cast<void>(conn.write(block, ec));
      EXPECT_EQ(ec, std::errc::broken_pipe);
      static_cast<void>(conn.writev({block, block}, ec));
      EXPECT_EQ(ec, std::errc::broken_pipe);
    };
    for (int i = 0; i < 20; ++i) {
      tcp_pair pair = connected_pair();
      pair.server.close();
      if (i % 2 == 0) {
        write_until_it_fails(pair.client);
      } else {  // on a plain thread, without the signal mask that this one takes over from its worker
        std::thread plain([&] {
          sigset_t pipe;
          sigemptyset(&pipe);
          sigaddset(&pipe, SIGPIPE);
          pthread_sigmask(SIG_UNBLOCK, &pipe, nullptr);
          write_until_it_fails(pair.client);
        });
        weft::blocking([&] { plain.join(); });
      }
    }
  });
}

TEST(TcpConn, OneWriteSendsEverythingThroughASlowReader) {  // covers E73
  on_fibers([] {
    tcp_pair pair = connected_pair();
    pair.client.set_send_buffer(32 * 1024);
    const std::string all = pattern(2'000'000, 3);
    auto writer = weft::spawn([&] {
      std::error_code ec;
      const std::size_t sent = pair.client.write(all, ec);
      EXPECT_FALSE(ec);
      pair.client.shutdown(shutdown_side::write);
      return sent;
    });
    EXPECT_EQ(read_to_end(pair.server), all);
    EXPECT_EQ(writer.join(), all.size());
  });
}

TEST(TcpConn, VectorsKeepOrderAndTakeAnyNumber) {  // covers E79
  on_fibers([] {
    tcp_pair pair = connected_pair();
    for (const std::size_t count : {1u, 3u, 16u, 17u, 1024u, 1025u, 3000u}) {
      const std::string all = pattern(count * 7, static_cast<unsigned>(count));
      std::vector<const_buffer> out;
      for (std::size_t i = 0; i < count; ++i) {
        out.push_back(std::string_view(all).substr(i * 7, 7));
        if (i % 5 == 0) out.push_back(const_buffer());
      }
      auto writer = weft::spawn([&] { pair.client.writev(out); });
      std::string got(all.size(), '\0');
      std::vector<mutable_buffer> in;
      for (std::size_t i = 0; i < count; ++i) in.push_back(std::span(got).subspan(i * 7, 7));
      const std::size_t n = pair.server.readv(in);
      EXPECT_GT(n, 0u) << "of " << count;
      EXPECT_EQ(pair.server.read_full(std::span(got).subspan(n)), got.size() - n) << "of " << count;
      EXPECT_EQ(got, all) << "of " << count;
      writer.join();
    }
    pair.client.writev({"head", std::string("body"), const_buffer()});
    std::array<char, 3> a;
    std::array<char, 10> b;
    EXPECT_EQ(pair.server.readv({a, mutable_buffer(), b}), 8u);
    EXPECT_EQ(std::string(a.data(), 3) + std::string(b.data(), 5), "headbody");
  });
}

TEST(TcpConn, CloseEndsAWaitingReadAndReleasesTheNumber) {  // covers D57 D60
  on_fibers([] {
    for (int i = 0; i < scaled(200); ++i) {
      tcp_pair pair = connected_pair();
      const int number = pair.client.native_handle();
      auto reader = weft::spawn([&] {
        std::array<char, 8> buffer;
        std::error_code ec;
        EXPECT_EQ(pair.client.read_some(buffer, ec), 0u);
        return ec;
      });
      if (i % 2 == 0) weft::this_fiber::yield();
      pair.client.close();
      EXPECT_FALSE(is_open_number(number));
      EXPECT_EQ(reader.join(), weft::errc::closed);
      EXPECT_FALSE(pair.client.is_open());
      EXPECT_EQ(pair.client.native_handle(), -1);
      std::error_code ec;
      pair.client.close(ec);
      EXPECT_EQ(ec, weft::errc::closed);
    }
  });
}

TEST(TcpConn, CloseEndsAWaitingWriteAndTellsWhatWasSent) {  // covers D58
  on_fibers([] {
    tcp_pair pair = connected_pair();
    const std::string all(64'000'000, 'x');
    std::size_t transferred = 0;
    std::error_code code;
    auto writer = weft::spawn([&] {
      try {
        pair.client.write(all);
        ADD_FAILURE() << "sent more than any buffer holds";
      } catch (const weft::io_error& error) {
        transferred = error.transferred();
        code = error.code();
      }
    });
    std::array<char, 1000> buffer;
    EXPECT_EQ(pair.server.read_full(buffer), buffer.size());  // the write has begun, and cannot end
    pair.client.close();
    writer.join();
    EXPECT_EQ(code, weft::errc::closed);
    EXPECT_GE(transferred, buffer.size());
    EXPECT_LT(transferred, all.size());
    EXPECT_EQ(buffer.size() + read_to_end(pair.server).size(), transferred);
  });
}

TEST(TcpConn, CloseWakesAllWhoQueueForADirection) {  // covers D59
  on_fibers([] {
    for (int i = 0; i < scaled(50); ++i) {
      tcp_pair pair = connected_pair();
      std::vector<weft::fiber<std::error_code>> readers;
      for (int reader = 0; reader < 8; ++reader) {
        readers.push_back(weft::spawn([&] {
          std::array<char, 8> buffer;
          std::error_code ec;
          static_cast<void>(pair.client.read_some(buffer, ec));
          return ec;
        }));
      }
      for (int y = 0; y < i % 10; ++y) weft::this_fiber::yield();
      pair.client.close();
      for (auto& reader : readers) EXPECT_EQ(reader.join(), weft::errc::closed);
    }
  });
}

TEST(TcpConn, NumbersAreNotReusedUnderACall) {  // covers D61
  on_fibers([] {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    // Each connection carries its own letter, one way; a call on a reused number would see another's.
    auto storm = [&](char letter) {
      for (int round = 0; round < scaled(200); ++round) {
        tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
        conn.write(std::span(&letter, 1));
        auto reader = weft::spawn([&conn, letter] {
          std::array<char, 256> buffer;
          std::error_code ec;
          while (const std::size_t n = conn.read_some(buffer, ec)) {
            for (std::size_t i = 0; i < n; ++i) {
              if (buffer[i] != letter) return false;
            }
          }
          return true;
        });
        weft::this_fiber::yield();
        conn.close();
        EXPECT_TRUE(reader.join()) << "bytes of another connection";
      }
    };
    auto server = weft::spawn([&] {
      weft::net::serve(listener, [](tcp_conn conn) {
        char letter = 0;
        std::error_code ec;
        if (conn.read_full(std::span(&letter, 1), ec) != 1) return;
        conn.set_send_buffer(4096);
        const std::string block(2000, letter);
        while (!ec) static_cast<void>(conn.write(block, ec));
      });
    });
    std::vector<weft::fiber<>> storms;
    for (char letter = 'a'; letter < 'g'; ++letter) storms.push_back(weft::spawn(storm, letter));
    for (auto& s : storms) s.join();
    listener.close();
    server.join();
  });
}

TEST(TcpConn, ConcurrentWritesDoNotInterleave) {  // covers D62
  on_fibers([] {
    tcp_pair pair = connected_pair();
    constexpr std::size_t block = 150'000;  // more than the system takes at once
    constexpr int blocks = 10;
    std::vector<weft::fiber<>> writers;
    for (char letter = 'a'; letter < 'e'; ++letter) {
      writers.push_back(weft::spawn([&pair, letter] {
        const std::string half(block / 2, letter);
        for (int i = 0; i < blocks; ++i) {
          if (i % 2 == 0)
            pair.client.write(half + half);
          else
            pair.client.writev({half, half});
        }
      }));
    }
    auto closer = weft::spawn([&] {
      for (auto& writer : writers) writer.join();
      pair.client.close();
    });
    const std::string all = read_to_end(pair.server);
    closer.join();
    EXPECT_EQ(all.size(), block * blocks * writers.size());
    for (std::size_t at = 0; at < all.size(); at += block) {
      ASSERT_EQ(all.compare(at, block, std::string(block, all[at])), 0) << "a write was cut after " << at;
    }
  });
}

TEST(TcpConn, ConcurrentReadsLoseAndDoubleNothing) {  // covers D62
  on_fibers([] {
    tcp_pair pair = connected_pair();
    std::array<std::atomic<int>, 256> seen{};
    std::vector<weft::fiber<>> readers;
    for (int i = 0; i < 4; ++i) {
      readers.push_back(weft::spawn([&] {
        std::array<unsigned char, 97> buffer;
        while (const std::size_t n = pair.server.read_some(buffer)) {
          for (std::size_t k = 0; k < n; ++k) ++seen[buffer[k]];
        }
      }));
    }
    std::array<unsigned char, 256> every;
    for (unsigned i = 0; i < every.size(); ++i) every[i] = static_cast<unsigned char>(i);
    const int rounds = scaled(1000);
    for (int i = 0; i < rounds; ++i) pair.client.write(every);
    pair.client.close();
    for (auto& reader : readers) reader.join();
    for (const auto& count : seen) EXPECT_EQ(count, rounds);
  });
}

TEST(TcpConn, EmptyHandleIsClosed) {
  on_fibers([] {
    tcp_conn conn;
    std::array<char, 8> buffer;
    EXPECT_FALSE(conn.is_open());
    EXPECT_EQ(conn.native_handle(), -1);
    EXPECT_EQ(conn.local_endpoint(), weft::net::endpoint());
    const auto closed = make_error_code(weft::errc::closed);
    EXPECT_EQ(thrown_by([&] { static_cast<void>(conn.read_some(buffer)); }).first, closed);
    EXPECT_EQ(thrown_by([&] { static_cast<void>(conn.read_full(buffer)); }).first, closed);
    EXPECT_EQ(thrown_by([&] { conn.write("x"); }).first, closed);
    EXPECT_EQ(thrown_by([&] { conn.writev({"x"}); }).first, closed);
    EXPECT_EQ(thrown_by([&] { static_cast<void>(conn.readv({buffer})); }).first, closed);
    EXPECT_EQ(thrown_by([&] { conn.shutdown(shutdown_side::both); }).first, closed);
    EXPECT_EQ(thrown_by([&] { conn.set_no_delay(true); }).first, closed);
    EXPECT_EQ(thrown_by([&] { static_cast<void>(conn.send_buffer()); }).first, closed);
    EXPECT_EQ(thrown_by([&] { conn.close(); }).first, closed);
  });
}

TEST(TcpConn, MoveLeavesAWaitingCallAloneAndAssignmentEndsIt) {
  if (weft::sched::forced_migration) GTEST_SKIP() << "fibers run in no order in this build";
  auto body = [] {
    tcp_pair pair = connected_pair();
    auto start_read = [](tcp_conn& conn) {
      auto reader = weft::spawn([&conn] {
        std::array<char, 8> buffer;
        std::error_code ec;
        const std::size_t n = conn.read_some(buffer, ec);
        return std::pair(n, ec);
      });
      weft::this_fiber::yield();  // with one worker, it now runs until it waits
      return reader;
    };
    auto reader = start_read(pair.client);
    tcp_conn moved = std::move(pair.client);
    pair.server.write("hi");
    EXPECT_EQ(reader.join(), std::pair(std::size_t{2}, std::error_code()));
    EXPECT_FALSE(pair.client.is_open());
    EXPECT_TRUE(moved.is_open());

    auto second = start_read(moved);
    moved = tcp_conn();
    EXPECT_EQ(second.join().second, weft::errc::closed);
    std::array<char, 8> buffer;
    EXPECT_EQ(pair.server.read_some(buffer), 0u);
  };
  on_fibers(body, with_workers(1));
}

TEST(TcpConn, StopEndsAWaitingReadAndLosesNothing) {
  on_fibers([] {
    for (int i = 0; i < scaled(100); ++i) {
      tcp_pair pair = connected_pair();
      auto reader = weft::spawn([&] {
        std::array<char, 8> buffer;
        return pair.server.read_full(buffer);
      });
      if (i % 2 == 0) weft::this_fiber::yield();
      reader.request_stop();
      EXPECT_THROW(static_cast<void>(reader.join()), weft::canceled_error);
      pair.client.write("untouched");
      std::array<char, 9> buffer;
      EXPECT_EQ(pair.server.read_full(buffer), buffer.size());
      EXPECT_EQ(std::string(buffer.data(), buffer.size()), "untouched");
    }
  });
}

TEST(TcpConn, StopOfAWriteTellsWhatWasSent) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    const std::string all(64'000'000, 'x');
    std::size_t transferred = 0;
    auto writer = weft::spawn([&] {
      try {
        pair.client.write(all);
      } catch (const weft::canceled_error& error) {
        transferred = error.transferred();
        pair.client.close();
      }
    });
    std::array<char, 1000> buffer;
    EXPECT_EQ(pair.server.read_full(buffer), buffer.size());
    writer.request_stop();
    const std::size_t rest = read_to_end(pair.server).size();
    writer.join();
    EXPECT_EQ(transferred, buffer.size() + rest);
  });
}

TEST(TcpConn, OptionsReachTheSocket) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    auto option = [&](int level, int name) {
      int value = -1;
      socklen_t size = sizeof value;
      EXPECT_EQ(getsockopt(pair.client.native_handle(), level, name, &value, &size), 0);
      return value;
    };
    pair.client.set_no_delay(false);
    EXPECT_EQ(option(IPPROTO_TCP, TCP_NODELAY), 0);
    pair.client.set_no_delay(true);
    EXPECT_NE(option(IPPROTO_TCP, TCP_NODELAY), 0);
    pair.client.set_keep_alive({true, std::chrono::seconds(7), std::chrono::seconds(3), 5});
    EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 7);
    EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPINTVL), 3);
    EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPCNT), 5);
    weft::net::keep_alive off;
    off.enabled = false;
    pair.client.set_keep_alive(off);
    EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 0);
    pair.client.set_receive_buffer(40'000);
    pair.client.set_send_buffer(30'000);
    EXPECT_EQ(pair.client.receive_buffer(), option(SOL_SOCKET, SO_RCVBUF));
    EXPECT_EQ(pair.client.send_buffer(), option(SOL_SOCKET, SO_SNDBUF));
    EXPECT_EQ(pair.client.send_buffer(), 60'000);
    std::error_code ec;
    pair.client.set_keep_alive({true, std::chrono::seconds(-1), std::chrono::seconds(3), 5}, ec);
    EXPECT_EQ(ec, std::errc::invalid_argument);
    const auto [code, what] = thrown_by([&] {
      pair.client.set_keep_alive({true, std::chrono::hours(1'000'000'000), std::chrono::seconds(3), 5});
    });
    EXPECT_EQ(code, std::errc::invalid_argument);
    EXPECT_EQ(what.find("set keep_alive of tcp " + pair.client.local_endpoint().to_string() + "->"), 0u) << what;
    pair.client.set_linger(std::nullopt);
    pair.client.set_linger(std::chrono::seconds(1));
  });
}

TEST(TcpConn, WorksFromPlainThreads) {
  on_fibers([] {
    tcp_pair pair = connected_pair();
    auto server = weft::spawn([&] {
      std::array<char, 1000> buffer;
      while (const std::size_t n = pair.server.read_some(buffer)) pair.server.write(std::span(buffer).first(n));
      pair.server.close();
    });
    std::thread plain([&] {
      const std::string all = pattern(500, 9);
      std::string got(all.size(), '\0');
      for (int i = 0; i < 50; ++i) {
        pair.client.write(all);
        EXPECT_EQ(pair.client.read_full(got), got.size());
        EXPECT_EQ(got, all);
      }
      pair.client.shutdown(shutdown_side::write);
      EXPECT_EQ(pair.client.read_some(got), 0u);
    });
    server.join();
    weft::blocking([&] { plain.join(); });
  });
}

TEST(TcpConn, OutlivesItsRuntimeAsAClosedOne) {
  tcp_pair pair;
  weft::run([&] { pair = connected_pair(); });
  std::array<char, 8> buffer;
  std::error_code ec;
  EXPECT_EQ(pair.client.read_some(buffer, ec), 0u);
  EXPECT_EQ(ec, weft::errc::closed);
  pair.server.write("x", ec);
  EXPECT_TRUE(ec == weft::errc::closed || !ec);  // what needs no wait may still work
}

TEST(TcpConn, ManyIdleConnectionsDoNotHinderTheBusyOnes) {  // covers E77
  on_fibers([] {
    weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
    auto server = weft::spawn([&] {
      weft::net::serve(listener, [](tcp_conn conn) {
        std::array<char, 2000> buffer;
        while (const std::size_t n = conn.read_some(buffer)) conn.write(std::span(buffer).first(n));
      });
    });
    std::vector<tcp_conn> idle;
    for (int i = 0; i < scaled(1000); ++i) idle.push_back(weft::net::dial_tcp(listener.local_endpoint()));
    std::vector<weft::fiber<>> busy;
    for (unsigned k = 0; k < 20; ++k) {
      busy.push_back(weft::spawn([&, k] {
        tcp_conn conn = weft::net::dial_tcp(listener.local_endpoint());
        const std::string all = pattern(512, k);
        std::string got(all.size(), '\0');
        for (int i = 0; i < scaled(1000); ++i) {
          conn.write(all);
          ASSERT_EQ(conn.read_full(got), got.size());
          ASSERT_EQ(got, all);
        }
      }));
    }
    for (auto& b : busy) b.join();
    for (tcp_conn& conn : idle) {
      conn.write("!");
      std::array<char, 1> one;
      EXPECT_EQ(conn.read_some(one), 1u);
    }
    idle.clear();
    listener.close();
    server.join();
  });
}

}  // namespace
