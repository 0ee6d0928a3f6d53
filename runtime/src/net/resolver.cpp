// weft::resolver: lookups by c-ares, whose sockets the poller watches.
//
// Each lookup has a channel of its own: c-ares is no longer shared between threads then, needs no lock, and two lookups
// never use the same port, which would halve what a forger has to guess. The fiber that looks up drives its channel by
// itself and waits for all its sockets at once, so nothing of c-ares runs while it is parked.
#include "resolver_files.hpp"
#include "resolver_hook.hpp"

#include <weft/error.hpp>
#include <weft/netpoll/wait_set.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/sys.hpp>

// The deprecations of later versions: what replaces those functions isn't there in 1.18.
#define CARES_NO_DEPRECATED

#include <ares.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

// What a program that links the library refers to, so that the linker keeps it.
extern "C" WEFT_API void weft_resolver_linked() noexcept {}

namespace weft::inline v0::net {

namespace {

constexpr std::size_t most_addresses = 128;

// c-ares opens a socket for each address of an answer to sort them (RFC 6724), of which one answer may hold thousands.
// Those past this number of sockets of one lookup are told that their family doesn't exist, and are sorted last.
constexpr int most_sockets = 512;

std::error_code meaning_of(int status) noexcept {
  switch (status) {
    case ARES_SUCCESS:
      return {};
    case ARES_ETIMEOUT:
      return lookup_errc::timed_out;
    case ARES_ENOMEM:
      return std::make_error_code(std::errc::not_enough_memory);
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
      return std::make_error_code(std::errc::operation_canceled);
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
    case ARES_EBADQUERY:
      return lookup_errc::no_such_host;
    default:
      return lookup_errc::server_misbehaving;
  }
}

int family_of(endpoint::family family) noexcept {
  if (family == endpoint::family::none) return AF_UNSPEC;
  return family == endpoint::family::ipv4 ? AF_INET : AF_INET6;
}

endpoint to_endpoint(const ares_addrinfo_node& node) noexcept {
  if (node.ai_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, node.ai_addr, sizeof v4);
    endpoint::ipv4_address address;
    std::memcpy(address.data(), &v4.sin_addr, address.size());
    return endpoint::ipv4(address, 0);
  }
  if (node.ai_family != AF_INET6) return {};
  sockaddr_in6 v6;
  std::memcpy(&v6, node.ai_addr, sizeof v6);
  endpoint::ipv6_address address;
  std::memcpy(address.data(), &v6.sin6_addr, address.size());
  return endpoint::ipv6(address, 0, v6.sin6_scope_id);
}

// channel is one lookup. Used by the fiber that made it; what c-ares calls back does not suspend.
class channel {
 public:
  channel() noexcept = default;
  ~channel() {
    if (ares_ != nullptr) ares_destroy(ares_);  // closes its sockets, and drops the questions that are left
    if (answer_ != nullptr) ares_freeaddrinfo(answer_);
  }
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;

  std::error_code open(const std::shared_ptr<poll::poller>& poller, const resolver_config& config, bool is_absolute);
  std::error_code ask(const std::string& host, endpoint::family family, std::vector<endpoint>& found);

 private:
  std::error_code set_servers(const std::vector<endpoint>& servers);
  std::error_code wait_for_answer();

  static void watch(void* self, int fd, int readable, int writable) noexcept;
  static void answered(void* self, int status, int timeouts, ares_addrinfo* answer) noexcept;
  static int open_socket(int domain, int type, int protocol, void* self) noexcept;

