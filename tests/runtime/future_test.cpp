// promise, future, packaged_task, singleflight; std::future from a fiber.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::on_fibers;
using testing_support::scaled;
using weft::future;
using weft::packaged_task;
using weft::promise;
using weft::shared_future;

template <class Call>
std::error_code future_error_of(Call call) {
  try {
    call();
  } catch (const std::future_error& e) {
    return e.code();
  }
  return {};
}

TEST(Future, HandsTheResultOver) {
  on_fibers([] {
    promise<std::unique_ptr<int>> p;
    auto f = p.get_future();
    EXPECT_TRUE(f.valid());
    EXPECT_EQ(f.wait_for(0s), std::future_status::timeout);
    auto maker = weft::spawn([&] { p.set_value(std::make_unique<int>(5)); });
    EXPECT_EQ(*f.get(), 5);
    EXPECT_FALSE(f.valid());
    maker.join();
    promise<std::vector<int>> list;
    list.set_value({1, 2, 3});
    EXPECT_EQ(list.get_future().get().size(), 3u);
    promise<int> by_wall_clock;
    EXPECT_EQ(by_wall_clock.get_future().wait_until(std::chrono::system_clock::now() + 1ms),
              std::future_status::timeout);
    int referred = 1;
    promise<const int&> to_const;
    to_const.set_value(referred);
    EXPECT_EQ(&to_const.get_future().get(), &referred);
    promise<int&> r;
    r.set_value(referred);
    EXPECT_EQ(&r.get_future().get(), &referred);
    promise<void> v;
    auto waiting = weft::spawn([done = v.get_future()]() mutable { done.get(); });
    v.set_value();
    waiting.join();
    promise<int> t;
    auto threads = t.get_future();
    std::thread([&] { t.set_value(3); }).join();
    EXPECT_EQ(threads.wait_until(std::chrono::steady_clock::now()), std::future_status::ready);
    EXPECT_EQ(threads.get(), 3);
  });
}

TEST(Future, CarriesExceptionsAndBrokenPromises) {
  on_fibers([] {
    promise<int> p;
    auto f = p.get_future();
    p.set_exception(std::make_exception_ptr(std::runtime_error("no")));
    EXPECT_THROW(f.get(), std::runtime_error);
    EXPECT_FALSE(f.valid());
    future<int> broken;
    {
      promise<int> q;
      broken = q.get_future();
    }
    EXPECT_EQ(future_error_of([&] { broken.get(); }), std::future_errc::broken_promise);
    {
      promise<int> q;
      broken = q.get_future();
      q = promise<int>();
    }
    EXPECT_EQ(future_error_of([&] { broken.get(); }), std::future_errc::broken_promise);
    promise<int> empty = promise<int>();
    promise<int> moved = std::move(empty);
    EXPECT_EQ(future_error_of([&] { empty.set_value(1); }), std::future_errc::no_state);
    EXPECT_EQ(future_error_of([&] { static_cast<void>(future<int>().get()); }), std::future_errc::no_state);
    auto once = moved.get_future();
    EXPECT_EQ(future_error_of([&] { static_cast<void>(moved.get_future()); }),
              std::future_errc::future_already_retrieved);
    moved.set_value(1);
    EXPECT_EQ(future_error_of([&] { moved.set_value(2); }), std::future_errc::promise_already_satisfied);
    EXPECT_EQ(future_error_of([&] { moved.set_exception(nullptr); }), std::future_errc::promise_already_satisfied);
    EXPECT_EQ(once.get(), 1);
  });
}

TEST(Future, AStopEndsTheWaitAndNotTheFuture) {
  on_fibers([] {
    promise<int> p;
    auto f = p.get_future();
    auto waiting = weft::spawn([&] { return f.get(); });
    waiting.request_stop();
    EXPECT_THROW(waiting.join(), weft::canceled_error);
    EXPECT_TRUE(f.valid());
    p.set_value(2);
    EXPECT_EQ(f.get(), 2);
  });
}

TEST(SharedFuture, IsReadByMany) {
  on_fibers([] {
    promise<std::string> p;
    const shared_future<std::string> shared = p.get_future().share();
    std::vector<weft::fiber<std::string>> readers;
    for (int i = 0; i < 20; ++i) readers.push_back(weft::spawn([shared] { return shared.get(); }));
    p.set_value("all");
    for (auto& r : readers) EXPECT_EQ(r.join(), "all");
    EXPECT_EQ(shared.get(), "all");
  });
}

TEST(Future, SetAgainstWait) {
  on_fibers([] {
    for (int i = 0; i < scaled(5000); ++i) {
      auto p = std::make_unique<promise<int>>();
      auto f = p->get_future();
      auto maker = weft::spawn([p = std::move(p), i]() mutable {
        p->set_value(i);
        p.reset();
      });
      EXPECT_EQ(f.get(), i);
      maker.join();
    }
  });
}

