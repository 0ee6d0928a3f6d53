// Error codes and exceptions.
#include "io_error.hpp"

#include <weft/error.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

namespace {

TEST(Error, CodesOfTheLibrary) {
  const std::error_code code = weft::errc::closed;
  EXPECT_STREQ(code.category().name(), "weft");
  EXPECT_EQ(code, weft::errc::closed);
  EXPECT_NE(code, weft::errc::no_runtime);
  for (weft::errc e : {weft::errc::closed, weft::errc::no_runtime, weft::errc::not_pollable}) {
    const std::error_code each = e;
    EXPECT_TRUE(each);
    EXPECT_EQ(each.message().find("unknown"), std::string::npos);
  }
  EXPECT_EQ(std::error_code(99, weft::error_category()).message(), "unknown error 99");
}

TEST(Error, ConversionOfEveryPollerCode) {
  struct row {
    int from;
    std::error_code to;
  };
  const std::vector<row> rows = {
      {weft::poll::ok, {}},
      {weft::poll::closed, weft::errc::closed},
      {weft::poll::timed_out, std::make_error_code(std::errc::timed_out)},
      {weft::poll::not_pollable, weft::errc::not_pollable},
      {weft::poll::canceled, std::make_error_code(std::errc::operation_canceled)},
      {ECONNRESET, {ECONNRESET, std::system_category()}},
      {EPIPE, {EPIPE, std::system_category()}},
  };
  for (const row& r : rows) EXPECT_EQ(weft::to_error_code(r.from), r.to) << r.from;
  EXPECT_EQ(weft::to_error_code(ECONNREFUSED), std::errc::connection_refused);
}

TEST(Error, ThrownWithTextAndCount) {
  try {
    weft::throw_failure(weft::to_error_code(ECONNRESET), {"read", "tcp", "127.0.0.1:9", "127.0.0.1:80"}, 17);
    FAIL();
  } catch (const weft::io_error& e) {
    EXPECT_EQ(e.code(), std::errc::connection_reset);
    EXPECT_EQ(e.transferred(), 17u);
    EXPECT_STREQ(e.what(), "read tcp 127.0.0.1:9->127.0.0.1:80: connection reset by peer");
    EXPECT_EQ(e.operation().network, "tcp");
    EXPECT_EQ(e.operation().target, "127.0.0.1:80");
    EXPECT_FALSE(e.timeout() || e.temporary() || e.closed());
  }
  try {
    weft::throw_failure(weft::to_error_code(weft::poll::canceled), {"write", "", "", ""}, 3);
    FAIL();
  } catch (const weft::canceled_error& e) {
    EXPECT_EQ(e.code(), std::errc::operation_canceled);
    EXPECT_EQ(e.transferred(), 3u);
  }
  EXPECT_THROW(weft::throw_failure(weft::errc::closed, {"read", "", "", ""}), std::system_error);
  EXPECT_THROW(weft::throw_canceled("join"), weft::canceled_error);
}

}  // namespace
