// weft::resolver against name servers of every kind.
#include "support/fake_name_server.hpp"
#include "tcp_pair.hpp"

#include <weft/sched/park.hpp>
#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <stop_token>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace testing_support;
using weft::net::endpoint;
using weft::net::lookup_errc;
using weft::net::resolve;
using weft::net::resolver_options;

const endpoint v4 = endpoint::ipv4({192, 0, 2, 1}, 0);
const endpoint other_v4 = endpoint::ipv4({198, 51, 100, 7}, 0);
const endpoint forged = endpoint::ipv4({203, 0, 113, 66}, 0);
const endpoint v6 = endpoint::ipv6({0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 0);

// temporary_file is there while the object exists.
class temporary_file {
 public:
  explicit temporary_file(const std::string& text) {
    static std::atomic<int> count{0};
    path_ = testing::TempDir() + "weft_resolver_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
    write(text);
  }
  ~temporary_file() { std::remove(path_.c_str()); }
  void write(const std::string& text) {
    const std::string next = path_ + "~";
    std::ofstream(next, std::ios::binary) << text;
    std::rename(next.c_str(), path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The options of a lookup that knows these servers and nothing of this machine.
resolver_options options_for(std::initializer_list<endpoint> servers, std::chrono::milliseconds timeout = 10s) {
  static const temporary_file config("search .\n");
  resolver_options o;
  o.servers = servers;
  o.timeout = timeout;
  o.config_file = config.path();
  o.hosts_file = "/nonexistent";
  return o;
}

fake_name_server::script says(std::vector<endpoint> addresses) {
  return [=](const dns_question& q) { return dns_reply{{good(q, addresses)}}; };
}
dns_reply silence(const dns_question&) { return {}; }

std::vector<endpoint> sorted(std::vector<endpoint> all) {
  std::ranges::sort(all);
  return all;
}

// A server that nobody runs: its port was just given back.
endpoint closed_port() {
  const fake_name_server gone(silence);
  return gone.where();
}

// outcome looks "host.test" up with these servers: the addresses, or the code.
struct outcome {
  std::vector<endpoint> found;
  std::error_code code;
};
outcome ask(const resolver_options& options, std::string_view host = "host.test") {
  outcome o;
  on_fibers([&] { o.found = resolve(host, options, o.code); });
  return o;
}

// covers N6
TEST(ResolverServer, AnswersOfEachFamilyAndOfBoth) {
  fake_name_server server(says({v4, v6, other_v4}));
  resolver_options options = options_for({server.where()});
  EXPECT_EQ(sorted(ask(options).found), sorted({v4, v6, other_v4}));
  EXPECT_EQ(server.asked(), 2);
  options.family = endpoint::family::ipv4;
  EXPECT_EQ(sorted(ask(options).found), sorted({v4, other_v4}));
  EXPECT_EQ(server.asked(), 3);
  options.family = endpoint::family::ipv6;
  EXPECT_EQ(ask(options).found, std::vector{v6});
}

TEST(ResolverServer, OneFamilyIsEnough) {
  fake_name_server server(
      [](const dns_question& q) { return dns_reply{{q.is_v6() ? message(q, {}, dns_nxdomain) : good(q, {v4})}}; });
  EXPECT_EQ(ask(options_for({server.where()})).found, std::vector{v4});
}

// The addresses that this machine has a way to come first.
TEST(ResolverServer, AddressesWithAWayComeFirst) {
  const endpoint here = endpoint::ipv4({127, 0, 0, 1}, 0);
  const endpoint nowhere = endpoint::ipv4({255, 255, 255, 255}, 0);  // not without SO_BROADCAST
  fake_name_server server(says({nowhere, here}));
  EXPECT_EQ(ask(options_for({server.where()})).found, (std::vector{here, nowhere}));
}

TEST(ResolverServer, AliasesAreFollowedWithinTheAnswer) {
  fake_name_server server([](const dns_question& q) {
    std::vector<dns_record> records{alias_of(q.name, "a.test"), alias_of("a.test", "b.test")};
    if (q.is_v4()) records.push_back(record_of("b.test", v4));
    return dns_reply{{message(q, records)}};
  });
  EXPECT_EQ(ask(options_for({server.where()})).found, std::vector{v4});
}

// covers N3
TEST(ResolverServer, ANameThatDoesNotExistSaysSo) {
  fake_name_server unknown([](const dns_question& q) { return dns_reply{{message(q, {}, dns_nxdomain)}}; });
  fake_name_server empty(says({}));
  for (fake_name_server* server : {&unknown, &empty}) {
    on_fibers([&] {
      const auto [code, what] =
          thrown_by([&] { static_cast<void>(resolve("host.test", options_for({server->where()}))); });
      EXPECT_EQ(code, lookup_errc::no_such_host);
      EXPECT_EQ(what, "lookup host.test: no such host");
      EXPECT_FALSE(weft::is_temporary(code) || weft::is_timeout(code));
    });
    EXPECT_LE(server->asked(), 4);
  }
}

// covers N7
TEST(ResolverServer, TheNextServerIsAskedWhenOneFailsOrIsSilent) {
  fake_name_server failing([](const dns_question& q) { return dns_reply{{message(q, {}, dns_servfail)}}; });
  fake_name_server silent(silence);
  fake_name_server second(says({v4}));
  EXPECT_EQ(ask(options_for({failing.where(), second.where()})).found, std::vector{v4});
  EXPECT_EQ(ask(options_for({closed_port(), second.where()})).found, std::vector{v4});
  EXPECT_EQ(ask(options_for({silent.where(), second.where()}, 200ms)).found, std::vector{v4});
  EXPECT_GE(failing.asked(), 1);
  EXPECT_GE(silent.asked(), 1);
}

// covers N4
TEST(ResolverServer, WithoutAnyAnswerItEndsInTime) {
  fake_name_server first(silence);
  fake_name_server second(silence);
  const auto begin = std::chrono::steady_clock::now();
  const std::error_code silent = ask(options_for({first.where(), second.where()}, 20ms)).code;
  EXPECT_EQ(silent, lookup_errc::timed_out);
  EXPECT_EQ(silent, std::errc::timed_out);
  EXPECT_TRUE(weft::is_timeout(silent) && weft::is_temporary(silent));
  EXPECT_EQ(silent.message(), "i/o timeout");
  // Each server twice: 20 and 40 ms.
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 120ms);
  EXPECT_EQ(first.asked(), 4);
  EXPECT_EQ(second.asked(), 4);

  fake_name_server failing([](const dns_question& q) { return dns_reply{{message(q, {}, dns_servfail)}}; });
  for (const endpoint& server : {failing.where(), closed_port()}) {
    const std::error_code dead = ask(options_for({server})).code;
    EXPECT_EQ(dead, lookup_errc::server_misbehaving);
    EXPECT_TRUE(weft::is_temporary(dead) && !weft::is_timeout(dead));
  }
}

// covers N8
TEST(ResolverServer, ATruncatedAnswerIsAskedForByTcp) {
  std::vector<endpoint> many;
  for (std::uint8_t i = 1; i <= 100; ++i) many.push_back(endpoint::ipv4({192, 0, 2, i}, 0));
  fake_name_server server(
      [&](const dns_question& q) { return dns_reply{{q.by_tcp ? good(q, many) : message(q, {}, dns_truncated)}}; });
  EXPECT_EQ(sorted(ask(options_for({server.where()})).found), many);
  EXPECT_EQ(server.asked_by_tcp(), 2);
}

TEST(ResolverServer, AHugeAnswerIsCut) {
  std::vector<endpoint> many;
  for (unsigned i = 0; i < 2000; ++i) {
    many.push_back(endpoint::ipv4({192, 0, static_cast<std::uint8_t>(i / 250), static_cast<std::uint8_t>(i % 250)}, 0));
  }
  fake_name_server server(
      [&](const dns_question& q) { return dns_reply{{q.by_tcp ? good(q, many) : message(q, {}, dns_truncated)}}; });
  EXPECT_EQ(ask(options_for({server.where()})).found.size(), 128u);
}

TEST(ResolverServer, AServerThatDiesInMidTcpIsLeftForTheNext) {
  for (const std::size_t bytes : {0, 1, 2, 3, 20}) {
    fake_name_server dying([&](const dns_question& q) {
      return q.by_tcp ? dns_reply{{good(q, {forged})}, {}, bytes} : dns_reply{{message(q, {}, dns_truncated)}};
    });
    fake_name_server second(says({v4}));
    const outcome o = ask(options_for({dying.where(), second.where()}, 500ms));
    EXPECT_EQ(o.found, std::vector{v4}) << bytes << " bytes: " << o.code.message();
    EXPECT_TRUE(ask(options_for({dying.where()}, 100ms)).code) << bytes << " bytes";
  }
}

// What comes before the answer, and must not be taken for it.
struct forgery {
  const char* name;
  std::function<dns_reply(const dns_question&)> reply;
};
const std::vector<forgery>& forgeries() {
  static const std::vector<forgery> all{
      {"garbage",
       [](const dns_question&) {
         return dns_reply{{std::string(40, '\xff'), "x", std::string(4000, 'z')}};
       }},
      {"nothing in the packet",
       [](const dns_question&) {
         return dns_reply{{"", ""}};
       }},
      {"another id",
       [](dns_question q) {
         q.id ^= 0x5555;
         return dns_reply{{good(q, {forged})}};
       }},
      {"another question",
       [](dns_question q) {
         q.name = "evil.test";
         return dns_reply{{good(q, {forged})}};
       }},
      {"from another port",
       [](const dns_question& q) {
         return dns_reply{{}, {good(q, {forged})}};
       }},
      {"an answer cut short", [](const dns_question& q) { return dns_reply{{good(q, {forged}).substr(0, 11)}}; }},
  };
  return all;
}

// covers N9
TEST(ResolverServer, ForgeriesAreIgnored) {
  for (const forgery& f : forgeries()) {
    fake_name_server server([&](const dns_question& q) {
      dns_reply reply = f.reply(q);
      reply.packets.push_back(good(q, {v4}));
      return reply;
    });
    const outcome o = ask(options_for({server.where()}));
    EXPECT_EQ(o.found, std::vector{v4}) << f.name << ": " << o.code.message();
    fake_name_server forger(f.reply);
    const outcome alone = ask(options_for({forger.where()}, 20ms));
    EXPECT_EQ(alone.code, std::errc::timed_out) << f.name << ": " << alone.code.message();
  }
}

// Answers that carry the right id and question, and nonsense.
TEST(ResolverServer, BrokenAnswersAreErrors) {
  const auto broken = [](const dns_question& q, std::size_t from) {
    std::string m = message(q, {record_of(q.name, v4)});
    for (std::size_t i = from; i < m.size(); ++i) m[i] = '\xee';
    return m;
  };
  const auto looping = [](const dns_question& q) {
    std::string m = message(q, {});
    m[7] = 1;                                          // one record,
    const auto here = static_cast<char>(m.size());     // whose name
    return m + std::string{'\xc0', here, 0, 1, 0, 1};  // points to itself
  };
  for (int i = 0; i < 3; ++i) {
    fake_name_server server([&](const dns_question& q) {
      if (i == 0) return dns_reply{{looping(q)}};
      return dns_reply{{broken(q, message(q, {}).size() + (i == 1 ? 0 : 12))}};
    });
    const outcome o = ask(options_for({server.where()}, 50ms));
    EXPECT_TRUE(o.code) << i;
    EXPECT_TRUE(o.found.empty()) << i;
  }
}

// covers N10
TEST(ResolverServer, ALateAnswerCounts) {
  std::mutex lock;
  std::vector<dns_question> asked;
  fake_name_server late([&](const dns_question& q) {
    const std::lock_guard guard(lock);
    asked.push_back(q);
    return dns_reply{};
  });
  fake_name_server second(silence);
  on_fibers([&] {
    auto looking = weft::spawn([&] {
      return resolve("host.test", options_for({late.where(), second.where()}, 1s));
    });
    while (second.asked() == 0) weft::this_fiber::yield();
    const auto answer = [&] {
      const std::lock_guard guard(lock);
      for (const dns_question& q : asked) late.send(good(q, {v4}));
    };
    answer();
    EXPECT_EQ(looking.join(), std::vector{v4});
    answer();  // and what comes when all is over finds nobody
  });
}

// covers N5
TEST(ResolverServer, StopsEndALookup) {
  fake_name_server silent(silence);
  const resolver_options options = options_for({silent.where()}, 60s);
  on_fibers([&] {
    for (const bool by_token : {true, false}) {
      std::stop_source source;
      const int before = silent.asked();
      auto looking = weft::spawn([&] {
        std::error_code ec;
        const std::vector<endpoint> found =
            by_token ? resolve("host.test", options, source.get_token(), ec) : resolve("host.test", options, ec);
        EXPECT_TRUE(found.empty());
        return ec;
      });
      while (silent.asked() == before) weft::this_fiber::yield();
      by_token ? static_cast<void>(source.request_stop()) : looking.request_stop();
      EXPECT_EQ(looking.join(), std::errc::operation_canceled);
    }
    std::stop_source stopped;
    stopped.request_stop();
    EXPECT_THROW(static_cast<void>(resolve("host.test", options, stopped.get_token())), weft::canceled_error);
  });
}

// Sets the options that dial and listen use.
struct default_options {
  explicit default_options(const resolver_options& options) { weft::net::set_resolver_defaults(options); }
  ~default_options() { weft::net::set_resolver_defaults(resolver_options()); }
};

// covers N2
TEST(ResolverServer, DialAndListenUseIt) {
  const endpoint here = endpoint::ipv4({127, 0, 0, 1}, 0);
  fake_name_server server([&](const dns_question& q) {
    return dns_reply{{q.name == "here.test" ? good(q, {here}) : message(q, {}, dns_nxdomain)}};
  });
  const default_options scope(options_for({server.where()}));
  on_fibers([&] {
    auto listener = weft::net::listen_tcp("here.test:0");
    const std::string port = std::to_string(listener.local_endpoint().port());
    auto conn = weft::net::dial_tcp("here.test:" + port);
    EXPECT_EQ(listener.accept().remote_endpoint(), conn.local_endpoint());
    const auto [code, what] = thrown_by([&] { static_cast<void>(weft::net::dial_tcp("gone.test:80")); });
    EXPECT_EQ(code, lookup_errc::no_such_host);
    EXPECT_EQ(what, "dial tcp \"gone.test:80\": lookup gone.test: no such host");
  });
}

TEST(ResolverServer, AStopEndsTheLookupOfADial) {
  fake_name_server silent(silence);
  const default_options scope(options_for({silent.where()}, 60s));
  on_fibers([&] {
    std::stop_source source;
    auto dialling = weft::spawn([&] {
      const weft::sched::stop_link link(source.get_token());
      std::error_code ec;
      static_cast<void>(weft::net::dial_tcp("host.test:80", ec));
      return ec;
    });
    while (silent.asked() == 0) weft::this_fiber::yield();
    source.request_stop();
    EXPECT_EQ(dialling.join(), std::errc::operation_canceled);
  });
}

// covers N11
TEST(ResolverServer, TheHostsFileComesFirstAndIsReadAgain) {
  fake_name_server server(says({v4}));
  temporary_file hosts("198.51.100.7  Host.test other # comment\n2001:db8::1 host.test\nbad line\n");
  resolver_options options = options_for({server.where()});
  options.hosts_file = hosts.path();
  EXPECT_EQ(ask(options).found, (std::vector{other_v4, v6}));
  EXPECT_EQ(ask(options, "HOST.TEST.").found, (std::vector{other_v4, v6}));
  options.family = endpoint::family::ipv6;
  EXPECT_EQ(ask(options).found, std::vector{v6});
  EXPECT_EQ(server.asked(), 0);
  hosts.write("192.0.2.9 host.test\n");
  options.family = endpoint::family::none;
  EXPECT_EQ(ask(options).found, std::vector{endpoint::ipv4({192, 0, 2, 9}, 0)});
  hosts.write("");
  EXPECT_EQ(ask(options).found, std::vector{v4});
  EXPECT_TRUE(std::ranges::all_of(ask(options, "x.localhost").found, &endpoint::is_loopback));
}

// covers N12
TEST(ResolverServer, DomainsAreSearchedAsTheConfigurationSays) {
  fake_name_server server([](const dns_question& q) {
    return dns_reply{{q.name == "host.b.test" ? good(q, {v4}) : message(q, {}, dns_nxdomain)}};
  });
  temporary_file config("search a.test b.test\n");
  resolver_options options = options_for({server.where()});
  options.config_file = config.path();
  options.family = endpoint::family::ipv4;
  EXPECT_EQ(ask(options, "host").found, std::vector{v4});
  EXPECT_EQ(server.names(), (std::vector<std::string>{"host.a.test", "host.b.test"}));
  EXPECT_EQ(ask(options, "host.").code, lookup_errc::no_such_host);
  EXPECT_EQ(server.asked(), 3);
  config.write("search b.test\n");
  EXPECT_EQ(ask(options, "host").found, std::vector{v4});
  EXPECT_EQ(server.asked(), 4);
}

// covers N13
TEST(ResolverServer, ManyLookupsAtOnceBlockNobody) {
  const int lookups = scaled(200);
  std::atomic<int> held{0};
  // One answer is held back until another fiber has gone on meanwhile.
  std::atomic<bool> answers{false};
  fake_name_server server([&](const dns_question& q) {
    while (!answers) std::this_thread::yield();
    ++held;
    const int i = std::stoi(q.name.substr(4));
    return dns_reply{{good(
        q, {endpoint::ipv4({10, 0, static_cast<std::uint8_t>(i / 200), static_cast<std::uint8_t>(i % 200)}, 0)})}};
  });
  const resolver_options options = options_for({server.where()});
  std::atomic<int> right{0};
  on_fibers([&] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < lookups; ++i) {
      all.push_back(weft::spawn([&, i] {
        std::error_code ec;
        const auto found = resolve("host" + std::to_string(i) + ".test", options, ec);
        EXPECT_FALSE(ec) << ec.message();
        if (found == std::vector{endpoint::ipv4(
                         {10, 0, static_cast<std::uint8_t>(i / 200), static_cast<std::uint8_t>(i % 200)}, 0)}) {
          ++right;
        }
      }));
    }
    for (int i = 0; i < 1000; ++i) weft::this_fiber::sleep_for(1us);
    EXPECT_EQ(held, 0);
    answers = true;
    for (auto& each : all) each.join();
  });
  EXPECT_EQ(right, lookups);
}

// covers M1
TEST(ResolverServer, ALookupEndsWithItsScope) {
  fake_name_server silent(silence);
  const resolver_options options = options_for({silent.where()}, 60s);
  on_fibers([&] {
    const weft::timeout_scope scope(10ms);
    std::error_code ec;
    EXPECT_TRUE(resolve("host.test", options, ec).empty());
    EXPECT_EQ(ec, std::errc::operation_canceled);
    EXPECT_TRUE(scope.expired());
    EXPECT_THROW(static_cast<void>(resolve("host.test", options)), weft::canceled_error);
  });
}

// Figures of each fault: lookups, how they ended. covers N14
TEST(ResolverFaults, EveryLookupEndsWhateverTheServerDoes) {
  struct row {
    const char* name;
    fake_name_server::script bad;
  };
  std::vector<row> rows;
  for (const forgery& f : forgeries()) rows.push_back({f.name, f.reply});
  rows.push_back({"silence", silence});
  rows.push_back({"truncated, no TCP", [](const dns_question& q) {
                    return q.by_tcp ? dns_reply{} : dns_reply{{message(q, {}, dns_truncated)}};
                  }});
  rows.push_back(
      {"truncated, dies in TCP", [](const dns_question& q) {
         return q.by_tcp ? dns_reply{{good(q, {forged})}, {}, 5} : dns_reply{{message(q, {}, dns_truncated)}};
       }});
  rows.push_back({"SERVFAIL", [](const dns_question& q) { return dns_reply{{message(q, {}, dns_servfail)}}; }});
  const int lookups = scaled(50);
  for (const row& r : rows) {
    fake_name_server bad(r.bad);
    fake_name_server second(says({v4}));
    std::atomic<int> alone_failed{0}, saved{0}, wrong{0};
    on_fibers([&] {
      std::vector<weft::fiber<void>> all;
      for (int i = 0; i < lookups; ++i) {
        all.push_back(weft::spawn([&] {
          std::error_code ec;
          wrong += static_cast<int>(resolve("host.test", options_for({bad.where()}, 30ms), ec).size());
          alone_failed += ec ? 1 : 0;
          const auto found = resolve("host.test", options_for({bad.where(), second.where()}, 500ms), ec);
          saved += found == std::vector{v4} ? 1 : 0;
        }));
      }
      for (auto& each : all) each.join();
    });
    std::printf("%-24s %d lookups: alone %d failed, %d wrong; with a second server %d found\n", r.name, lookups,
                alone_failed.load(), wrong.load(), saved.load());
    EXPECT_EQ(alone_failed, lookups) << r.name;
    EXPECT_EQ(wrong, 0) << r.name;
    EXPECT_EQ(saved, lookups) << r.name;
  }
}

}  // namespace
