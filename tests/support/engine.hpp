// engine: a scheduler over a fake poller, and the few ways in which tests use its fibers.
#pragma once

#include "fake_poller.hpp"

#include <scheduler.hpp>
#include <worker.hpp>

#include <weft/sched/blocking.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::testing {

inline constexpr sched::nanotime microsecond = 1'000;
inline constexpr sched::nanotime millisecond = 1'000'000;
inline constexpr sched::nanotime second = 1'000'000'000;

// How long whatever must happen may take before a test calls it lost.
inline constexpr sched::nanotime patience = 20 * second;

inline unsigned workers_wanted() {
  const char* text = std::getenv("WEFT_WORKERS");
  return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : 2u;
}

inline unsigned test_scale() {
  const char* text = std::getenv("WEFT_TEST_SCALE");
  const double factor = text != nullptr ? std::atof(text) : 1;
  return factor < 1 ? 1 : static_cast<unsigned>(factor);
}

inline long thread_id() { return ::syscall(SYS_gettid); }

// spin_until holds the thread until the condition does; false if it never did.
template <class Condition>
[[nodiscard]] bool spin_until(const Condition& condition) {
  const sched::nanotime end = sched::after(patience);
  while (!condition()) {
    if (sched::now() > end) return false;
    ::sched_yield();
  }
  return true;
}

// yield_until is spin_until for fibers: others run meanwhile.
template <class Condition>
[[nodiscard]] bool yield_until(const Condition& condition) {
  const sched::nanotime end = sched::after(patience);
  while (!condition()) {
    if (sched::now() > end) return false;
    sched::yield();
  }
  return true;
}

// make_fiber makes a fiber that will run f; null without memory.
template <class F>
sched::fiber* make_fiber(sched::scheduler& s, F f, sched::handle h, const sched::fiber_options& options = {}) {
  constexpr auto enter = [](void* body) noexcept {
    auto* call = static_cast<F*>(body);
    (*call)();
    call->~F();
  };
  sched::fiber* made = sched::create_fiber(s, options, sizeof(F), alignof(F), enter, h);
  if (made != nullptr) new (sched::body_of(*made)) F(std::move(f));
  return made;
}

// task is the handle of a fiber; joined when it goes.
class task {
 public:
  explicit task(sched::fiber* f = nullptr) noexcept : fiber_(f) {}
  task(task&& other) noexcept : fiber_(std::exchange(other.fiber_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    join();
    fiber_ = std::exchange(other.fiber_, nullptr);
    return *this;
  }
  ~task() { join(); }

  void join() noexcept {
    if (fiber_ == nullptr) return;
    sched::join_uncancelled(*fiber_);
    sched::release(*std::exchange(fiber_, nullptr));
  }
  sched::fiber& operator*() const noexcept { return *fiber_; }
  sched::fiber* take() noexcept { return std::exchange(fiber_, nullptr); }

 private:
  sched::fiber* fiber_;
};

class engine {
 public:
  explicit engine(unsigned workers = workers_wanted(), sched::scheduler_options options = {}) {
    options.processors = workers;
    int error = 0;
    s_ = sched::create_scheduler(options, poller, error);
    EXPECT_EQ(error, 0);
  }
  ~engine() {
    EXPECT_TRUE(sched::drain(*s_, sched::after(patience))) << "fibers that never end";
    sched::destroy_scheduler(s_);
    EXPECT_EQ(poller.undelivered(), 0u);
    EXPECT_LE(poller.most_asleep, 1);
  }
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  sched::scheduler& operator*() const noexcept { return *s_; }
  sched::scheduler* operator->() const noexcept { return s_; }

  template <class F>
  [[nodiscard]] task spawn(F f, const sched::fiber_options& options = {}) {
    sched::fiber* made = make_fiber(*s_, std::move(f), sched::handle::one, options);
    EXPECT_NE(made, nullptr);
    sched::start(*made);
    return task(made);
  }
  template <class F>
  void go(F f) {
    sched::fiber* made = make_fiber(*s_, std::move(f), sched::handle::none);
    EXPECT_NE(made, nullptr);
    sched::start(*made);
  }
  // run runs f on a fiber, to its end.
  template <class F>
  void run(F f) {
    spawn(std::move(f)).join();
  }

  fake_poller poller;

 private:
  sched::scheduler* s_;
};

// migrate parks the calling fiber with a commit that publishes it and then keeps its thread busy until the fiber has
// been resumed: so it comes back on another worker, while the one that it left is still inside of the commit. Needs two
// processors. False if nobody resumed it.
struct migration {
  std::atomic<bool> resumed{false};
  std::atomic<bool> left{false};
  bool gave_up = false;
};

inline bool depart_slowly(sched::waiter self, void* object, std::uintptr_t) noexcept {
  auto* m = static_cast<migration*>(object);
  sched::fiber* f = self.as_fiber();
  sched::scheduler* home = f->home;
  home->global.push(f);
  home->wake_for_work();
  m->gave_up = !spin_until([m] { return m->resumed.load(); });
  m->left.store(true);
  return true;
}

[[nodiscard]] inline bool migrate() {
  const auto m = std::make_unique<migration>();  // not on the stack: nothing of the fiber's is touched by the commit
  sched::park({depart_slowly, m.get()}, sched::wait_reason::none);
  m->resumed.store(true);
  return spin_until([&] { return m->left.load(); }) && !m->gave_up;
}

// countdown tells when n calls of down() have been made.
class countdown {
 public:
  explicit countdown(int n) : left_(n) {}
  void down() { left_.fetch_sub(1); }
  bool over() const { return left_.load() <= 0; }

 private:
  std::atomic<int> left_;
};

}  // namespace weft::testing
