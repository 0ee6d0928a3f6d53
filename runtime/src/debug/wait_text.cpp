#include "wait_text.hpp"

#include "net/local_address.hpp"
#include "net/socket_address.hpp"

#include <weft/mutex.hpp>
#include <weft/netpoll/waits.hpp>
#include <weft/sched/fiber.hpp>

#include <cstdio>

#include <sys/socket.h>

namespace weft::inline v0::debug {

namespace {

std::string at(const char* what, const void* object) {
  char text[64];
  std::snprintf(text, sizeof text, "%s %p", what, object);
  return text;
}

std::string fiber_text(std::uint64_t id, std::string_view name) {
  std::string text = "fiber " + std::to_string(id);
  if (!name.empty()) text.append(" '").append(name).append("'");
  return text;
}

// The descriptor's kind and both ends. It cannot be closed meanwhile: the fiber that waits has pinned it.
std::string descriptor_text(int fd) {
  if (fd < 0) return "pipe in memory";
  const std::string number = " (descriptor " + std::to_string(fd) + ")";
  int type = 0;
  int domain = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return "file" + number;
  size = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return "socket" + number;
  std::string text;
  std::string near;
  std::string far;
  if (domain == AF_INET || domain == AF_INET6) {
    text = type == SOCK_STREAM ? "tcp " : type == SOCK_DGRAM ? "udp " : "ip ";
    near = net::local_endpoint_of(fd).to_string();
    far = net::remote_endpoint_of(fd).to_string();
  } else if (domain == AF_UNIX) {
    text = type == SOCK_STREAM ? "unix " : type == SOCK_DGRAM ? "unixgram " : "unixpacket ";
    near = net::local_name_of(fd).to_string();
    far = net::peer_name_of(fd).to_string();
  } else {
    return "socket" + number;
  }
  text += near;
  if (!far.empty()) text.append("->").append(far);
  return text + number;
}

std::string mutex_text(sched::scheduler& s, const mutex& m) {
  std::string text = at("mutex", &m);
  const void* const holder = detail::holder_of(m);
  if (holder == nullptr) return text + ", held by nobody now";
  char name[32];
  const std::uint64_t id = sched::fiber_at(s, holder, name);
  return text + ", held by " + (id != 0 ? fiber_text(id, name) : std::string("somebody who is no fiber of this runtime"));
}

}  // namespace

std::string_view wait_kind(sched::wait_reason why) noexcept {
  switch (why) {
    case sched::wait_reason::none:
      return "wait";
    case sched::wait_reason::yield:
      return "yield";
    case sched::wait_reason::read:
      return "read";
    case sched::wait_reason::write:
      return "write";
    case sched::wait_reason::read_turn:
      return "read, in line behind another reader";
    case sched::wait_reason::write_turn:
      return "write, in line behind another writer";
    case sched::wait_reason::close:
      return "close";
    case sched::wait_reason::sleep:
      return "sleep";
    case sched::wait_reason::tick:
      return "tick";
    case sched::wait_reason::join:
      return "join";
    case sched::wait_reason::mutex:
      return "lock";
    case sched::wait_reason::shared_mutex:
      return "lock shared";
    case sched::wait_reason::condition:
      return "condition";
    case sched::wait_reason::semaphore:
      return "acquire";
    case sched::wait_reason::event:
      return "event";
    case sched::wait_reason::latch:
      return "latch";
    case sched::wait_reason::barrier:
      return "barrier";
    case sched::wait_reason::once:
      return "call once";
    case sched::wait_reason::wait_group:
      return "wait group";
    case sched::wait_reason::group_place:
      return "place in a task group";
    case sched::wait_reason::group_end:
      return "end of a task group";
    case sched::wait_reason::blocking_slot:
      return "turn to block";
    case sched::wait_reason::channel_send:
      return "send";
    case sched::wait_reason::channel_receive:
      return "receive";
    case sched::wait_reason::select:
      return "select";
  }
  return "wait";
}

std::string wait_object(sched::scheduler& s, const sched::fiber_view& v) {
  switch (v.why) {
    case sched::wait_reason::channel_send:
    case sched::wait_reason::channel_receive:
      return v.object != nullptr ? at("channel", v.object) : "null channel";
    default:
      break;
  }
  if (v.object == nullptr) return "";
  switch (v.why) {
    case sched::wait_reason::read:
    case sched::wait_reason::write:
      return descriptor_text(poll::number_waited_for(v.object));
    case sched::wait_reason::join: {
      // A copy of the name: the fiber may run, and give itself another.
      char name[32];
      const auto& joined = *static_cast<const sched::fiber*>(v.object);
      const std::uint64_t id = sched::fiber_at(*sched::scheduler_of(joined), &joined, name);
      return fiber_text(id, name);
    }
    case sched::wait_reason::mutex:
      return mutex_text(s, *static_cast<const mutex*>(v.object));
    case sched::wait_reason::shared_mutex:
      return at("shared mutex", v.object);
    case sched::wait_reason::condition:
      return at("condition", v.object);
    case sched::wait_reason::semaphore:
      return at("semaphore", v.object);
    case sched::wait_reason::event:
      return at("event", v.object);
    case sched::wait_reason::tick:
      return at("timer", v.object);
    case sched::wait_reason::latch:
    case sched::wait_reason::barrier:
    case sched::wait_reason::once:
    case sched::wait_reason::wait_group:
    case sched::wait_reason::group_place:
    case sched::wait_reason::group_end:
      return at("at", v.object);
    default:
      return "";
  }
}

std::uint64_t waits_for_fiber(sched::scheduler& s, const sched::fiber_view& v) noexcept {
  if (v.object == nullptr) return 0;
  if (v.why == sched::wait_reason::join) return sched::id_of(*static_cast<const sched::fiber*>(v.object));
  if (v.why != sched::wait_reason::mutex) return 0;
  const void* const holder = detail::holder_of(*static_cast<const mutex*>(v.object));
  char name[32];
  return holder != nullptr ? sched::fiber_at(s, holder, name) : 0;
}

}  // namespace weft::inline v0::debug
