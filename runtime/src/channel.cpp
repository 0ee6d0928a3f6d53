#include <weft/channel.hpp>

#include "io_error.hpp"

#include <weft/error.hpp>
#include <weft/sched/fiber.hpp>

#include <array>
#include <string>

namespace weft::inline v0::detail {

namespace {

void unlock_one(void* lock) noexcept { static_cast<sched::spin_lock*>(lock)->unlock(); }
void unlock_none(void*) noexcept {}

}  // namespace

bool channel_base::shut() noexcept {
  lock.lock();
  if (closed) {
    lock.unlock();
    return false;
  }
  closed = true;  // nobody enters a queue from here on
  for (;;) {
    std::array<sched::waiter, 32> owned;
    std::size_t n = 0;
    while (n < owned.size()) {
      wait_node* const node = receivers.empty() ? senders.claim(owned[n]) : receivers.claim(owned[n]);
      if (node != nullptr) {
        ++n;
        node->of->decide(sched::verdict::closed, node);
      } else if (senders.empty()) {
        break;
      }
    }
    lock.unlock();
    for (std::size_t i = 0; i < n; ++i) sched::ready(owned[i]);
    if (n < owned.size()) return true;
    lock.lock();
  }
}

sched::verdict channel_base::wait(wait_queue& queue, wait_node& n, sched::wait_reason why) noexcept {
  sched::selection waiting;
  n.of = &waiting;
  queue.push(n);
  const sched::verdict v = waiting.wait(&unlock_one, &lock, why);
  if (v == sched::verdict::canceled) {
    lock.lock();
    queue.leave(n);
    lock.unlock();
  }
  return v;
}

void wait_for_a_stop(sched::wait_reason why) noexcept {
  do {
    sched::selection nothing;
    static_cast<void>(nothing.wait(&unlock_none, nullptr, why));
  } while (!sched::stop_requested());
}

std::error_code code_of(sched::verdict v) noexcept {
  switch (v) {
    case sched::verdict::closed:
      return errc::closed;
    case sched::verdict::canceled:
      return std::make_error_code(std::errc::operation_canceled);
    default:
      return {};
  }
}

void throw_channel_failure(const char* operation, sched::verdict v) {
  if (v == sched::verdict::canceled) throw_canceled((std::string(operation) + " channel").c_str());
  throw io_error(errc::closed, failed_operation{operation, "channel", {}, {}});
}

void throw_null_channel(const char* operation) {
  throw io_error(std::make_error_code(std::errc::invalid_argument),
                 failed_operation{operation, "null channel", {}, {}});
}

void throw_channel_too_large(std::size_t capacity) {
  throw io_error(std::make_error_code(std::errc::not_enough_memory),
                 failed_operation{"make", "channel", {}, "of " + std::to_string(capacity) + " elements"});
}

}  // namespace weft::inline v0::detail
