// Scopes: every blocking call ends with them, whatever it waits for; what children inherit; shields.
#include "black_hole.hpp"
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::black_hole;
using testing_support::connected_pair;
using testing_support::gate;
using testing_support::on_fibers;
using testing_support::scaled;
using testing_support::thrown_by;
using weft::canceled_error;
using weft::deadline_scope;
using weft::stop_scope;
using weft::timeout_scope;

void yield_a_while() {
  for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
}

// blocking_call is one that waits for what never comes, with what it needs for that.
struct blocking_call {
  const char* name;
  std::function<void()> call;
};

// held keeps a lock of any kind, on a fiber of its own, until it is destroyed.
template <class Lock>
class held {
 public:
  explicit held(Lock& lock) : holder_([this, &lock] {
    const std::lock_guard guard(lock);
    taken_.open();
    done_.pass();
  }) {
    taken_.pass();
  }
  ~held() {
    done_.open();
    holder_.join();
  }

 private:
  gate taken_;
  gate done_;
  struct runner {
    template <class F>
    explicit runner(F f) : of(weft::spawn(std::move(f))) {}
    void join() { of.join(); }
    weft::fiber<> of;
  } holder_;
};

// Every kind of wait that the library has.
class all_waits {
 public:
  all_waits() : pair_(connected_pair()), listener_(weft::net::listen_tcp("127.0.0.1:0")), ends_(weft::io::pipe()) {
    pair_.client.set_option(SOL_SOCKET, SO_SNDBUF, 4096);
    child_ = weft::spawn([this] { over_.pass(); });
    add("sleep_for", [] { weft::this_fiber::sleep_for(1h); });
    add("sleep_until", [] { weft::this_fiber::sleep_until(std::chrono::steady_clock::time_point::max()); });
    add("receive", [this] { static_cast<void>(ints_.receive()); });
    add("try_receive_for", [this] { static_cast<void>(ints_.try_receive_for(1h)); });
    add("send", [this] { ints_.send(1); });
    add("receive of null", [] { static_cast<void>(weft::channel<int>().receive()); });
    add("select", [this] { weft::select(weft::on_receive(ints_), weft::on_send(ints_, 1)); });
    add("select of nothing", [] { weft::select(); });
    add("select of a timeout", [] { weft::select(weft::on_timeout(1h)); });
    add("select of a descriptor", [this] { weft::select(weft::on_readable(pair_.server)); });
    add("timer", [] { weft::timer().wait(); });
    add("ticker", [] { weft::ticker(1h).wait(); });
    add("mutex", [this] { std::lock_guard guard(mutex_); });
    add("timed_mutex", [this] { static_cast<void>(timed_.try_lock_for(1h)); });
    add("recursive_mutex", [this] { std::lock_guard guard(recursive_); });
    add("shared_mutex", [this] { std::shared_lock guard(shared_); });
    add("condition_variable", [this] {
      std::unique_lock lock(of_condition_);
      condition_.wait(lock);
    });
    add("condition_variable with a predicate", [this] {
      std::unique_lock lock(of_condition_);
      static_cast<void>(condition_.wait_for(lock, 1h, [] { return false; }));
    });
    add("semaphore", [this] { semaphore_.acquire(); });
    add("latch", [this] { latch_.wait(); });
    add("barrier", [] { weft::barrier<>(2).arrive_and_wait(); });
    add("event", [this] { event_.wait(); });
    add("auto_reset_event", [this] { static_cast<void>(auto_event_.wait_for(1h)); });
    add("wait_group", [this] { group_.wait(); });
    add("future", [this] { promise_future_.wait(); });
    add("join", [this] { child_.join(); });
    add("join of a task_group", [this] { tasks_.join(); });
    add("spawn at the limit", [this] { tasks_.spawn([] {}); });
    add("read", [this] {
      std::array<char, 1> byte;
      static_cast<void>(pair_.client.read_some(byte));
    });
    add("wait_readable", [this] { pair_.client.wait_readable(); });
    add("write", [this] {
      const std::vector<char> much(std::size_t{16} << 20);
      pair_.client.write(much);
    });
    add("accept", [this] { static_cast<void>(listener_.accept()); });
    if (hole_.works()) add("dial", [this] { static_cast<void>(weft::net::dial_tcp(hole_.where())); });
    add("receive of a datagram", [this] {
      std::array<char, 1> byte;
      static_cast<void>(udp_.receive(byte));
    });
    add("wait of a process", [this] { child_process_.wait(); });
    add("wait of a signal", [this] { static_cast<void>(signals_.wait()); });
    add("pipe within", [this] {
      std::array<char, 1> byte;
      static_cast<void>(ends_.first.read_some(byte));
    });
    group_.add(1);
    tasks_.spawn([this] { over_.pass(); });
  }
  ~all_waits() {
    child_process_.kill(SIGKILL);
    child_process_.wait();
    over_.open();
    group_.done();
  }

