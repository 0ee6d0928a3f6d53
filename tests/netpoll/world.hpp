// world: a poller, and somebody who runs code against it: fibers of a scheduler, or plain threads.
#pragma once

#include <poll_cache.hpp>
#include <support/poll_seam.hpp>

#include <weft/netpoll/descriptor.hpp>
#include <weft/netpoll/poller.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <dirent.h>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace weft::testing {

// scale: how much longer than usual a stress test shall run.
inline unsigned scale() {
  const char* s = std::getenv("WEFT_TEST_SCALE");
  const double f = s != nullptr ? std::atof(s) : 1;
  return f < 1 ? 1 : static_cast<unsigned>(f);
}

inline std::size_t open_fds() {
  std::size_t n = 0;
  DIR* dir = ::opendir("/proc/self/fd");
  while (::readdir(dir) != nullptr) ++n;
  ::closedir(dir);
  return n;
}

// driver is one thread that does what a scheduler does with a poller: poll, wake, count.
class driver {
 public:
  explicit driver(std::shared_ptr<poll::poller> p) : poller_(std::move(p)), thread_([this] { loop(); }) {}
  ~driver() {
    stop_.store(true);
    poller_->netpollbreak();
    thread_.join();
  }

 private:
  void loop() {
    auto list = std::make_unique<sched::ready_list>();
    while (!stop_.load()) {
      list->count = 0;
      poller_->netpoll(sched::never, *list);
      for (std::size_t i = 0; i < list->count; ++i) sched::ready(list->items[i]);
      poller_->delivered(list->count);
    }
  }

  std::shared_ptr<poll::poller> poller_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// task is a running function: a fiber, or a thread. Joined when it goes.
class task {
 public:
  explicit task(std::thread t) : thread_(std::move(t)) {}
  explicit task(sched::fiber* f) : fiber_(f) {}
  task(task&& other) noexcept : thread_(std::move(other.thread_)), fiber_(std::exchange(other.fiber_, nullptr)) {}
  task& operator=(task&&) = delete;
  ~task() { join(); }

  void join() {
    if (thread_.joinable()) thread_.join();
    if (fiber_ != nullptr) {
      sched::join_uncancelled(*fiber_);
      sched::release(*fiber_);
      fiber_ = nullptr;
    }
  }
  bool is_fiber() const { return fiber_ != nullptr; }
  void request_stop() { sched::request_stop(*fiber_); }

