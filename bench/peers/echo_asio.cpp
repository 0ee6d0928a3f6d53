// The echo server with Boost.Asio's callbacks: a session object for each connection, kept alive by its handlers.
// Workers are threads that run the one io_context; a session never has two operations under way, and needs no strand.
#include "server.hpp"

#include <boost/asio.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class session : public std::enable_shared_from_this<session> {
 public:
  session(tcp::socket socket, bool slow) : socket_(std::move(socket)), timer_(socket_.get_executor()), slow_(slow) {}

  void read() {
    socket_.async_read_some(asio::buffer(buffer_), [self = shared_from_this()](const error_code& error, std::size_t n) {
      if (error) return;
      if (self->slow_ && self->handle_slowly(n)) return;
      self->write(n);
    });
  }

 private:
  void write(std::size_t n) {
    asio::async_write(socket_, asio::buffer(buffer_, n),
                      [self = shared_from_this()](const error_code& error, std::size_t) {
                        if (!error) self->read();
                      });
  }

  // handle_slowly is true if the answer is for later.
  bool handle_slowly(std::size_t n) {
    if (buffer_[0] == 'c') bench::compute();
    if (buffer_[0] != 'w') return false;
    timer_.expires_after(bench::slow_time);
    timer_.async_wait([self = shared_from_this(), n](const error_code&) { self->write(n); });
    return true;
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  bool slow_;
  std::array<char, 16 * 1024> buffer_;
};

void accept(tcp::acceptor& acceptor, bool slow) {
  acceptor.async_accept([&acceptor, slow](const error_code& error, tcp::socket socket) {
    if (!error) {
      socket.set_option(tcp::no_delay(true));
      std::make_shared<session>(std::move(socket), slow)->read();
    }
    accept(acceptor, slow);
  });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::server_options told = bench::server_options_from(argc, argv);
  // The hint for one thread leaves out the locks.
  asio::io_context context(static_cast<int>(told.workers));
  tcp::acceptor acceptor(context, {asio::ip::make_address(told.host), told.port});
  acceptor.listen(asio::socket_base::max_listen_connections);
  bench::print_endpoint(told.host, acceptor.local_endpoint().port());
  accept(acceptor, told.slow);
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < told.workers; ++i) threads.emplace_back([&] { context.run(); });
  context.run();
}
