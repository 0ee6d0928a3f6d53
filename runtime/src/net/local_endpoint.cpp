#include <weft/net/local_endpoint.hpp>

#include "host_port.hpp"
#include "local_address.hpp"

#include <weft/sched/sys.hpp>

#include <algorithm>
#include <cstddef>
#include <ostream>

namespace weft::inline v0::net {

namespace {

constexpr std::size_t name_offset = offsetof(sockaddr_un, sun_path);

// Returns null, or what is wrong with the text.
const char* problem_of(std::string_view text) noexcept {
  if (text.empty()) return "the name is empty";
  if (text.size() > local_endpoint::longest) return "the name is longer than 107 bytes";
  if (text.front() != '@' && text.find('\0') != text.npos) return "the path has a NUL";
  return nullptr;
}

}  // namespace

local_endpoint local_endpoint::parse(std::string_view text, std::error_code& ec) noexcept {
  ec.clear();
  local_endpoint e;
  if (problem_of(text) != nullptr) {
    ec = std::make_error_code(std::errc::invalid_argument);
    return e;
  }
  std::ranges::copy(text, e.text_.begin());
  e.size_ = static_cast<std::uint8_t>(text.size());
  return e;
}

local_endpoint local_endpoint::parse(std::string_view text) {
  std::error_code ec;
  const local_endpoint e = parse(text, ec);
  if (ec) throw std::system_error(ec, "local endpoint " + quoted(text) + ": " + problem_of(text));
  return e;
}

std::string to_string(const local_endpoint& e) { return e.to_string(); }
std::ostream& operator<<(std::ostream& out, const local_endpoint& e) { return out << e.text(); }

// In the system's form an abstract name begins with a NUL where we write '@'; a path ends with one.
local_address::local_address(const local_endpoint& e) noexcept : local{} {
  local.sun_family = AF_UNIX;
  const std::string_view text = e.text();
  std::ranges::copy(text, local.sun_path);
  if (e.is_abstract()) local.sun_path[0] = '\0';
  size = static_cast<socklen_t>(name_offset + text.size() + (e.is_path() ? 1 : 0));
}

local_endpoint local_address::to_endpoint() const noexcept {
  local_endpoint e;
  if (size <= name_offset) return e;
  std::string_view name(local.sun_path, std::min<std::size_t>(size - name_offset, sizeof local.sun_path));
  const bool abstract = name.front() == '\0';
  if (!abstract) name = name.substr(0, name.find('\0'));
  name = name.substr(0, local_endpoint::longest);
  std::ranges::copy(name, e.text_.begin());
  if (abstract) e.text_[0] = '@';
  e.size_ = static_cast<std::uint8_t>(name.size());
  return e;
}

local_endpoint local_name_of(int fd) noexcept {
  local_address address;
  return sched::sys_call(::getsockname, fd, &address.any, &address.size) < 0 ? local_endpoint() : address.to_endpoint();
}

local_endpoint peer_name_of(int fd) noexcept {
  local_address address;
  return sched::sys_call(::getpeername, fd, &address.any, &address.size) < 0 ? local_endpoint() : address.to_endpoint();
}

}  // namespace weft::inline v0::net