  template <class Check>
  void each(Check check) {
    const held<weft::mutex> m(mutex_);
    const held<weft::timed_mutex> t(timed_);
    const held<weft::recursive_mutex> r(recursive_);
    const held<weft::shared_mutex> s(shared_);
    for (const blocking_call& each : calls_) check(each);
  }

 private:
  void add(const char* name, std::function<void()> call) { calls_.push_back({name, std::move(call)}); }

  gate over_;
  testing_support::tcp_pair pair_;
  weft::net::tcp_listener listener_;
  std::pair<weft::io::pipe_end, weft::io::pipe_end> ends_;
  black_hole hole_;
  weft::net::udp_socket udp_ = weft::net::listen_udp("127.0.0.1:0");
  weft::os::process child_process_ = weft::os::start_process({"sleep", "1000"});
  weft::os::signal_set signals_{SIGUSR2};
  weft::channel<int> ints_{0};
  weft::mutex mutex_;
  weft::timed_mutex timed_;
  weft::recursive_mutex recursive_;
  weft::shared_mutex shared_;
  weft::mutex of_condition_;
  weft::condition_variable condition_;
  weft::counting_semaphore<> semaphore_{0};
  weft::latch latch_{1};
  weft::event event_;
  weft::auto_reset_event auto_event_;
  weft::wait_group group_;
  weft::promise<int> promise_;
  weft::future<int> promise_future_ = promise_.get_future();
  weft::fiber<> child_;
  weft::task_group<> tasks_{weft::task_group_options(1)};
  std::vector<blocking_call> calls_;
};

// covers M1
TEST(Scope, EndsEveryCallThatWaitsWhenItsTimeComes) {
  on_fibers([] {
    all_waits waits;
    waits.each([](const blocking_call& c) {
      const timeout_scope scope(2ms);
      EXPECT_THROW(c.call(), canceled_error) << c.name;
      EXPECT_TRUE(scope.expired()) << c.name;
      EXPECT_THROW(c.call(), canceled_error) << c.name << " again";
    });
  });
}

// covers M1
TEST(Scope, EndsEveryCallBeforeItBeginsOnceItsTimeHasCome) {
  on_fibers([] {
    all_waits waits;
    waits.each([](const blocking_call& c) {
      const deadline_scope scope(std::chrono::steady_clock::time_point{});
      EXPECT_TRUE(scope.expired());
      EXPECT_THROW(c.call(), canceled_error) << c.name;
    });
  });
}

// covers M1
TEST(Scope, EndsEveryCallWhenItIsStopped) {
  on_fibers([] {
    all_waits waits;
    waits.each([](const blocking_call& c) {
      stop_scope scope;
      auto stopper = weft::spawn([&] {
        yield_a_while();
        scope.request_stop();
      });
      EXPECT_THROW(c.call(), canceled_error) << c.name;
      EXPECT_TRUE(scope.stop_requested());
      const weft::shield s;
      stopper.join();
    });
  });
}

TEST(Scope, WorksOnPlainThreads) {
  std::thread([] {
    const weft::channel<int> ints(0);
    {
      const timeout_scope scope(2ms);
      EXPECT_THROW(static_cast<void>(ints.receive()), canceled_error);
      EXPECT_TRUE(scope.expired());
    }
    EXPECT_FALSE(weft::this_fiber::stop_requested());
    std::stop_source source;
    std::thread stopper([&] { source.request_stop(); });
    {
      const stop_scope scope(source.get_token());
      EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);
    }
    stopper.join();
    EXPECT_FALSE(ints.try_receive());
  }).join();
}

// covers M2
TEST(Scope, OfNestedOnesTheEarliestCounts) {
  on_fibers([] {
    const weft::channel<int> ints(0);
    {
      const timeout_scope outer(2ms);
      const timeout_scope inner(1h);
      EXPECT_THROW(static_cast<void>(ints.receive()), canceled_error);
      EXPECT_TRUE(outer.expired());
      EXPECT_FALSE(inner.expired());
    }
    const timeout_scope outer(1h);
    {
      const timeout_scope inner(2ms);
      EXPECT_THROW(static_cast<void>(ints.receive()), canceled_error);
      EXPECT_TRUE(inner.expired());
    }
    EXPECT_FALSE(outer.expired());
    EXPECT_FALSE(weft::this_fiber::stop_requested());
    weft::this_fiber::sleep_for(1ms);  // the inner one is over
  });
}

