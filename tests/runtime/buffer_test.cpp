// Buffers: what converts, and how many bytes it then names.
#include <weft/buffer.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace {

using weft::const_buffer;
using weft::mutable_buffer;

std::size_t filled(mutable_buffer b) { return b.size(); }
std::size_t sent(const_buffer b) { return b.size(); }

TEST(Buffer, ConvertsFromContiguousBytes) {
  std::array<std::byte, 5> bytes{};
  char text[6] = {};
  unsigned char raw[7] = {};
  std::vector<char> vector(8);
  std::string string(9, 'x');
  EXPECT_EQ(filled(bytes), 5u);
  EXPECT_EQ(filled(text), 6u);
  EXPECT_EQ(filled(raw), 7u);
  EXPECT_EQ(filled(vector), 8u);
  EXPECT_EQ(filled(string), 9u);
  EXPECT_EQ(filled(std::span(bytes).first(2)), 2u);
  EXPECT_EQ(filled({raw, 3}), 3u);
  EXPECT_EQ(sent(bytes), 5u);
  EXPECT_EQ(sent(text), 6u);
  EXPECT_EQ(sent(vector), 8u);
  EXPECT_EQ(sent(mutable_buffer(vector)), 8u);
  EXPECT_EQ(sent(std::as_const(vector)), 8u);
  EXPECT_EQ(sent(std::string(4, 'x')), 4u);
  EXPECT_EQ(mutable_buffer(vector).data(), vector.data());
  EXPECT_TRUE(mutable_buffer().empty());
  EXPECT_TRUE(const_buffer().empty());
}

TEST(Buffer, LeavesOutTheNulOfALiteral) {
  EXPECT_EQ(sent("hello"), 5u);
  EXPECT_EQ(sent(""), 0u);
  EXPECT_EQ(sent("a\0b"), 3u);
  EXPECT_EQ(sent(std::string_view("hello")), 5u);
  constexpr char no_literal[] = {'a', 'b'};
  EXPECT_EQ(sent(no_literal), 2u);
}

TEST(Buffer, RefusesWhatWouldBeAMistake) {
  static_assert(!std::is_convertible_v<const std::vector<char>&, mutable_buffer>, "constant");
  static_assert(!std::is_convertible_v<std::vector<char>, mutable_buffer>, "a temporary");
  static_assert(!std::is_convertible_v<std::string_view, mutable_buffer>, "constant");
  static_assert(!std::is_convertible_v<std::vector<int>&, mutable_buffer>, "not bytes");
  static_assert(!std::is_convertible_v<std::vector<int>&, const_buffer>, "not bytes");
  static_assert(!std::is_convertible_v<const_buffer, mutable_buffer>, "constant");
  static_assert(!std::is_convertible_v<const char*, const_buffer>, "no size");
  static_assert(!std::is_convertible_v<std::vector<bool>&, const_buffer>, "not contiguous");
  static_assert(std::is_convertible_v<std::span<std::byte>, mutable_buffer>);
  static_assert(std::is_trivially_copyable_v<mutable_buffer> && std::is_trivially_copyable_v<const_buffer>);
}

}  // namespace
