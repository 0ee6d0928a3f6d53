#include <weft/net/serve.hpp>

#include "../whole_lock.hpp"

#include <weft/error.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>

#include <algorithm>
#include <memory>
#include <utility>

namespace weft::inline v0::net {

namespace detail {

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

// Waits until the listener is closed, or something links itself to the wait: nothing ever makes a listener writable.
int wait_for_close(const tcp_listener& listener) noexcept {
  poll::descriptor* const d = io::access::descriptor(listener);
  return d != nullptr ? d->wait_ready(poll::mode::write) : static_cast<int>(poll::closed);
}

}  // namespace

std::size_t census::connections() const noexcept {
  const whole_lock lock(mutex_);
  return connections_;
}

void census::change(std::ptrdiff_t connections, std::ptrdiff_t loops) noexcept {
  whole_lock lock(mutex_);
  connections_ += static_cast<std::size_t>(connections);
  loops_ += static_cast<std::size_t>(loops);
  for (;;) {
    const auto found = std::ranges::find_if(watchers_, [this](const watcher& w) { return met(w); });
    if (found == watchers_.end()) return;
    std::stop_source source = std::move(found->source);
    *found = std::move(watchers_.back());
    watchers_.pop_back();
    // Runs what is linked to it, so not under the lock.
    lock.unlock();
    source.request_stop();
    lock.lock();
  }
}

std::stop_token census::watch(std::size_t n, bool loops_too) {
  watcher w{n, loops_too, {}};
  std::stop_token token = w.source.get_token();
  const whole_lock lock(mutex_);
  if (met(w)) {
    w.source.request_stop();
  } else {
    watchers_.push_back(std::move(w));
  }
  return token;
}

bool accept_loop::wait_out_pause() {
  pause_ = std::clamp(2 * pause_, shortest_pause, longest_pause);
  int error = poll::ok;
  {
    const sched::deadline_link over(sched::after(pause_));
    error = wait_for_close(listener_);
  }
  return error != poll::closed && !sched::stop_requested();
}

bool accept_loop::wait_for_room() {
  const std::size_t most = service_.options.max_connections;
  while (most != 0 && service_.counted.connections() >= most) {
    int error = poll::ok;
    {
      const sched::stop_link room(service_.counted.below(most));
      error = wait_for_close(listener_);
    }
    if (error == poll::closed || sched::stop_requested()) return false;
    if (error != poll::canceled) break;  // something is wrong with the listener: accept will say what
  }
  return true;
}

bool accept_loop::next(tcp_conn& conn) {
  for (;;) {
    if (std::exchange(pause_due_, false) && !wait_out_pause()) return false;
    if (!wait_for_room()) return false;
    std::error_code error;
    conn = listener_.accept(error);
    if (!error) {
      service_.counted.connection_begins();
      return true;
    }
    if (error == errc::closed || error == std::errc::operation_canceled) return false;
    if (!passes(error)) {
      throw io_error(error, failed_operation{"accept", "tcp", listener_.local_endpoint().to_string(), {}});
    }
    report(error);
  }
}

void accept_loop::not_started(const std::error_code& error) {
  if (!passes(error)) throw;
  report(error);
}

void accept_loop::report(const std::error_code& error) {
  pause_due_ = true;
  if (!service_.options.on_accept_error) return;
  const sched::nanotime now = sched::now();
  if (reported_ && now - last_report_ < longest_pause) return;
  reported_ = true;
  last_report_ = now;
  service_.options.on_accept_error(error);
}

void connection_failed(const serve_options& options, const endpoint& peer, const std::system_error& error) {
  if (error.code() == std::errc::operation_canceled && sched::stop_requested()) return;
  if (options.on_connection_error) options.on_connection_error(peer, error);
}

}  // namespace detail

server::server(tcp_listener listener, const serve_options& options)
    : listener_(std::move(listener)), service_(new detail::service{options, {}, {}}) {}

void server::close() noexcept {
  std::error_code closed_before;
  listener_.close(closed_before);
}

std::size_t server::drain_until(sched::nanotime until) {
  close();
  {
    const sched::stop_link nobody(service_->counted.nobody());
    static_cast<void>(sched::sleep_until(until));
  }
  const std::size_t left = connections();
  if (left != 0) service_->stop.request_stop();
  return left;
}

}  // namespace weft::inline v0::net