TEST(Scope, TellsTheDeadline) {
  using clock = std::chrono::steady_clock;
  on_fibers([] {
    EXPECT_EQ(weft::this_fiber::deadline(), clock::time_point::max());
    const auto soon = clock::now() + 1h;
    const deadline_scope a(soon);
    const deadline_scope b(soon + 1h);
    EXPECT_EQ(weft::this_fiber::deadline(), soon);
    EXPECT_EQ(weft::spawn([] { return weft::this_fiber::deadline(); }).join(), soon);
    const weft::shield s;
    EXPECT_EQ(weft::this_fiber::deadline(), clock::time_point::max());
    const deadline_scope c(soon + 2h);
    EXPECT_EQ(weft::this_fiber::deadline(), soon + 2h);
  });
}

// covers M3
TEST(Scope, IsInheritedByTheFibersStartedInside) {
  on_fibers([] {
    weft::fiber<bool> survivor;
    std::atomic<int> ended = 0;
    std::atomic<bool> detached_goes_on = false;
    stop_scope scope;
    {
      const timeout_scope also(1h);
      survivor = weft::spawn([&] {
        auto grandchild = weft::spawn([&] {
          EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);
          ++ended;
        });
        EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);
        ++ended;
        const weft::shield until_it_has_ended;
        grandchild.join();
        return weft::this_fiber::deadline() == std::chrono::steady_clock::time_point::max();
      });
    }
    weft::event go_on;
    weft::wait_group detached;
    detached.add(1);
    weft::go([&] {
      go_on.wait();
      detached_goes_on = !weft::this_fiber::stop_requested();
      detached.done();
    });
    yield_a_while();
    EXPECT_EQ(ended, 0);
    scope.request_stop();
    {
      const weft::shield not_us;
      EXPECT_TRUE(survivor.join());
      go_on.set();
      detached.wait();
    }
    EXPECT_EQ(ended, 2);
    EXPECT_TRUE(detached_goes_on);
    // A fiber that is started in a scope that has ended begins with the stop standing.
    auto late = weft::spawn([] { return weft::this_fiber::stop_requested(); });
    const weft::shield not_us;
    EXPECT_TRUE(late.join());
  });
}

// covers M3
TEST(Scope, EachOfSeveralEndsAChild) {
  on_fibers([] {
    for (int which = 0; which < 3; ++which) {
      std::array<stop_scope, 3> scopes;
      auto child = weft::spawn([] { weft::this_fiber::sleep_for(1h); });
      yield_a_while();
      scopes[static_cast<std::size_t>(which)].request_stop();
      const weft::shield s;
      EXPECT_THROW(child.join(), canceled_error);
    }
  });
}

// covers M3
TEST(Scope, OfAnotherKeepsADeadlineForItsChildrenAfterItsEnd) {
  on_fibers([] {
    weft::fiber<> child;
    {
      const timeout_scope scope(5ms);
      child = weft::spawn([] { weft::this_fiber::sleep_for(1h); });
    }
    EXPECT_THROW(child.join(), canceled_error);
    EXPECT_FALSE(weft::this_fiber::stop_requested());
  });
}

// covers M3
TEST(Scope, LetsGoOfADetachedFiber) {
  on_fibers([] {
    weft::event go_on;
    weft::event over;
    bool stopped = true;
    stop_scope scope;
    {
      auto child = weft::spawn([&] {
        go_on.wait();
        stopped = weft::this_fiber::stop_requested();
        auto grandchild = weft::spawn([] { return weft::this_fiber::stop_requested(); });
        stopped = stopped || grandchild.join();
        over.set();
      });
      child.detach();
    }
    scope.request_stop();
    const weft::shield not_us;
    go_on.set();
    over.wait();
    EXPECT_FALSE(stopped);
  });
}