TEST(PackagedTask, LeavesItsResultToAFuture) {
  on_fibers([] {
    packaged_task<int(int, std::unique_ptr<int>)> task([](int a, std::unique_ptr<int> b) { return a + *b; });
    auto f = task.get_future();
    task(1, std::make_unique<int>(2));
    EXPECT_EQ(f.get(), 3);
    EXPECT_EQ(future_error_of([&] { task(1, nullptr); }), std::future_errc::promise_already_satisfied);
    task.reset();
    auto again = task.get_future();
    task(3, std::make_unique<int>(4));
    EXPECT_EQ(again.get(), 7);
    packaged_task<void()> throws([] { throw std::runtime_error("thrown"); });
    auto failed = throws.get_future();
    throws();
    EXPECT_THROW(failed.get(), std::runtime_error);
    packaged_task<void()> returns([] { return 5; });
    returns();
    packaged_task<void()> none;
    EXPECT_FALSE(none.valid());
    EXPECT_EQ(future_error_of([&] { none(); }), std::future_errc::no_state);
    packaged_task<int()> on_a_fiber([] { return 9; });
    auto result = on_a_fiber.get_future();
    weft::go(std::move(on_a_fiber));
    EXPECT_EQ(result.get(), 9);
  });
}

TEST(StdFuture, IsAwaitedWhileOtherFibersGoOn) {
  on_fibers([] {
    std::promise<int> q;
    auto waits = weft::spawn([f = q.get_future()]() mutable { return weft::await(f); });
    auto sets = weft::spawn([&] { q.set_value(6); });  // with one worker, this one runs only if the other holds up nobody
    EXPECT_EQ(waits.join(), 6);
    sets.join();
  });
  std::promise<int> p;
  std::thread sets([&] { p.set_value(4); });
  auto f = p.get_future();
  EXPECT_EQ(weft::await(f), 4);  // a plain thread waits as well
  sets.join();
}

TEST(Singleflight, CallsAtTheSameTimeAreOne) {
  on_fibers([] {
    weft::singleflight<std::string, int> flights;
    std::atomic<int> calls = 0;
    weft::event begun;
    weft::event go_on;
    const auto work = [&] {
      ++calls;
      begun.set();
      go_on.wait();
      return 5;
    };
    auto first = weft::spawn([&] { return flights.call("key", work); });
    begun.wait();
    std::vector<weft::fiber<int>> others;
    for (int i = 0; i < 10; ++i) {
      others.push_back(weft::spawn([&] { return flights.call("key", [] { return -1; }); }));
    }
    EXPECT_EQ(flights.call("other", [] { return 6; }), 6);
    for (int i = 0; i < 50; ++i) weft::this_fiber::yield();
    EXPECT_EQ(flights.size(), 1u);
    go_on.set();
    EXPECT_EQ(first.join(), 5);
    int shared = 0;
    for (auto& o : others) shared += o.join() == 5 ? 1 : 0;
    EXPECT_EQ(calls, 1);
    EXPECT_GE(shared, 1);
    EXPECT_EQ(flights.size(), 0u);
    EXPECT_EQ(flights.call("key", [] { return 7; }), 7);
    EXPECT_THROW(flights.call("key", []() -> int { throw std::runtime_error("fails"); }), std::runtime_error);
    EXPECT_EQ(flights.size(), 0u);
    weft::singleflight<int, void> nothing;
    nothing.call(1, [] { return 5; });
    // The key may change while the call is made.
    std::string key = "before";
    EXPECT_EQ(flights.call(key, [&] { return static_cast<int>((key = "after").size()); }), 5);
    EXPECT_EQ(flights.size(), 0u);
  });
}

TEST(Singleflight, AStopOfTheFirstIsNotTheOthers) {
  on_fibers([] {
    weft::singleflight<int, int> flights;
    weft::event begun;
    auto first = weft::spawn([&] {
      return flights.call(1, [&] {
        begun.set();
        weft::this_fiber::sleep_for(1h);
        return 1;
      });
    });
    begun.wait();
    std::vector<weft::fiber<int>> others;
    for (int i = 0; i < 5; ++i) others.push_back(weft::spawn([&] { return flights.call(1, [] { return 2; }); }));
    for (int i = 0; i < 50; ++i) weft::this_fiber::yield();
    first.request_stop();
    EXPECT_THROW(first.join(), weft::canceled_error);
    for (auto& o : others) EXPECT_EQ(o.join(), 2);
  });
}

}  // namespace
