// UDP sockets.
#include "tcp_pair.hpp"

#include <support/poll_seam.hpp>
#include <weft/weft.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <net/if.h>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::thrown_by;
using weft::net::dial_udp;
using weft::net::endpoint;
using weft::net::listen_udp;
using weft::net::received;
using weft::net::udp_socket;

struct pair {
  udp_socket server = listen_udp("127.0.0.1:0");
  udp_socket client = dial_udp(server.local_endpoint());
};

// await_reader returns when somebody is parked in a receive.
void await_reader(const udp_socket& s) {
  weft::testing::TEST_await_parked(*weft::io::access::descriptor(s), weft::poll::mode::read);
}

TEST(Udp, DatagramsKeepTheirBoundsAndTellWhereTheyAreFrom) {
  on_fibers([] {
    pair p;
    EXPECT_EQ(p.client.remote_endpoint(), p.server.local_endpoint());
    EXPECT_FALSE(p.server.remote_endpoint());
    std::array<char, 100> buffer;
    p.client.send("one");
    p.client.send("three");
    const received first = p.server.receive_from(buffer);
    EXPECT_EQ(std::string_view(buffer.data(), first.size), "one");
    EXPECT_EQ(first.from, p.client.local_endpoint());
    EXPECT_FALSE(first.truncated);
    EXPECT_EQ(p.server.receive(buffer), 5u);
    p.server.send_to("back", first.from);
    EXPECT_EQ(p.client.receive(buffer), 4u);
  });
}

// covers E71, E74
TEST(Udp, EmptyDatagramsAreSentAndAreNoEnd) {
  on_fibers([] {
    pair p;
    std::array<char, 10> buffer;
    p.client.send("");
    p.client.send("x");
    EXPECT_EQ(p.server.receive(buffer), 0u);
    EXPECT_EQ(p.server.receive(buffer), 1u);
    // An empty buffer takes one too.
    p.client.send("lost");
    p.client.send("y");
    const received none = p.server.receive_from(std::span<char>());
    EXPECT_EQ(none.size, 0u);
    EXPECT_TRUE(none.truncated);
    EXPECT_EQ(p.server.receive(buffer), 1u);
  });
}

// covers E71
TEST(Udp, AShortBufferCutsAndTells) {
  on_fibers([] {
    pair p;
    std::array<char, 4> buffer;
    p.client.send("datagram");
    const received r = p.server.receive_from(buffer);
    EXPECT_EQ(r.size, 4u);
    EXPECT_TRUE(r.truncated);
    p.client.send("next");
    EXPECT_FALSE(p.server.receive_from(buffer).truncated);
  });
}

// covers E72
TEST(Udp, CloseEndsAParkedReceiver) {
  on_fibers([] {
    pair p;
    std::error_code ec;
    std::array<char, 10> buffer;
    auto receiver = weft::spawn([&] { p.server.receive(buffer, ec); });
    await_reader(p.server);
    p.server.close();
    receiver.join();
    EXPECT_EQ(ec, weft::errc::closed);
    EXPECT_EQ(thrown_by([&] { p.server.send_to("x", p.client.local_endpoint()); }).first, weft::errc::closed);
  });
}