// covers M4
TEST(Shield, KeepsStopsFromOutside) {
  on_fibers([] {
    gate shielded;
    std::atomic<int> order = 0;
    weft::event finish;
    auto f = weft::spawn([&] {
      stop_scope outer;
      outer.request_stop();
      {
        const weft::shield s;
        shielded.open();
        EXPECT_FALSE(weft::this_fiber::stop_requested());
        finish.wait();  // neither the scope around nor the fiber's stop ends it
        order = 1;
        {
          const timeout_scope inner(1ms);
          EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);  // but a scope inside does
          EXPECT_TRUE(inner.expired());
        }
        weft::this_fiber::sleep_for(1ms);
        {
          const weft::shield again;
          weft::this_fiber::sleep_for(1ms);
        }
        EXPECT_FALSE(weft::spawn([] { return weft::this_fiber::stop_requested(); }).join());
      }
      EXPECT_TRUE(weft::this_fiber::stop_requested());
      EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);
    });
    shielded.pass();
    f.request_stop();
    yield_a_while();
    EXPECT_EQ(order, 0);
    finish.set();
    f.join();
    EXPECT_EQ(order, 1);
  });
}

// An outer scope that ends while an inner one, within the shield, is waited with, is still there after the shield.
// covers M4
TEST(Shield, GivesBackWhatItHasKept) {
  on_fibers([] {
    stop_scope outer;
    {
      const weft::shield s;
      const timeout_scope inner(1h);
      auto stopper = weft::spawn([&] {
        yield_a_while();
        outer.request_stop();
      });
      weft::this_fiber::sleep_for(1ms);
      stopper.join();
      weft::this_fiber::sleep_for(1ms);
    }
    EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);
  });
}

// covers M5
TEST(Scope, LosesNothing) {
  on_fibers([] {
    // An element is the channel's or the receiver's; a lock is free or held; a byte is read or in the socket.
    for (int i = 0; i < scaled(2000); ++i) {
      const weft::channel<std::unique_ptr<int>> c(0);
      weft::counting_semaphore<> permits(0);
      stop_scope scope;
      auto sender = weft::spawn([&] {
        const weft::shield whole;
        auto element = std::make_unique<int>(i);
        const bool sent = c.try_send_for(std::move(element), 100us);
        EXPECT_EQ(sent, element == nullptr);
        permits.release();
        return sent;
      });
      auto stopper = weft::spawn([&] { scope.request_stop(); });
      std::optional<std::unique_ptr<int>> got;
      bool permitted = true;
      try {
        got = c.receive();
      } catch (const canceled_error&) {
      }
      try {
        permits.acquire();
      } catch (const canceled_error&) {
        permitted = false;
      }
      const weft::shield to_the_end;
      EXPECT_EQ(sender.join(), got.has_value());
      stopper.join();
      EXPECT_EQ(permits.try_acquire(), !permitted);
    }
  });
}

TEST(Scope, NeverEndsWhatMustNotEnd) {
  on_fibers([] {
    weft::mutex m;
    weft::condition_variable cv;
    weft::wait_group group;
    group.add(1);
    const deadline_scope over(std::chrono::steady_clock::time_point{});
    {
      const std::unique_lock lock(m);  // free: it does not have to wait
      EXPECT_FALSE(m.try_lock());
    }
    cv.notify_one();
    cv.notify_all();
    group.done();
    group.wait();  // at zero already
    EXPECT_TRUE(m.try_lock());
    // The lock of a wait that is ended is taken again, though somebody else has it.
    gate waits;
    auto other = weft::spawn([&] {
      waits.pass();
      const weft::shield s;
      const std::lock_guard lock(m);
      yield_a_while();
    });
    std::unique_lock lock(m, std::adopt_lock);
    waits.open();
    EXPECT_THROW(cv.wait(lock), canceled_error);
    EXPECT_TRUE(lock.owns_lock());
    lock.unlock();
    const weft::shield s;
    other.join();
  });
}

// covers M5
TEST(Scope, AnsweringATimeoutWithAnotherAttemptWorks) {
  on_fibers([] {
    const weft::channel<int> slow(0);
    int attempts = 0;
    auto server = weft::spawn([&] {
      yield_a_while();
      weft::this_fiber::sleep_for(10ms);
      slow.send(7);
    });
    std::optional<int> reply;
    while (!reply) {
      const timeout_scope scope(1ms);
      try {
        ++attempts;
        reply = slow.receive();
      } catch (const canceled_error&) {
        ASSERT_TRUE(scope.expired());
      }
    }
    EXPECT_EQ(*reply, 7);
    EXPECT_GT(attempts, 1);
    server.join();
  });
}

