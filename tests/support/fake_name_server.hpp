// fake_name_server: a DNS server on a loopback port, UDP and TCP, whose answers a test writes.
#pragma once

#include <weft/net/endpoint.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace testing_support {

struct dns_question {
  std::string name;
  std::uint16_t type = 0;
  std::uint16_t id = 0;
  bool by_tcp = false;

  bool is_v4() const { return type == 1; }
  bool is_v6() const { return type == 28; }
};

// A record of an answer; `data` as it is on the wire.
struct dns_record {
  std::string name;
  std::uint16_t type = 0;
  std::string data;
};
dns_record record_of(std::string_view name, const weft::net::endpoint& address);
dns_record alias_of(std::string_view name, std::string_view canonical);

inline constexpr int dns_servfail = 2;
inline constexpr int dns_nxdomain = 3;
inline constexpr int dns_truncated = 0x200;  // a flag beside the code

// message is the answer to q: its id, its question, these records.
std::string message(const dns_question& q, const std::vector<dns_record>& records, int code_and_flags = 0);

// good answers a question for either family with what `addresses` has of it.
std::string good(const dns_question& q, const std::vector<weft::net::endpoint>& addresses);

struct dns_reply {
  std::vector<std::string> packets{};          // sent in this order
  std::vector<std::string> from_others{};      // sent before, from another port
  std::size_t bytes_of_tcp = ~std::size_t{0};  // after so many the connection is closed
};

// Thread-safe. It lives on a plain thread of its own, so that it goes on whatever the workers do.
class fake_name_server {
 public:
  using script = std::function<dns_reply(const dns_question&)>;  // called on the server's thread

  explicit fake_name_server(script s);
  ~fake_name_server();
  fake_name_server(const fake_name_server&) = delete;
  fake_name_server& operator=(const fake_name_server&) = delete;

  weft::net::endpoint where() const { return where_; }
  int asked() const { return asked_; }
  int asked_by_tcp() const { return asked_by_tcp_; }
  std::vector<std::string> names() const;  // that were asked for, in order

  // send sends a packet, now, to whoever asked last by UDP.
  void send(const std::string& packet);

 private:
  void own_table();
  void serve();
  void serve_udp();
  struct connection {
    int fd;
    std::string received;
  };
  bool serve_tcp(connection& c);  // false: it has ended
  dns_reply ask(const std::string& packet, bool by_tcp);

  const script script_;
  weft::net::endpoint where_;
  int udp_ = -1;
  int other_ = -1;
  int listener_ = -1;
  int wake_ = -1;
  std::atomic<bool> is_ready_{false};
  std::atomic<int> asked_{0};
  std::atomic<int> asked_by_tcp_{0};
  mutable std::mutex mutex_;
  std::vector<std::string> names_;
  std::string last_;  // the address of who asked last
  std::thread thread_;
};

}  // namespace testing_support