// covers E76
TEST(Udp, AbsentPeersAreReportedToAConnectedSocket) {
  const int rounds = scaled(200);
  std::atomic<int> reported{0};
  on_fibers([&] {
    const endpoint gone = [] {
      udp_socket s = listen_udp("127.0.0.1:0");
      return s.local_endpoint();
    }();
    // From another address, lest the system give the client that very port: it would hear itself.
    const endpoint elsewhere = endpoint::parse("127.0.0.2:0");
    for (int i = 0; i < rounds; ++i) {
      udp_socket client = dial_udp(gone, elsewhere);
      std::array<char, 10> buffer;
      std::error_code ec;
      // One that waits already hears of it.
      auto receiver = weft::spawn([&] { client.receive(buffer, ec); });
      await_reader(client);
      std::error_code sent;
      client.send("anybody?", sent);
      receiver.join();
      EXPECT_EQ(ec, std::errc::connection_refused);
      if (ec == std::errc::connection_refused) ++reported;
    }
    udp_socket client = dial_udp(gone, elsewhere);
    client.send("?");
    std::array<char, 10> buffer;
    const auto [code, what] = thrown_by([&] { client.receive(buffer); });
    EXPECT_EQ(code, std::errc::connection_refused);
    const std::string ends = client.local_endpoint().to_string() + "->" + gone.to_string();
    EXPECT_EQ(what, "receive udp " + ends + ": connection refused");
    // An unconnected socket is not bothered.
    udp_socket free = listen_udp("127.0.0.1:0");
    std::error_code ec;
    free.send_to("?", gone, ec);
    EXPECT_FALSE(ec);
    free.send_to("?", free.local_endpoint(), ec);
    EXPECT_FALSE(ec);
    EXPECT_EQ(free.receive(buffer), 1u);
  });
  std::printf("UDP to a closed port: %d of %d told to the parked receiver\n", reported.load(), rounds);
}

// covers B25, B22
TEST(Udp, DeadlinesEndReceives) {
  on_fibers([] {
    pair p;
    std::array<char, 10> buffer;
    std::error_code ec;
    p.client.send("there");
    p.server.set_read_deadline(0s);  // now counts as past, though there is a datagram
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(p.server.receive(buffer, ec), 0u);
      EXPECT_EQ(ec, std::errc::timed_out);
    }
    p.server.clear_deadline();
    EXPECT_EQ(p.server.receive(buffer), 5u);
    p.server.set_read_deadline(2ms);
    const auto [code, what] = thrown_by([&] { p.server.receive(buffer); });
    EXPECT_EQ(code, std::errc::timed_out);
    EXPECT_EQ(what, "receive udp " + p.server.local_endpoint().to_string() + ": i/o timeout");
    p.server.send_to("x", p.client.local_endpoint(), ec);  // the other direction has none
    EXPECT_FALSE(ec);
    p.server.set_write_deadline(0s);
    p.server.send_to("x", p.client.local_endpoint(), ec);
    EXPECT_EQ(ec, std::errc::timed_out);
  });
}

TEST(Udp, AStopEndsOneReceiveAndLosesNothing) {
  on_fibers([] {
    pair p;
    std::array<char, 10> buffer;
    for (int i = 0; i < scaled(300); ++i) {
      std::stop_source source;
      std::error_code ec;
      std::size_t size = 0;
      auto receiver = weft::spawn([&] { size = p.server.receive(buffer, source.get_token(), ec); });
      auto stopper = weft::spawn([&] { source.request_stop(); });
      p.client.send("datagram");
      receiver.join();
      stopper.join();
      if (ec) {
        EXPECT_EQ(ec, std::errc::operation_canceled);
        EXPECT_EQ(p.server.receive(buffer), 8u);
      } else {
        EXPECT_EQ(size, 8u);
      }
    }
  });
}

TEST(Udp, ManyReceiversShareASocket) {
  const int count = scaled(2000);
  std::atomic<int> got{0};
  on_fibers([&] {
    pair p;
    std::vector<weft::fiber<void>> receivers;
    for (int i = 0; i < 8; ++i) {
      receivers.push_back(weft::spawn([&] {
        std::array<char, 100> buffer;
        std::error_code ec;
        while (p.server.receive_from(buffer, ec).size > 0) {
          ++got;
          p.server.send_to("ok", p.client.local_endpoint(), ec);
        }
      }));
    }
    std::array<char, 10> answer;
    for (int i = 0; i < count; ++i) {
      p.client.send("ping");
      EXPECT_EQ(p.client.receive(answer), 2u);
    }
    p.server.close();
    for (auto& r : receivers) r.join();
  });
  EXPECT_EQ(got, count);
}

