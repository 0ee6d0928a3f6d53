// The echo server with Boost.Fiber over Boost.Asio: a fiber for each connection; each call starts an asynchronous
// operation and suspends the fiber until its handler makes it ready again. One thread: the main fiber runs the
// io_context, and lets it sleep when no other fiber is ready.
#include "server.hpp"

#include <boost/asio.hpp>
#include <boost/fiber/algo/algorithm.hpp>
#include <boost/fiber/context.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>
#include <boost/fiber/scheduler.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <utility>

namespace {

namespace asio = boost::asio;
namespace fibers = boost::fibers;
using asio::ip::tcp;
using boost::system::error_code;

// Boost's round robin, and the number of fibers that are ready; its own dispatcher doesn't count.
class counting : public fibers::algo::algorithm {
 public:
  explicit counting(std::size_t& ready) : ready_(ready) {}

  void awakened(fibers::context* fiber) noexcept override {
    if (!fiber->is_context(fibers::type::dispatcher_context)) ++ready_;
    fiber->ready_link(queue_);
  }
  fibers::context* pick_next() noexcept override {
    if (queue_.empty()) return nullptr;
    fibers::context* const fiber = &queue_.front();
    queue_.pop_front();
    if (!fiber->is_context(fibers::type::dispatcher_context)) --ready_;
    return fiber;
  }
  bool has_ready_fibers() const noexcept override { return ready_ > 0; }
  // The main fiber is always ready: there is nothing to wait for here.
  void suspend_until(const std::chrono::steady_clock::time_point&) noexcept override {}
  void notify() noexcept override {}

 private:
  std::size_t& ready_;
  fibers::scheduler::ready_queue_type queue_{};
};

// await suspends the fiber until the handler that `start` is given was called. No handler runs before `start` returns,
// nor in another thread.
template <class Start>
std::size_t await(error_code& error, Start&& start) {
  fibers::context* const self = fibers::context::active();
  std::size_t size = 0;
  start([&, self](const error_code& e, std::size_t n = 0) {
    error = e;
    size = n;
    fibers::context::active()->schedule(self);
  });
  self->suspend();
  return size;
}

void handle_slowly(tcp::socket& socket, char kind) {
  if (kind == 'c') bench::compute();
  if (kind != 'w') return;
  asio::steady_timer timer(socket.get_executor(), bench::slow_time);
  error_code ignored;
  await(ignored, [&](auto handler) { timer.async_wait(handler); });
}

void echo(tcp::socket socket, bool slow) {
  std::array<char, 16 * 1024> buffer;
  error_code error;
  for (;;) {
    const std::size_t n = await(error, [&](auto h) { socket.async_read_some(asio::buffer(buffer), h); });
    if (error) return;
    if (slow) handle_slowly(socket, buffer[0]);
    await(error, [&](auto h) { asio::async_write(socket, asio::buffer(buffer, n), h); });
    if (error) return;
  }
}

void accept(asio::io_context& context, tcp::acceptor& acceptor, bool slow) {
  for (;;) {
    tcp::socket socket(context);
    error_code error;
    await(error, [&](auto handler) { acceptor.async_accept(socket, handler); });
    if (error) continue;
    socket.set_option(tcp::no_delay(true));
    fibers::fiber(fibers::launch::post, std::allocator_arg, fibers::fixedsize_stack(64 * 1024), echo, std::move(socket),
                  slow)
        .detach();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::server_options told = bench::server_options_from(argc, argv, 1);
  std::size_t ready = 0;
  fibers::use_scheduling_algorithm<counting>(ready);
  asio::io_context context(1);
  // There are moments without an operation under way, when every fiber is ready.
  const auto work = asio::make_work_guard(context);
  tcp::acceptor acceptor(context, {asio::ip::make_address(told.host), told.port});
  acceptor.listen(asio::socket_base::max_listen_connections);
  bench::print_endpoint(told.host, acceptor.local_endpoint().port());
  fibers::fiber([&] { accept(context, acceptor, told.slow); }).detach();
  for (;;) {
    while (ready > 0) boost::this_fiber::yield();
    if (context.poll() == 0) context.run_one();
  }
}
