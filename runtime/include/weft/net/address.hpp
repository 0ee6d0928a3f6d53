// address: what a call takes to say where to listen or whom to dial.
#pragma once

#include <weft/net/endpoint.hpp>

#include <string>
#include <string_view>

namespace weft::inline v0::net {

// address is an endpoint, or a text "HOST:PORT" that is still to be understood or looked up. A type for parameters: it
// only refers to the text, which has to live as long.
class address {
 public:
  address(const net::endpoint& e) noexcept : endpoint_(e) {}
  address(std::string_view text) noexcept : text_(text), is_text_(true) {}
  address(const std::string& text) noexcept : address(std::string_view(text)) {}
  address(const char* text) noexcept : address(text != nullptr ? std::string_view(text) : std::string_view()) {}

  bool is_text() const noexcept { return is_text_; }
  std::string_view text() const noexcept { return text_; }              // empty for an endpoint
  const net::endpoint& endpoint() const noexcept { return endpoint_; }  // names nothing for a text

 private:
  net::endpoint endpoint_;
  std::string_view text_;
  bool is_text_ = false;
};

}  // namespace weft::inline v0::net