TEST(Udp, BatchesMoveManyInOneCall) {
  on_fibers([] {
    pair p;
    std::vector<std::string> texts;
    std::vector<weft::net::outgoing_datagram> out;
    for (int i = 0; i < 100; ++i) texts.push_back("datagram " + std::to_string(i));
    for (const std::string& t : texts) out.push_back({t, endpoint()});
    p.client.send_batch(out);
    std::set<std::string> got;
    std::array<std::array<char, 50>, 32> buffers;
    std::array<weft::net::incoming_datagram, 32> in;
    for (std::size_t i = 0; i < in.size(); ++i) in[i].buffer = buffers[i];
    std::size_t calls = 0;
    while (got.size() < texts.size()) {
      const std::size_t n = p.server.receive_batch(in);
      ++calls;
      for (std::size_t i = 0; i < n; ++i) {
        got.insert(std::string(buffers[i].data(), in[i].what.size));
        EXPECT_EQ(in[i].what.from, p.client.local_endpoint());
      }
    }
    EXPECT_EQ(got, std::set<std::string>(texts.begin(), texts.end()));
    EXPECT_LT(calls, 20u);
    // What cannot be sent ends the batch, and the count tells how far it came.
    const std::string too_much(70'000, 'x');
    const std::array<weft::net::outgoing_datagram, 3> bad{{{"a", {}}, {too_much, {}}, {"b", {}}}};
    std::error_code ec;
    EXPECT_EQ(p.client.send_batch(bad, ec), 1u);
    EXPECT_EQ(ec, std::errc::message_size);
    EXPECT_EQ(p.server.receive_batch(in), 1u);
    const std::span<weft::net::incoming_datagram> nothing;
    EXPECT_EQ(p.server.receive_batch(nothing), 0u);
    p.server.close();
    EXPECT_EQ(p.server.receive_batch(nothing, ec), 0u);
    EXPECT_EQ(ec, weft::errc::closed);
  });
}

TEST(Udp, TheSystemCutsAndJoinsSegments) {
  bool has_gso = true, has_gro = true;
  on_fibers([&] {
    pair p;
    const std::string data(2500, 's');
    std::error_code ec;
    p.client.send_segments(data, 1000, endpoint(), ec);
    if (ec) {
      EXPECT_EQ(ec, std::errc::no_protocol_option);
      has_gso = false;
      return;
    }
    const endpoint to = p.client.local_endpoint();
    EXPECT_EQ(thrown_by([&] { p.server.send_segments(std::string(70'000, 'x'), 1000, to); }).second,
              "send udp " + p.server.local_endpoint().to_string() + "->" + to.to_string() + ": message too long");
    std::stop_source stopped;
    stopped.request_stop();
    p.client.send_segments(data, 1000, endpoint(), stopped.get_token(), ec);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    std::array<char, 65536> buffer;
    EXPECT_EQ(p.server.receive(buffer), 1000u);
    EXPECT_EQ(p.server.receive(buffer), 1000u);
    EXPECT_EQ(p.server.receive(buffer), 500u);
    p.server.set_option(SOL_SOCKET, SO_TIMESTAMP, 1);  // its message comes first, and must not displace ours
    p.server.set_receive_segments(true, ec);
    if (ec) {
      EXPECT_EQ(ec, std::errc::no_protocol_option);
      has_gro = false;
      return;
    }
    p.client.send_segments(data, 1000);
    std::size_t total = 0;
    while (total < data.size()) {
      const received r = p.server.receive_from(buffer);
      EXPECT_FALSE(r.truncated);
      EXPECT_TRUE(r.size <= 1000 || r.segment == 1000) << r.size << " bytes, " << r.segment;
      total += r.size;
    }
    EXPECT_EQ(total, data.size());
  });
  if (!has_gso || !has_gro) GTEST_SKIP() << "this kernel has no UDP segmentation offload";
}

TEST(Udp, LargeAndTooLarge) {
  on_fibers([] {
    pair p;
    const std::string most(65'507, 'm');
    p.server.set_receive_buffer(1 << 20);
    p.client.set_send_buffer(1 << 20);
    p.client.send(most);
    std::vector<char> buffer(70'000);
    EXPECT_EQ(p.server.receive(buffer), most.size());
    EXPECT_EQ(thrown_by([&] { p.client.send(most + "x"); }).first, std::errc::message_size);
  });
}

TEST(Udp, BothFamiliesAtOneSocket) {
  bool has_ipv6 = true;
  on_fibers([&] {
    std::error_code ec;
    udp_socket both = listen_udp("[::]:0", ec);
    if (ec) {
      has_ipv6 = false;
      return;
    }
    std::array<char, 10> buffer;
    const std::uint16_t port = both.local_endpoint().port();
    udp_socket v4 = dial_udp("127.0.0.1:" + std::to_string(port));
    v4.send("four");
    const received r = both.receive_from(buffer);
    EXPECT_EQ(r.from, v4.local_endpoint());  // as IPv4, not as its IPv6 form
    both.set_multicast_hops(3);  // of both families: groups of either are sent to
    EXPECT_EQ(both.get_option(IPPROTO_IPV6, IPV6_MULTICAST_HOPS), 3);
    EXPECT_EQ(both.get_option<unsigned char>(IPPROTO_IP, IP_MULTICAST_TTL), 3);
    both.send_to("back", r.from);
    EXPECT_EQ(v4.receive(buffer), 4u);
    weft::net::udp_options only;
    only.ipv6_only = true;
    udp_socket six = listen_udp("[::]:0", only);
    six.send_to("x", v4.local_endpoint(), ec);
    EXPECT_TRUE(ec);  // no IPv4 from here
    udp_socket to_six = dial_udp("[::1]:" + std::to_string(six.local_endpoint().port()));
    to_six.send("six");
    EXPECT_EQ(six.receive(buffer), 3u);
    // A port taken by one family is free for the other.
    udp_socket same = listen_udp("127.0.0.1:" + std::to_string(six.local_endpoint().port()), ec);
    EXPECT_FALSE(ec) << ec.message();
  });
  if (!has_ipv6) GTEST_SKIP() << "no IPv6 here";
}

TEST(Udp, AddressesAreTakenOnceUnlessShared) {
  on_fibers([] {
    udp_socket first = listen_udp("127.0.0.1:0");
    const std::string where = first.local_endpoint().to_string();
    const auto [code, what] = thrown_by([&] { (void)listen_udp(where); });
    EXPECT_EQ(code, std::errc::address_in_use);
    EXPECT_EQ(what, "listen udp " + where + ": address already in use");
    weft::net::udp_options shared;
    shared.reuse_port = true;
    udp_socket a = listen_udp("127.0.0.1:0", shared);
    udp_socket b = listen_udp(a.local_endpoint(), shared);
    EXPECT_EQ(a.local_endpoint(), b.local_endpoint());
    EXPECT_EQ(thrown_by([] { (void)dial_udp("nowhere"); }).first, std::errc::invalid_argument);
    const endpoint from = endpoint::parse("127.0.0.2:0");
    udp_socket local = dial_udp(first.local_endpoint(), from);
    EXPECT_EQ(local.local_endpoint().address()[3], 2);
    EXPECT_TRUE(local.get_option(SOL_SOCKET, SO_BROADCAST) != 0);
    local.set_broadcast(false);
    EXPECT_EQ(local.get_option(SOL_SOCKET, SO_BROADCAST), 0);
  });
  std::error_code ec;
  (void)listen_udp("127.0.0.1:0", ec);
  EXPECT_EQ(ec, weft::errc::no_runtime);
}

TEST(Udp, TheLocalEndDecidesTheFamily) {
  on_fibers([] {
    udp_socket server = listen_udp("127.0.0.1:0");
    const std::string port = std::to_string(server.local_endpoint().port());
    // A wildcard takes on the peer's family, and is the machine itself as a peer.
    udp_socket from_any = dial_udp(server.local_endpoint(), endpoint::parse("[::]:0"));
    EXPECT_TRUE(from_any.local_endpoint().is_loopback());
    udp_socket to_any = dial_udp("0.0.0.0:" + port);
    EXPECT_EQ(to_any.remote_endpoint(), server.local_endpoint());
    std::array<char, 10> buffer;
    to_any.send("here");
    EXPECT_EQ(server.receive(buffer), 4u);
    std::stop_source stopped;
    stopped.request_stop();
    std::error_code ec;
    (void)dial_udp("localhost:1", stopped.get_token(), ec);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    (void)listen_udp("localhost:0", stopped.get_token(), ec);
    EXPECT_EQ(ec, std::errc::operation_canceled);
    std::error_code six;
    udp_socket local = listen_udp("[::1]:0", six);
    const std::vector<endpoint> found = weft::net::resolve("localhost", ec);
    const bool both = !ec && std::ranges::find(found, true, &endpoint::is_ipv6) != found.end();
    if (!six && both) {
      udp_socket named = dial_udp("localhost:" + port, endpoint::parse("[::1]:0"));
      EXPECT_TRUE(named.remote_endpoint().is_ipv6());
    }
  });
}

TEST(Udp, MembersOfAGroupGetWhatIsSentToIt) {
  bool has_multicast = true;
  on_fibers([&] {
    const unsigned loopback = ::if_nametoindex("lo");
    weft::net::udp_options shared;
    shared.reuse_address = true;
    udp_socket member = listen_udp("0.0.0.0:0", shared);
    const std::uint16_t port = member.local_endpoint().port();
    const endpoint group = endpoint::parse("239.255.77.77:0").with_port(port);
    std::error_code ec;
    member.join_group(group, loopback, ec);
    udp_socket sender = listen_udp("127.0.0.1:0");
    if (!ec) sender.set_multicast_interface(loopback, ec);
    if (!ec) sender.set_multicast_hops(1, ec);
    if (!ec) sender.send_to("to all", group, ec);
    if (ec) {
      EXPECT_TRUE(ec == std::errc::no_such_device || ec == std::errc::network_unreachable) << ec.message();
      has_multicast = false;
      return;
    }
    std::array<char, 10> buffer;
    EXPECT_EQ(member.receive(buffer), 6u);
    // The loopback interface hands everything back, so that this one shows in the option alone.
    sender.set_multicast_loop(false);
    EXPECT_EQ(sender.get_option<unsigned char>(IPPROTO_IP, IP_MULTICAST_LOOP), 0);
    EXPECT_EQ(sender.get_option<unsigned char>(IPPROTO_IP, IP_MULTICAST_TTL), 1);
    member.leave_group(group, loopback);
    EXPECT_TRUE(thrown_by([&] { member.leave_group(group, loopback); }).first);
  });
  if (!has_multicast) GTEST_SKIP() << "no multicast on the loopback interface here";
}

TEST(Udp, PlainThreadsUseOneToo) {
  weft::runtime rt;
  const auto inside = rt.enter();
  pair p;
  std::thread echo([&] {
    std::array<char, 100> buffer;
    for (int i = 0; i < 100; ++i) {
      const received r = p.server.receive_from(buffer);
      p.server.send_to({buffer.data(), r.size}, r.from);
    }
  });
  std::array<char, 100> buffer;
  for (int i = 0; i < 100; ++i) {
    p.client.send("from a thread");
    EXPECT_EQ(p.client.receive(buffer), 13u);
  }
  echo.join();
}

}  // namespace