 private:
  std::thread thread_;
  sched::fiber* fiber_ = nullptr;
};

// world runs functions on fibers of `workers` workers, or, for 0, on a thread each beside a driver.
class world {
 public:
  explicit world(unsigned workers) : workers_(workers) {
    int error = 0;
    poller_ = poll::make_epoll_poller(error);
    if (workers == 0) {
      driver_ = std::make_unique<driver>(poller_);
    } else {
      sched::scheduler_options options;
      options.processors = workers;
      scheduler_ = sched::create_scheduler(options, *poller_, error);
      if (scheduler_ != nullptr) poller_->attach(*scheduler_);
    }
    EXPECT_EQ(error, 0);
  }
  ~world() {
    EXPECT_EQ(poller_->cache()->slots_in_use(), 0u) << "a descriptor was left";
    if (scheduler_ != nullptr) {
      EXPECT_TRUE(sched::drain(*scheduler_, sched::after(10'000'000'000)));
      sched::destroy_scheduler(scheduler_);
    }
    driver_.reset();
    EXPECT_FALSE(poller_->any_waiters());
  }

  [[nodiscard]] task go(std::function<void()> body) {
    if (scheduler_ == nullptr) return task(std::thread(std::move(body)));
    sched::fiber_options options;
    sched::fiber* f = sched::create_fiber(*scheduler_, options, sizeof body, alignof(std::function<void()>), &enter,
                                          sched::handle::one);
    new (sched::body_of(*f)) std::function<void()>(std::move(body));
    sched::start(*f);
    return task(f);
  }
  // run runs body to its end.
  void run(std::function<void()> body) { go(std::move(body)).join(); }

  bool fibers() const { return scheduler_ != nullptr; }
  unsigned workers() const { return workers_; }
  const std::shared_ptr<poll::poller>& poller() const { return poller_; }
  sched::scheduler* scheduler() const { return scheduler_; }

  poll::descriptor_ptr open(int fd, poll::kind k) {
    int error = 0;
    auto d = poll::descriptor::open(poller_, fd, k, error);
    EXPECT_EQ(error, 0);
    return d;
  }

 private:
  static void enter(void* body) noexcept {
    auto* f = static_cast<std::function<void()>*>(body);
    (*f)();
    f->~function();
  }

  const unsigned workers_;
  std::shared_ptr<poll::poller> poller_;
  std::unique_ptr<driver> driver_;
  sched::scheduler* scheduler_ = nullptr;
};

// Sockets

struct fd_pair {
  int a = -1;
  int b = -1;
};

inline fd_pair unix_pair(int type = SOCK_STREAM) {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {fds[0], fds[1]};
}

struct loopback_listener {
  int fd = -1;
  sockaddr_in address{};
};

inline loopback_listener listen_loopback(int backlog = 128) {
  loopback_listener l;
  l.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  l.address.sin_family = AF_INET;
  l.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(l.fd, reinterpret_cast<sockaddr*>(&l.address), sizeof l.address), 0);
  EXPECT_EQ(::listen(l.fd, backlog), 0);
  socklen_t size = sizeof l.address;
  EXPECT_EQ(::getsockname(l.fd, reinterpret_cast<sockaddr*>(&l.address), &size), 0);
  return l;
}

// connect_loopback connects, blocking the thread; the socket is non-blocking afterwards.
inline int connect_loopback(const sockaddr_in& to) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  EXPECT_EQ(::fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  const int one = 1;
  EXPECT_EQ(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
  return fd;
}

inline fd_pair tcp_pair() {
  loopback_listener l = listen_loopback();
  fd_pair p;
  p.a = connect_loopback(l.address);
  do {
    p.b = ::accept4(l.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  } while (p.b < 0 && errno == EAGAIN);
  const int one = 1;
  EXPECT_EQ(::setsockopt(p.b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
  ::close(l.fd);
  return p;
}

// reset_on_close makes the next close of fd send a reset.
inline void reset_on_close(int fd) {
  const linger hard{1, 0};
  EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
}

// raw_send writes all of it to the plain, non-blocking fd, which must have room.
inline void raw_send(int fd, std::string_view bytes, int flags = 0) {
  EXPECT_EQ(::send(fd, bytes.data(), bytes.size(), flags | MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
}

inline std::string read_string(poll::descriptor& d, std::size_t room, int* error = nullptr) {
  std::string s(room, '\0');
  const poll::io_result r = d.read(s.data(), s.size());
  if (error != nullptr) {
    *error = r.error;
  } else {
    EXPECT_EQ(r.error, poll::ok);
  }
  s.resize(r.count);
  return s;
}

inline poll::io_result write_string(poll::descriptor& d, std::string_view s) { return d.write(s.data(), s.size()); }

// fill writes to fd until the system takes no more.
inline void fill(int fd) {
  const std::string chunk(65536, 'f');
  while (::send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL) > 0) {
  }
}

// io_test is the fixture of tests that run on plain threads (0) and on 1 to 8 workers. Leaves no descriptor behind.
class io_test : public ::testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    fds_before_ = open_fds();
    w_ = std::make_unique<world>(GetParam());
  }
  void TearDown() override {
    w_.reset();
    EXPECT_EQ(open_fds(), fds_before_);
  }
  world& w() { return *w_; }

 private:
  std::size_t fds_before_ = 0;
  std::unique_ptr<world> w_;
};

inline std::string name_of_workers(const ::testing::TestParamInfo<unsigned>& info) {
  return info.param == 0 ? "threads" : "workers" + std::to_string(info.param);
}

}  // namespace weft::testing

#define WEFT_INSTANTIATE_IO_TEST(suite) \
  INSTANTIATE_TEST_SUITE_P(All, suite, ::testing::Values(0u, 1u, 2u, 4u, 8u), ::weft::testing::name_of_workers)
