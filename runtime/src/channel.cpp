#include <weft/channel.hpp>

#include "io_error.hpp"

#include <weft/error.hpp>
#include <weft/sched/fiber.hpp>

#include <mutex>
#include <string>

namespace weft::inline v0::detail {

namespace {

void unlock_none(void*) noexcept {}

}  // namespace

bool channel_base::shut() noexcept {
  sched::wake_list wake;
  {
    const std::lock_guard guard(lock);
    if (closed) return false;
    closed = true;
    for (sched::wait_queue* const q : {&receivers, &senders}) {
      while (sched::wait_node* const n = q->claim()) finish_locked(*n, wake, sched::verdict::closed);
    }
  }
  wake.deliver();
  return true;
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