  poll::wait_set sockets_;
  ares_channel ares_ = nullptr;
  ares_addrinfo* answer_ = nullptr;
  int opened_ = 0;
  int status_ = ARES_SUCCESS;
  bool done_ = false;
};

// Our own calls, so that no socket is inherited by a child of this moment, and a server that closes raises no SIGPIPE.
// c-ares reads errno after them itself.
int channel::open_socket(int domain, int type, int protocol, void* self) noexcept {
  if (++static_cast<channel*>(self)->opened_ > most_sockets) domain = AF_UNSPEC;
  return ::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

const ares_socket_functions* calls(int (*open_socket)(int, int, int, void*) noexcept) noexcept {
  static const ares_socket_functions functions{
      open_socket, [](int fd, void*) noexcept { return ::close(fd); },
      [](int fd, const sockaddr* to, ares_socklen_t size, void*) noexcept { return ::connect(fd, to, size); },
      [](int fd, void* data, std::size_t size, int flags, sockaddr* from, ares_socklen_t* from_size, void*) noexcept {
        return ares_ssize_t{::recvfrom(fd, data, size, flags, from, from_size)};
      },
      [](int fd, const iovec* parts, int n, void*) noexcept {
        msghdr message{};
        message.msg_iov = const_cast<iovec*>(parts);
        message.msg_iovlen = static_cast<std::size_t>(n);
        long sent = sched::sys_call(::sendmsg, fd, &message, MSG_NOSIGNAL);
        // That a datagram sent before found nobody. The next read will say so again, if this one reports it, and c-ares
        // then goes on to the next server with all questions; here it would leave the first one to its timeout.
        if (sent == -ECONNREFUSED) sent = sched::sys_call(::sendmsg, fd, &message, MSG_NOSIGNAL);
        return ares_ssize_t{sent < 0 ? -1 : sent};
      }};
  return &functions;
}

void channel::watch(void* self, int fd, int readable, int writable) noexcept {
  const unsigned what = (readable != 0 ? poll::readable : 0u) | (writable != 0 ? poll::writable : 0u);
  // Refused for want of memory only: the question times out then.
  static_cast<void>(static_cast<channel*>(self)->sockets_.watch(fd, what));
}

void channel::answered(void* self, int status, int, ares_addrinfo* answer) noexcept {
  auto& c = *static_cast<channel*>(self);
  c.status_ = status;
  c.answer_ = answer;
  c.done_ = true;
}

std::error_code channel::open(const std::shared_ptr<poll::poller>& poller, const resolver_config& config,
                              bool is_absolute) {
  if (const int error = sockets_.open(poller); error != poll::ok) return {error, std::system_category()};
  // Everything is set, so that c-ares reads no file by itself. The servers come with set_servers.
  ares_options o{};
  in_addr some_server{htonl(INADDR_LOOPBACK)};
  char from_servers[] = "b";
  std::vector<char*> domains;
  for (const std::string& each : config.search) domains.push_back(const_cast<char*>(each.c_str()));
  o.flags = ARES_FLAG_NOALIASES | (is_absolute ? ARES_FLAG_NOSEARCH : 0);
  o.timeout = static_cast<int>(config.timeout.count());
  o.tries = config.attempts;
  o.ndots = config.ndots;
  o.servers = &some_server;
  o.nservers = 1;
  o.domains = domains.data();
  o.ndomains = static_cast<int>(domains.size());
  o.lookups = from_servers;
  o.sock_state_cb = &watch;
  o.sock_state_cb_data = this;
  const int given = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS | ARES_OPT_SERVERS |
                    ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_SORTLIST |
                    (config.rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);
  if (const int status = ares_init_options(&ares_, &o, given); status != ARES_SUCCESS) {
    ares_ = nullptr;
    return meaning_of(status);
  }
  ares_set_socket_functions(ares_, calls(&open_socket), this);
  return set_servers(config.servers);
}

std::error_code channel::set_servers(const std::vector<endpoint>& servers) {
  std::vector<ares_addr_port_node> nodes(std::min(servers.size(), most_servers));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const endpoint& e = servers[i];
    ares_addr_port_node& node = nodes[i];
    if (i + 1 < nodes.size()) node.next = &nodes[i + 1];
    node.family = e.is_ipv4() ? AF_INET : AF_INET6;
    std::memcpy(&node.addr, e.address().data(), e.is_ipv4() ? sizeof node.addr.addr4 : sizeof node.addr.addr6);
    node.udp_port = node.tcp_port = e.port() != 0 ? e.port() : 53;
  }
  return meaning_of(ares_set_servers_ports(ares_, nodes.data()));
}

std::error_code channel::ask(const std::string& host, endpoint::family family, std::vector<endpoint>& found) {
  ares_addrinfo_hints hints{};
  hints.ai_family = family_of(family);
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(ares_, host.c_str(), nullptr, &hints, &answered, this);
  if (const std::error_code code = wait_for_answer()) return code;
  if (status_ != ARES_SUCCESS) return meaning_of(status_);
  for (const ares_addrinfo_node* node = answer_->nodes; node != nullptr; node = node->ai_next) {
    const endpoint e = to_endpoint(*node);
    if (e && std::ranges::find(found, e) == found.end()) found.push_back(e);
    if (found.size() == most_addresses) break;
  }
  return found.empty() ? std::error_code(lookup_errc::no_such_host) : std::error_code();
}

std::error_code channel::wait_for_answer() {
  while (!done_) {
    timeval left{};
    const bool is_timed = ares_timeout(ares_, nullptr, &left) != nullptr;
    // Up to the next microsecond: that is how far c-ares counts.
    const sched::nanotime time = left.tv_sec * sched::nanotime{1'000'000'000} + (left.tv_usec + 1) * 1000;
    poll::wait_set::event events[8];
    std::size_t count = 0;
    const int error = sockets_.wait(events, std::size(events), is_timed ? sched::after(time) : sched::never, count);
    if (error == poll::canceled) return std::make_error_code(std::errc::operation_canceled);
    if (error == poll::closed) return errc::closed;
    if (error != poll::ok) return {error, std::system_category()};
    if (count == 0) ares_process_fd(ares_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    for (std::size_t i = 0; i < count; ++i) {
      // If c-ares has closed this one meanwhile, it ignores the number, or finds that a new socket has nothing yet.
      const auto& [fd, what] = events[i];
      ares_process_fd(ares_, (what & poll::readable) != 0 ? fd : ARES_SOCKET_BAD,
                      (what & poll::writable) != 0 ? fd : ARES_SOCKET_BAD);
    }
    // A server that floods us keeps the sockets ready: the wait above doesn't park then.
    if (!done_) sched::yield();
  }
  return {};
}

// known fills in what needs no server: the names of the hosts file, and this machine (RFC 6761).
bool known(const std::string& host, const resolver_options& options, std::vector<endpoint>& found) {
  const std::string name = small(host);
  const auto is_wanted = [&](const endpoint& e) {
    return options.family == endpoint::family::none || options.family == e.address_family();
  };
  const std::shared_ptr<const host_table> table = read_hosts(options.hosts_file);
  if (const auto line = table->find(name); line != table->end()) {
    std::ranges::copy_if(line->second, std::back_inserter(found), is_wanted);
    if (found.size() > most_addresses) found.resize(most_addresses);
  }
  if (found.empty() && (name == "localhost" || name.ends_with(".localhost"))) {
    endpoint::ipv6_address one{};
    one.back() = 1;
    for (const endpoint& e : {endpoint::ipv4({127, 0, 0, 1}, 0), endpoint::ipv6(one, 0)}) {
      if (is_wanted(e)) found.push_back(e);
    }
  }
  return !found.empty();
}

std::error_code resolve_by_ares(const std::shared_ptr<poll::poller>& poller, const std::string& host,
                                const resolver_options& options, std::vector<endpoint>& found) {
  if (known(host, options, found)) return {};
  resolver_config config = *read_resolver_config(options.config_file);
  if (!options.servers.empty()) config.servers = options.servers;
  if (options.timeout.count() > 0) config.timeout = std::min(options.timeout, std::chrono::milliseconds(60'000));
  if (options.attempts > 0) config.attempts = std::min(options.attempts, most_attempts);
  channel c;
  if (const std::error_code code = c.open(poller, config, host.ends_with('.'))) return code;
  return c.ask(host, options.family, found);
}

const bool is_registered = [] {
  if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) return false;
  register_resolver(&resolve_by_ares);
  return true;
}();

}  // namespace

}  // namespace weft::inline v0::net
