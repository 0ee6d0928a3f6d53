// Buffers: what reads fill and writes send, as an address and a size.
#pragma once

#include <concepts>
#include <cstddef>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

namespace detail {

template <class T>
concept byte_like = std::same_as<std::remove_const_t<T>, std::byte> || std::same_as<std::remove_const_t<T>, char> ||
                    std::same_as<std::remove_const_t<T>, unsigned char>;

template <class Range>
using element_of = std::remove_reference_t<std::ranges::range_reference_t<Range>>;

template <class Range>
concept byte_range =
    std::ranges::contiguous_range<Range> && std::ranges::sized_range<Range> && byte_like<element_of<Range>>;

// An array of const char is a string literal in all but name.
template <class T>
inline constexpr bool is_literal = false;
template <std::size_t N>
inline constexpr bool is_literal<const char (&)[N]> = true;

}  // namespace detail

// mutable_buffer names memory to fill. Implicit from arrays, spans and contiguous containers of std::byte, char and
// unsigned char. A temporary container does not convert, a temporary span does. A value that owns nothing: the memory
// outlives every call it is passed to.
class mutable_buffer {
 public:
  constexpr mutable_buffer() noexcept = default;
  constexpr mutable_buffer(void* data, std::size_t size) noexcept : data_(data), size_(size) {}

  template <class Range>
    requires detail::byte_range<Range> && (!std::is_const_v<detail::element_of<Range>>) &&
             (std::is_lvalue_reference_v<Range> || std::ranges::borrowed_range<Range>)
  constexpr mutable_buffer(Range&& range) noexcept
      : data_(std::ranges::data(range)), size_(static_cast<std::size_t>(std::ranges::size(range))) {}

  constexpr void* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

// const_buffer names memory to send. Implicit from all that mutable_buffer takes, constant or not, from mutable_buffer,
// from std::string_view, and from string literals, whose final NUL is left out.
class const_buffer {
 public:
  constexpr const_buffer() noexcept = default;
  constexpr const_buffer(const void* data, std::size_t size) noexcept : data_(data), size_(size) {}
  constexpr const_buffer(mutable_buffer b) noexcept : data_(b.data()), size_(b.size()) {}

  template <class Range>
    requires detail::byte_range<Range>
  constexpr const_buffer(Range&& range) noexcept
      : data_(std::ranges::data(range)), size_(static_cast<std::size_t>(std::ranges::size(range))) {
    if constexpr (detail::is_literal<Range&&>) {
      if (range[size_ - 1] == '\0') --size_;
    }
  }

  constexpr const void* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }

 private:
  const void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace weft::inline v0
