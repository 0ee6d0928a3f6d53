// resolv.conf and hosts as texts.
#include "net/resolver_files.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace {

using namespace weft::net;
using namespace std::chrono_literals;

const endpoint this_machine = endpoint::ipv4({127, 0, 0, 1}, 53);

TEST(ResolverFiles, AConfigurationWithEverything) {
  const resolver_config c = parse_resolver_config(
      "# comment\n"
      "nameserver 192.0.2.1 # why not\n"
      "nameserver\t2001:db8::1\n"
      "nameserver no.address\n"
      "domain forgotten.test\n"
      "search A.test b.test.\n"
      ";options ndots:9\n"
      "options ndots:3 timeout:7 attempts:4 rotate unknown:1\r\n");
  EXPECT_EQ(c.servers, (std::vector{endpoint::ipv4({192, 0, 2, 1}, 53), endpoint::parse("[2001:db8::1]:53")}));
  EXPECT_EQ(c.search, (std::vector<std::string>{"a.test", "b.test"}));
  EXPECT_EQ(c.ndots, 3);
  EXPECT_EQ(c.timeout, 7s);
  EXPECT_EQ(c.attempts, 4);
  EXPECT_TRUE(c.rotate);
}

TEST(ResolverFiles, WithoutAFileThisMachineIsAsked) {
  for (const auto& c : {parse_resolver_config(""), parse_resolver_config("nameserver"),
                        *read_resolver_config("/nonexistent"), *read_resolver_config("/")}) {
    EXPECT_EQ(c.servers, std::vector{this_machine});
    EXPECT_EQ(c.ndots, 1);
    EXPECT_EQ(c.timeout, 5s);
    EXPECT_EQ(c.attempts, 2);
    EXPECT_FALSE(c.rotate);
  }
  EXPECT_TRUE(parse_resolver_config("search .").search.empty());
}

TEST(ResolverFiles, ValuesStayWithinTheirLimits) {
  const resolver_config most = parse_resolver_config("options ndots:99 timeout:999 attempts:99");
  EXPECT_EQ(most.ndots, 15);
  EXPECT_EQ(most.timeout, 30s);
  EXPECT_EQ(most.attempts, 5);
  const resolver_config least = parse_resolver_config("options ndots:-1 timeout:0 attempts:0");
  EXPECT_EQ(least.ndots, 0);
  EXPECT_EQ(least.timeout, 1s);
  EXPECT_EQ(least.attempts, 1);
  const resolver_config odd = parse_resolver_config("options ndots: timeout:x attempts:99999999999999");
  EXPECT_EQ(odd.ndots, 1);
  EXPECT_EQ(odd.timeout, 5s);
  EXPECT_EQ(odd.attempts, 2);
  std::string many;
  for (int i = 0; i < 100; ++i) many += "nameserver 192.0.2.1\n";
  EXPECT_EQ(parse_resolver_config(many).servers.size(), most_servers);
}

TEST(ResolverFiles, HostsByEachOfTheirNames) {
  const host_table t = parse_hosts(
      "127.0.0.1 localhost\n"
      "::1 localhost ip6-localhost# comment\n"
      "127.0.0.1 localhost\n"
      "  192.0.2.1\tA.Test. a\n"
      "# 192.0.2.2 b\n"
      "999.0.0.1 c\n"
      "192.0.2.3\n");
  EXPECT_EQ(t.size(), 4u);
  EXPECT_EQ(t.at("localhost"), (std::vector{endpoint::parse("127.0.0.1:0"), endpoint::parse("[::1]:0")}));
  EXPECT_EQ(t.at("a.test"), std::vector{endpoint::parse("192.0.2.1:0")});
  EXPECT_EQ(t.at("a"), t.at("a.test"));
  EXPECT_EQ(t.count("ip6-localhost"), 1u);
}

// Whatever the bytes: no crash, no endless loop.
TEST(ResolverFiles, RandomBytes) {
  std::mt19937 random(1);  // NOLINT: the same each time
  const std::string alphabet = "nameserver search options hosts:\n\t #;.:%[]0123456789abc\r\xff" + std::string(1, '\0');
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 200, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    EXPECT_FALSE(parse_resolver_config(text).servers.empty());
    parse_resolver_config("nameserver " + text);
    parse_hosts("::1 " + text);
  }
}

}  // namespace
