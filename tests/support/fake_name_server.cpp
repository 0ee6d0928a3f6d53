#include "fake_name_server.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <utility>

#if defined(__SANITIZE_THREAD__)
#define TESTING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TESTING_TSAN 1
#endif
#endif

namespace testing_support {

namespace {

void need(bool holds, const char* what) {
  if (holds) return;
  std::perror(what);
  std::abort();
}

void put16(std::string& s, unsigned value) {
  s += static_cast<char>(value >> 8);
  s += static_cast<char>(value & 0xff);
}

unsigned get16(const std::string& s, std::size_t at) {
  if (at + 2 > s.size()) return 0;
  return static_cast<unsigned char>(s[at]) << 8 | static_cast<unsigned char>(s[at + 1]);
}

std::string encoded(std::string_view name) {
  std::string s;
  while (!name.empty()) {
    const std::string_view label = name.substr(0, name.find('.'));
    s += static_cast<char>(label.size());
    s += label;
    name.remove_prefix(std::min(name.size(), label.size() + 1));
  }
  return s + '\0';
}

int bound_socket(int type, std::uint16_t& port) {
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

dns_record record_of(std::string_view name, const weft::net::endpoint& address) {
  const std::size_t size = address.is_ipv4() ? 4 : 16;
  return {std::string(name), static_cast<std::uint16_t>(address.is_ipv4() ? 1 : 28),
          std::string(reinterpret_cast<const char*>(address.address().data()), size)};
}

dns_record alias_of(std::string_view name, std::string_view canonical) {
  return {std::string(name), 5, encoded(canonical)};
}

std::string message(const dns_question& q, const std::vector<dns_record>& records, int code_and_flags) {
  std::string m;
  put16(m, q.id);
  put16(m, 0x8180u | static_cast<unsigned>(code_and_flags));
  put16(m, 1);
  put16(m, static_cast<unsigned>(records.size()));
  put16(m, 0);
  put16(m, 0);
  m += encoded(q.name);
  put16(m, q.type);
  put16(m, 1);
  for (const dns_record& r : records) {
    m += encoded(r.name);
    put16(m, r.type);
    put16(m, 1);
    put16(m, 0);
    put16(m, 60);
    put16(m, static_cast<unsigned>(r.data.size()));
    m += r.data;
  }
  return m;
}

std::string good(const dns_question& q, const std::vector<weft::net::endpoint>& addresses) {
  std::vector<dns_record> records;
  for (const weft::net::endpoint& e : addresses) {
    if ((q.is_v4() && e.is_ipv4()) || (q.is_v6() && e.is_ipv6())) records.push_back(record_of(q.name, e));
  }
  return message(q, records);
}

fake_name_server::fake_name_server(script s) : script_(std::move(s)) {
  // The same port for both: the kernel's choice for the one may be taken for the other.
  std::uint16_t port = 0;
  for (int i = 0; i < 100 && listener_ < 0; ++i) {
    if (udp_ >= 0) ::close(udp_);
    port = 0;
    udp_ = bound_socket(SOCK_DGRAM, port);
    listener_ = bound_socket(SOCK_STREAM, port);
  }
  std::uint16_t any = 0;
  other_ = bound_socket(SOCK_DGRAM, any);
  wake_ = ::eventfd(0, EFD_CLOEXEC);
  need(udp_ >= 0 && listener_ >= 0 && other_ >= 0 && wake_ >= 0, "fake_name_server: sockets");
  need(::listen(listener_, 128) == 0, "fake_name_server: listen");
  const int room = 1 << 20;
  ::setsockopt(udp_, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  where_ = weft::net::endpoint::ipv4({127, 0, 0, 1}, port);
  thread_ = std::thread([this] { serve(); });
  is_ready_.wait(false);
}

fake_name_server::~fake_name_server() {
  const std::uint64_t one = 1;
  need(::write(wake_, &one, sizeof one) == sizeof one, "fake_name_server: wake");
  thread_.join();
  for (const int fd : {udp_, other_, listener_, wake_}) ::close(fd);
}

std::vector<std::string> fake_name_server::names() const {
  const std::lock_guard lock(mutex_);
  return names_;
}

void fake_name_server::send(const std::string& packet) {
  const std::lock_guard lock(mutex_);
  if (last_.empty()) return;
  ::sendto(udp_, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(last_.data()),
           static_cast<socklen_t>(last_.size()));
}

// A table of descriptors of its own, with nothing else in it: a test that counts those of the process doesn't see the
// connections, and what the test closes is closed. Not under ThreadSanitizer, which takes a number in there for the same
// number in everybody else's table, and would need its own descriptors to say so.
#if defined(TESTING_TSAN)
constexpr bool has_own_table = false;
#else
constexpr bool has_own_table = true;
#endif

void fake_name_server::own_table() {
  if (!has_own_table) return;
  need(::unshare(CLONE_FILES) == 0, "fake_name_server: unshare");
  std::array<int, 4> ours{udp_, other_, listener_, wake_};
  std::ranges::sort(ours);
  unsigned first = 3;
  for (const int fd : ours) {
    if (static_cast<unsigned>(fd) > first) ::close_range(first, static_cast<unsigned>(fd) - 1, 0);
    first = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(first, ~0u, 0);
}

void fake_name_server::serve() {
  own_table();
  is_ready_ = true;
  is_ready_.notify_one();
  std::vector<connection> connections;
  for (;;) {
    std::vector<pollfd> all{{wake_, POLLIN, 0}, {udp_, POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const connection& c : connections) all.push_back({c.fd, POLLIN, 0});
    if (::poll(all.data(), all.size(), -1) < 0) continue;
    if (all[0].revents != 0) break;
    if (all[1].revents != 0) serve_udp();
    for (std::size_t i = connections.size(); i-- > 0;) {
      if (all[i + 3].revents == 0 || serve_tcp(connections[i])) continue;
      ::close(connections[i].fd);
      connections.erase(connections.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (all[2].revents == 0) continue;
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) connections.push_back({fd, {}});
  }
  for (const connection& c : connections) ::close(c.fd);
  // A thread that was joined may not have given its descriptors back yet.
  need(!has_own_table || ::close_range(3, ~0u, 0) == 0, "fake_name_server: close_range");
}

dns_reply fake_name_server::ask(const std::string& packet, bool by_tcp) {
  dns_question q;
  q.by_tcp = by_tcp;
  q.id = static_cast<std::uint16_t>(get16(packet, 0));
  std::size_t at = 12;
  while (at < packet.size() && packet[at] != 0) {
    const auto size = static_cast<std::size_t>(packet[at]);
    if (!q.name.empty()) q.name += '.';
    q.name += packet.substr(at + 1, size);
    at += size + 1;
  }
  q.type = static_cast<std::uint16_t>(get16(packet, at + 1));
  if (packet.size() < at + 5) return {};
  {
    const std::lock_guard lock(mutex_);
    names_.push_back(q.name);
  }
  ++asked_;
  if (by_tcp) ++asked_by_tcp_;
  return script_(q);
}

void fake_name_server::serve_udp() {
  std::string packet(4096, '\0');
  sockaddr_in from{};
  socklen_t size = sizeof from;
  const ssize_t n = ::recvfrom(udp_, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
  if (n < 0) return;
  packet.resize(static_cast<std::size_t>(n));
  {
    const std::lock_guard lock(mutex_);
    last_.assign(reinterpret_cast<const char*>(&from), size);
  }
  const dns_reply reply = ask(packet, false);
  const auto send_from = [&](int fd, const std::string& p) {
    ::sendto(fd, p.data(), p.size(), 0, reinterpret_cast<const sockaddr*>(&from), size);
  };
  for (const std::string& p : reply.from_others) send_from(other_, p);
  for (const std::string& p : reply.packets) send_from(udp_, p);
}

bool fake_name_server::serve_tcp(connection& c) {
  char part[4096];
  const ssize_t n = ::recv(c.fd, part, sizeof part, 0);
  if (n <= 0) return false;
  c.received.append(part, static_cast<std::size_t>(n));
  while (c.received.size() >= 2) {
    const std::size_t size = get16(c.received, 0);
    if (c.received.size() < size + 2) break;
    const dns_reply reply = ask(c.received.substr(2, size), true);
    c.received.erase(0, size + 2);
    std::string stream;
    for (const std::string& p : reply.packets) {
      put16(stream, static_cast<unsigned>(p.size()));
      stream += p;
    }
    const bool is_cut = reply.bytes_of_tcp < stream.size();
    if (is_cut) stream.resize(reply.bytes_of_tcp);
    ::send(c.fd, stream.data(), stream.size(), MSG_NOSIGNAL);
    if (is_cut) return false;
  }
  return true;
}

}  // namespace testing_support
