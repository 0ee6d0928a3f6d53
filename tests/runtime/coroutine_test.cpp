// Fibers and coroutines wait for each other.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;

// A lazy task, as coroutine libraries have them.
template <class T>
class task {
 public:
  struct promise_type {
    std::optional<T> value;
    std::exception_ptr error;
    std::coroutine_handle<> continuation = std::noop_coroutine();

    task get_return_object() { return task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct goes_on {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
          return h.promise().continuation;
        }
        void await_resume() noexcept {}
      };
      return goes_on{};
    }
    void return_value(T v) { value = std::move(v); }
    void unhandled_exception() { error = std::current_exception(); }
  };

  explicit task(std::coroutine_handle<promise_type> h) : handle_(h) {}
  task(task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  ~task() {
    if (handle_) handle_.destroy();
  }
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> by) noexcept {
    handle_.promise().continuation = by;
    return handle_;
  }
  T await_resume() {
    if (handle_.promise().error) std::rethrow_exception(handle_.promise().error);
    return std::move(*handle_.promise().value);
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

task<std::string> blocks_on_a_fiber(weft::channel<std::string> c) {
  const std::uint64_t before = weft::this_fiber::get_id();
  std::string got = co_await weft::on_fiber([&] {
    EXPECT_NE(weft::this_fiber::get_id(), before);
    return c.receive().value_or("end");
  });
  EXPECT_NE(weft::this_fiber::get_id(), before);  // it goes on there
  co_return got + "!";
}

TEST(Coroutine, AwaitsACallOnAFiberAndIsAwaitedByOne) {
  on_fibers([] {
    const weft::channel<std::string> c(0);
    auto sender = weft::spawn([&] { c.send("hello"); });
    EXPECT_EQ(weft::await(blocks_on_a_fiber(c)), "hello!");
    sender.join();
  });
}

TEST(Coroutine, ExceptionsComeThroughBothWays) {
  const auto throws = []() -> task<int> {
    co_await weft::on_fiber([] { throw std::runtime_error("on the fiber"); });
    co_return 1;
  };
  on_fibers([&] {
    try {
      weft::await(throws());
      ADD_FAILURE() << "no exception";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "on the fiber");
    }
  });
  // Without a runtime there is no fiber to be had.
  EXPECT_EQ(testing_support::thrown_by([&] { weft::await(throws()); }).first, weft::errc::no_runtime);
}

// resumed_elsewhere is completed by a thread that knows nothing of fibers.
struct resumed_elsewhere {
  int value;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const {
    std::thread([h] { h.resume(); }).detach();
  }
  int& await_resume() noexcept { return value; }
};
struct by_member {
  resumed_elsewhere operator co_await() const { return {7}; }
};
struct by_function {};
resumed_elsewhere operator co_await(by_function) { return {8}; }
struct at_once {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const {}
  std::unique_ptr<int> await_resume() const { return std::make_unique<int>(9); }
};

TEST(Coroutine, AnyAwaitableCanBeAwaited) {
  on_fibers([] {
    resumed_elsewhere a{6};
    int& referred = weft::await(a);
    EXPECT_EQ(&referred, &a.value);
    EXPECT_EQ(weft::await(by_member()), 7);
    EXPECT_EQ(weft::await(by_function()), 8);
    EXPECT_EQ(*weft::await(at_once()), 9);
    weft::await(std::suspend_never());
  });
  resumed_elsewhere b{5};
  EXPECT_EQ(weft::await(b), 5);  // a plain thread waits as well
}

TEST(Coroutine, OtherFibersGoOnMeanwhileAndNoStopEndsIt) {
  on_fibers([] {
    weft::event open;
    auto coroutine = [&]() -> task<int> {
      co_await weft::on_fiber([&] { open.wait(); });
      co_return 3;
    };
    auto waits = weft::spawn([&] { return weft::await(coroutine()); });
    waits.request_stop();
    for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
    open.set();
    EXPECT_EQ(waits.join(), 3);
  });
}

TEST(Coroutine, ManyTimes) {
  on_fibers([] {
    const auto adds = [](int a) -> task<int> {
      const int one = co_await weft::on_fiber([] { return 1; });
      co_return a + one;
    };
    weft::task_group<int> group;
    for (int i = 0; i < scaled(1000); ++i) {
      group.spawn([&, i] { return weft::await(adds(i)); });
    }
    const auto all = group.join();
    for (int i = 0; i < scaled(1000); ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)], i + 1);
  });
}

}  // namespace