// Nobody else runs the timers while every worker computes.
// covers M1
TEST(Scope, ExpiresForWhoComputes) {
  on_fibers(
      [] {
        const timeout_scope scope(5ms);
        EXPECT_FALSE(scope.expired());
        while (!weft::this_fiber::stop_requested()) {
        }
        EXPECT_TRUE(scope.expired());
        const weft::shield s;
        EXPECT_FALSE(weft::this_fiber::stop_requested());
      },
      testing_support::with_workers(1));
  const timeout_scope of_a_thread(5ms);
  while (!weft::this_fiber::stop_requested()) {
  }
  EXPECT_TRUE(of_a_thread.expired());
}

// Clean-up code may start fibers, although the scope that it unwinds out of has ended.
// covers M3
TEST(Scope, DoesNotBoundTheChildrenOfAnUnwinding) {
  struct farewell {
    bool* said;
    ~farewell() {
      *said = weft::spawn([] {
                weft::this_fiber::sleep_for(1ms);
                return weft::this_fiber::deadline() == std::chrono::steady_clock::time_point::max();
              }).join();
      const timeout_scope own(1h);  // counts, as it was made since
      EXPECT_NE(weft::spawn([] { return weft::this_fiber::deadline(); }).join(),
                std::chrono::steady_clock::time_point::max());
    }
  };
  on_fibers([] {
    bool said = false;
    try {
      const timeout_scope scope(1ms);
      const farewell at_the_end{&said};
      weft::this_fiber::sleep_for(1h);
    } catch (const canceled_error&) {
    }
    EXPECT_TRUE(said);
  });
}

TEST(Scope, WithTimeoutMakesATimeoutOfIt) {
  on_fibers([] {
    EXPECT_EQ(weft::with_timeout(1h, [] { return 5; }), 5);
    const auto late = thrown_by([] { weft::with_timeout(1ms, [] { weft::this_fiber::sleep_for(1h); }); });
    EXPECT_EQ(late.first, std::errc::timed_out);
    EXPECT_THROW(weft::with_timeout(1h, [] { throw std::logic_error("another"); }), std::logic_error);
    stop_scope outer;
    outer.request_stop();
    EXPECT_THROW(weft::with_timeout(1h, [] { weft::this_fiber::sleep_for(1h); }), canceled_error);
    EXPECT_THROW(weft::with_timeout(0s, [] { weft::this_fiber::sleep_for(1h); }), canceled_error);
  });
}

TEST(Scope, DoesNotStopTheFibersOwnToken) {
  on_fibers([] {
    std::stop_token token;
    {
      const deadline_scope over(std::chrono::steady_clock::time_point{});
      token = weft::this_fiber::get_stop_token();
      EXPECT_FALSE(token.stop_requested());
    }
    EXPECT_FALSE(token.stop_requested());
  });
}

TEST(ScopeDeathTest, OnlyItsOwnerStopsAToken) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::stop_source source;
        stop_scope scope(source.get_token());
        scope.request_stop();
      },
      "made with a token");
}

// Many fibers share the inheritance of one place; tokens and deadlines end them all, on every worker.
TEST(Scope, EndsAThousandChildren) {
  on_fibers([] {
    const auto n = static_cast<std::size_t>(scaled(1000));
    for (const bool by_token : {true, false}) {
      std::atomic<std::size_t> ended = 0;
      std::vector<weft::fiber<>> children;
      stop_scope scope;
      std::optional<timeout_scope> in_time;
      if (!by_token) in_time.emplace(20ms);
      for (std::size_t i = 0; i < n; ++i) {
        children.push_back(weft::spawn([&] {
          EXPECT_THROW(weft::this_fiber::sleep_for(1h), canceled_error);
          ++ended;
        }));
      }
      if (by_token) scope.request_stop();
      const weft::shield s;
      for (auto& c : children) c.join();
      EXPECT_EQ(ended, n);
    }
  });
}

// Stops that come at the same moment as the end of the scope.
TEST(Scope, MayEndWhileItIsStopped) {
  on_fibers([] {
    for (int i = 0; i < scaled(3000); ++i) {
      std::stop_source source;
      auto stopper = weft::spawn([&] { source.request_stop(); });
      {
        const stop_scope scope(source.get_token());
        const timeout_scope in_time(std::chrono::nanoseconds(i % 50 * 100));
        try {
          weft::this_fiber::yield();
          weft::this_fiber::sleep_for(std::chrono::nanoseconds(i % 7 * 500));
        } catch (const canceled_error&) {
        }
      }
      EXPECT_FALSE(weft::this_fiber::stop_requested());
      stopper.join();
    }
  });
}

}  // namespace
