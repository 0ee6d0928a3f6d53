// Streams of the tests' own: a reader that follows a script, a writer that takes so much.
#pragma once

#include <weft/buffer.hpp>
#include <weft/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <deque>
#include <string>
#include <system_error>

namespace testing_support {

// script_reader gives one piece a read, and the error of the piece with its last byte. Then the end.
class script_reader {
 public:
  struct piece {
    std::string bytes;
    std::error_code error;
  };
  script_reader(std::initializer_list<piece> pieces) : pieces_(pieces) {}

  std::size_t read_some(weft::mutable_buffer b) {
    std::error_code ec;
    const std::size_t n = read_some(b, ec);
    if (ec) throw std::system_error(ec);
    return n;
  }
  std::size_t read_some(weft::mutable_buffer b, std::error_code& ec) noexcept {
    ec.clear();
    ++reads;
    if (pieces_.empty() || b.empty()) return 0;
    piece& next = pieces_.front();
    const std::size_t n = std::min(b.size(), next.bytes.size());
    std::memcpy(b.data(), next.bytes.data(), n);
    next.bytes.erase(0, n);
    if (next.bytes.empty()) {
      ec = next.error;
      pieces_.pop_front();
    }
    return n;
  }

  int reads = 0;

 private:
  std::deque<piece> pieces_;
};

// string_writer takes what it gets, up to a limit, and then fails with no_space_on_device.
class string_writer {
 public:
  explicit string_writer(std::size_t most = ~std::size_t{0}) : most_(most) {}

  void write(weft::const_buffer b) {
    std::error_code ec;
    write(b, ec);
    if (ec) throw std::system_error(ec);
  }
  std::size_t write(weft::const_buffer b, std::error_code& ec) noexcept {
    ec.clear();
    ++writes;
    const std::size_t n = std::min(b.size(), most_ - text.size());
    text.append(static_cast<const char*>(b.data()), n);
    if (n < b.size()) ec = std::make_error_code(std::errc::no_space_on_device);
    return n;
  }

  std::string text;
  int writes = 0;

 private:
  std::size_t most_;
};

// pattern is n bytes of which no two neighbourhoods are alike.
inline std::string pattern(std::size_t n) {
  std::string text(n, '\0');
  unsigned state = 12345;
  for (char& c : text) c = static_cast<char>((state = state * 1103515245u + 12345u) >> 16);
  return text;
}

}  // namespace testing_support
