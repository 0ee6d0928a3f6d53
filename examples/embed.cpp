// An application that has a main loop and threads of its own, and runs fibers beside them. The model belongs to the
// main thread, as in a program with windows; fibers serve the network; plain threads use both.
#include "support/flags.hpp"
#include "support/on_stop.hpp"

#include <weft/weft.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace {

// The application's own loop: anybody posts, the main thread runs. It knows nothing of fibers. Its std::mutex is no
// danger to them, since nobody suspends while holding it.
class main_loop {
 public:
  void post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
  }

  void quit() {
    post([this] { running_ = false; });
  }

  void run() {
    while (running_) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !tasks_.empty(); });
      const std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool running_ = true;  // the main thread's
};

struct application {
  main_loop loop;
  std::uint64_t sum = 0;  // the model: touched by the main thread only

  weft::mutex mutex;                              // for fibers and plain threads alike
  std::map<std::uint16_t, unsigned> requests_of;  // by the client's port; guarded by mutex
};

// Fiber to main loop and back: the answer wakes the fiber, and meanwhile its thread runs others.
std::uint64_t add_to_model(application& app, std::uint64_t number) {
  std::uint64_t result = 0;
  weft::wait_group answered;
  answered.add();
  app.loop.post([&] {
    result = app.sum += number;
    answered.done();
  });
  answered.wait();
  return result;
}

void serve_client(application& app, weft::net::tcp_conn conn) {
  std::uint64_t number = 0;
  while (conn.read_full(weft::mutable_buffer(&number, sizeof number)) == sizeof number) {
    const std::uint64_t sum = add_to_model(app, number);
    conn.write(weft::const_buffer(&sum, sizeof sum));
    const std::scoped_lock lock(app.mutex);
    ++app.requests_of[conn.remote_endpoint().port()];
  }
}

// A plain thread: inside enter() it dials as a fiber does, and its reads block the thread.
void run_client(weft::runtime& fibers, const weft::net::endpoint& server, unsigned requests,
                const std::atomic<bool>& stopped) {
  const auto inside = fibers.enter();
  weft::net::tcp_conn conn = weft::net::dial_tcp(server);
  for (std::uint64_t number = 1; number <= requests && !stopped; ++number) {
    conn.write(weft::const_buffer(&number, sizeof number));
    std::uint64_t sum = 0;
    if (conn.read_full(weft::mutable_buffer(&sum, sizeof sum)) != sizeof sum) return;
  }
}

// Runs the server and its clients beside the main loop, until all clients have ended.
void run_beside(application& app, weft::runtime& fibers, unsigned clients, unsigned requests,
                std::atomic<bool>& stopped) {
  const auto inside = fibers.enter();
  const support::on_stop stop([&stopped] { stopped = true; });
  weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
  auto server = weft::spawn(
      [&] { weft::net::serve(listener, [&app](weft::net::tcp_conn conn) { serve_client(app, std::move(conn)); }); });

  weft::wait_group working;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < clients; ++i) {
    working.add();
    threads.emplace_back([&] {
      try {
        run_client(fibers, listener.local_endpoint(), requests, stopped);
      } catch (const std::system_error& error) {
        std::fprintf(stderr, "embed: client: %s\n", error.what());
      }
      working.done();
    });
  }
  // A fiber waits for the plain threads, and then tells the main loop.
  auto watcher = weft::spawn([&] {
    working.wait();
    app.loop.quit();
  });

  app.loop.run();

  for (std::thread& thread : threads) thread.join();
  watcher.join();
  listener.close();
  server.join();
}

int run_application(unsigned clients, unsigned requests, const weft::runtime_options& options) {
  application app;
  std::atomic<bool> stopped{false};
  weft::runtime fibers(options);
  run_beside(app, fibers, clients, requests, stopped);
  fibers.stop();

  const std::scoped_lock lock(app.mutex);
  for (const auto& [port, count] : app.requests_of) std::printf("client at port %u: %u requests\n", port, count);
  const std::uint64_t expected = std::uint64_t{clients} * requests * (requests + 1) / 2;
  std::printf("sum %llu, expected %llu\n", static_cast<unsigned long long>(app.sum),
              static_cast<unsigned long long>(expected));
  return app.sum == expected || stopped ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned clients = 4;
  unsigned requests = 1000;
  weft::runtime_options options;
  support::flags("embed", "an application with a main loop and threads of its own, and fibers beside them.")
      .number("--clients", "N", "plain threads that use the fibers' server (4)", clients, 1u, 1000u)
      .number("--requests", "N", "of each client (1000)", requests, 1u, 1'000'000u)
      .number("--workers", "N", "fibers that run at the same time (0: one per CPU)", options.workers, 0u,
              weft::runtime::max_workers)
      .parse(argc, argv);
  return support::report_errors("embed", [&] { return run_application(clients, requests, options); });
}
