#include <weft/net/serve.hpp>

#include <weft/error.hpp>
#include <weft/sched/park.hpp>

#include <algorithm>
#include <string>

namespace weft::inline v0::net::detail {

namespace {

constexpr sched::nanotime shortest_pause = 5'000'000;  // 5 ms, doubling to 1 s: Go's net/http
constexpr sched::nanotime longest_pause = 1'000'000'000;

// What passes: want of a resource, or an error of the network that the system hands on from the new connection.
bool passes(const std::error_code& error) noexcept {
  constexpr std::errc passing[] = {
      std::errc::too_many_files_open, std::errc::too_many_files_open_in_system,
      std::errc::no_buffer_space,     std::errc::not_enough_memory,
      std::errc::no_space_on_device,  std::errc::network_down,
      std::errc::network_unreachable, std::errc::host_unreachable,
      std::errc::no_protocol_option,  std::errc::operation_not_permitted,
  };
  return std::ranges::any_of(passing, [&](std::errc e) { return error == e; });
}

}  // namespace

bool accept_loop::next(tcp_conn& conn) {
  for (;;) {
    if (pause_due_) {
      pause_due_ = false;
      pause_ = std::clamp(2 * pause_, shortest_pause, longest_pause);
      if (!sched::sleep_until(sched::after(pause_))) return false;
    }
    std::error_code error;
    conn = listener_.accept(error);
    if (!error) return true;
    if (error == errc::closed || error == std::errc::operation_canceled) return false;
    if (!passes(error)) {
      throw io_error(error, failed_operation{"accept", "tcp", listener_.local_endpoint().to_string(), {}});
    }
    not_started(error);
  }
}

void accept_loop::not_started(const std::error_code& error) {
  pause_due_ = true;
  if (!options_.on_accept_error) return;
  const sched::nanotime now = sched::now();
  if (reported_ && now - last_report_ < longest_pause) return;
  reported_ = true;
  last_report_ = now;
  options_.on_accept_error(error);
}

void connection_failed(const serve_options& options, const endpoint& peer, const std::system_error& error) {
  if (error.code() == std::errc::operation_canceled && sched::stop_requested()) return;
  if (options.on_connection_error) options.on_connection_error(peer, error);
}

}  // namespace weft::inline v0::net::detail
