// Endpoints: what is parsed, what is refused and how that is said, and that all printing agrees.
#include <weft/fmt.hpp>
#include <weft/net/endpoint.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <sstream>
#include <string>
#include <unordered_set>

namespace {

using weft::net::endpoint;

TEST(EndpointParse, ReadsNumericAddresses) {
  struct row {
    const char* text;
    const char* printed;
    bool ipv4;
    std::uint16_t port;
  };
  const row rows[] = {
      {"127.0.0.1:80", "127.0.0.1:80", true, 80},
      {"0.0.0.0:0", "0.0.0.0:0", true, 0},
      {"255.255.255.255:65535", "255.255.255.255:65535", true, 65535},
      {"10.0.0.1:00080", "10.0.0.1:80", true, 80},
      {"[::1]:80", "[::1]:80", false, 80},
      {"[::]:7000", "[::]:7000", false, 7000},
      {"[2001:0db8:0:0:0:0:0:1]:443", "[2001:db8::1]:443", false, 443},
      {"[::ffff:1.2.3.4]:9", "[::ffff:1.2.3.4]:9", false, 9},
  };
  for (const row& r : rows) {
    SCOPED_TRACE(r.text);
    const endpoint e = endpoint::parse(r.text);
    EXPECT_EQ(e.to_string(), r.printed);
    EXPECT_EQ(e.is_ipv4(), r.ipv4);
    EXPECT_EQ(e.is_ipv6(), !r.ipv4);
    EXPECT_EQ(e.port(), r.port);
    EXPECT_EQ(endpoint::parse(e.to_string()), e);
    std::error_code ec = std::make_error_code(std::errc::io_error);
    EXPECT_EQ(endpoint::parse(r.text, ec), e);
    EXPECT_FALSE(ec);
  }
}

TEST(EndpointParse, ReadsAScopeByNameAndByNumber) {
  const endpoint by_name = endpoint::parse("[fe80::1%lo]:1");
  const endpoint by_number = endpoint::parse("[fe80::1%1]:1");
  EXPECT_EQ(by_name, by_number);
  EXPECT_EQ(by_name.scope(), 1u);
  EXPECT_EQ(by_name.to_string(), "[fe80::1%lo]:1");
}

TEST(EndpointParse, NamesTheTextAndWhatIsWrong) {
  struct row {
    const char* text;
    const char* problem;
  };
  const row rows[] = {
      {"", "the address is empty"},
      {"127.0.0.1", "the port is missing"},
      {"127.0.0.1:", "the port is missing"},
      {":80", "the host is missing"},
      {"127.0.0.1:65536", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:-1", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:+1", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:80x", "the port is not a number from 0 to 65535"},
      {"127.0.0.1:99999999999999999999", "the port is not a number from 0 to 65535"},
      {"127.0.0.256:80", "the host is not a numeric address"},
      {"localhost:80", "the host is not a numeric address"},
      {"::1:80", "an IPv6 address needs brackets"},
      {"[::1:80", "the bracket is not closed"},
      {"[::1]", "the port is missing"},
      {"[::1]80", "after the bracket a colon and a port are expected"},
      {"[127.0.0.1]:80", "the brackets do not hold an IPv6 address"},
      {"[]:80", "the host is missing"},
      {"[::g]:80", "the brackets do not hold an IPv6 address"},
      {"[fe80::1%no_such_interface]:80", "the scope is not an interface"},
      {"[fe80::1%]:80", "the scope is not an interface"},
      {"a]b:80", "a bracket is out of place"},
      {"127.0.0.1 :80", "the address has a blank or a control character"},
  };
  for (const row& r : rows) {
    SCOPED_TRACE(r.text);
    try {
      static_cast<void>(endpoint::parse(r.text));
      ADD_FAILURE() << "parsed";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code(), std::errc::invalid_argument);
      const std::string what = error.what();
      EXPECT_EQ(what.find("endpoint \"" + std::string(r.text) + "\": " + r.problem), 0u) << what;
    }
    std::error_code ec;
    EXPECT_EQ(endpoint::parse(r.text, ec), endpoint());
    EXPECT_EQ(ec, std::errc::invalid_argument);
  }
}

TEST(EndpointParse, KeepsForeignTextOutOfTheLog) {
  const std::string text = "a\nforged line\x1b[2J" + std::string(1000, 'x');
  try {
    static_cast<void>(endpoint::parse(text));
    ADD_FAILURE() << "parsed";
  } catch (const std::system_error& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.find('\n'), std::string::npos);
    EXPECT_EQ(what.find('\x1b'), std::string::npos);
    EXPECT_LT(what.size(), 300u);
  }
}

TEST(Endpoint, PrintsAlikeEverywhere) {
  const endpoint e = endpoint::ipv4({192, 0, 2, 1}, 8080);
  std::ostringstream out;
  out << e;
  EXPECT_EQ(out.str(), "192.0.2.1:8080");
  EXPECT_EQ(to_string(e), "192.0.2.1:8080");
  EXPECT_EQ(fmt::format("<{}>", e), "<192.0.2.1:8080>");
  EXPECT_EQ(fmt::format("{:>16}", e), "  192.0.2.1:8080");
  EXPECT_EQ(endpoint().to_string(), "");
  EXPECT_FALSE(endpoint());
  EXPECT_TRUE(e);
}

TEST(Endpoint, ComparesOrdersAndHashesAllParts) {
  const endpoint all[] = {
      endpoint(),
      endpoint::ipv4({127, 0, 0, 1}, 1),
      endpoint::ipv4({127, 0, 0, 1}, 2),
      endpoint::ipv4({127, 0, 0, 2}, 1),
      endpoint::ipv6({}, 1),
      endpoint::ipv6({}, 1, 3),
      endpoint::ipv6({127, 0, 0, 1}, 1),
  };
  for (const endpoint& a : all) {
    for (const endpoint& b : all) EXPECT_EQ(a == b, &a == &b) << a << " and " << b;
  }
  EXPECT_EQ(std::set<endpoint>(std::begin(all), std::end(all)).size(), std::size(all));
  EXPECT_EQ(std::unordered_set<endpoint>(std::begin(all), std::end(all)).size(), std::size(all));
  EXPECT_LT(all[1], all[2]);
  EXPECT_LT(all[2], all[3]);
  EXPECT_EQ(all[1].with_port(2), all[2]);
}

TEST(Endpoint, KnowsWildcardsAndLoopbacks) {
  EXPECT_TRUE(endpoint::parse("0.0.0.0:1").is_wildcard());
  EXPECT_TRUE(endpoint::parse("[::]:1").is_wildcard());
  EXPECT_FALSE(endpoint::parse("127.0.0.1:1").is_wildcard());
  EXPECT_FALSE(endpoint().is_wildcard());
  EXPECT_TRUE(endpoint::parse("127.1.2.3:1").is_loopback());
  EXPECT_TRUE(endpoint::parse("[::1]:1").is_loopback());
  EXPECT_FALSE(endpoint::parse("[::2]:1").is_loopback());
  EXPECT_FALSE(endpoint::parse("128.0.0.1:1").is_loopback());
}

}  // namespace
