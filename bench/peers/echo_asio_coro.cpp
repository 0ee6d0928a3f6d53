// The echo server with Boost.Asio and C++20 coroutines: one for each connection. Workers are threads that run the one
// io_context.
#include "server.hpp"

#include <boost/asio.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;

awaitable<void> handle_slowly(char kind) {
  if (kind == 'c') bench::compute();
  if (kind != 'w') co_return;
  asio::steady_timer timer(co_await asio::this_coro::executor, bench::slow_time);
  co_await timer.async_wait(use_awaitable);
}

awaitable<void> echo(tcp::socket socket, bool slow) {
  std::array<char, 16 * 1024> buffer;
  try {
    for (;;) {
      const std::size_t n = co_await socket.async_read_some(asio::buffer(buffer), use_awaitable);
      if (slow) co_await handle_slowly(buffer[0]);
      co_await asio::async_write(socket, asio::buffer(buffer, n), use_awaitable);
    }
  } catch (const boost::system::system_error&) {
  }
}

awaitable<void> accept(tcp::acceptor& acceptor, bool slow) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(use_awaitable);
    socket.set_option(tcp::no_delay(true));
    asio::co_spawn(acceptor.get_executor(), echo(std::move(socket), slow), asio::detached);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bench::server_options told = bench::server_options_from(argc, argv);
  asio::io_context context(static_cast<int>(told.workers));
  tcp::acceptor acceptor(context, {asio::ip::make_address(told.host), told.port});
  acceptor.listen(asio::socket_base::max_listen_connections);
  bench::print_endpoint(told.host, acceptor.local_endpoint().port());
  asio::co_spawn(context, accept(acceptor, told.slow), asio::detached);
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < told.workers; ++i) threads.emplace_back([&] { context.run(); });
  context.run();
}
