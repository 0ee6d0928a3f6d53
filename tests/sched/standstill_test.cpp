// Whether fibers can hope: what a monitor that sleeps hears of, and that nobody is taken for asleep who was made ready.
#include <support/engine.hpp>

#include <sanitizers.hpp>
#include <thread_record.hpp>

#include <weft/sched/park.hpp>
#include <weft/sched/timer.hpp>

#include <atomic>
#include <thread>

namespace {

using namespace weft;
using namespace weft::testing;

// A place where one fiber or thread waits to be made ready.
class place {
 public:
  void wait(sched::wait_reason why = sched::wait_reason::event) {
    static const auto publish = [](sched::waiter self, void* object, std::uintptr_t) noexcept {
      static_cast<std::atomic<std::uintptr_t>*>(object)->store(self.bits(), std::memory_order_seq_cst);
      return true;
    };
    sched::park({publish, &word_}, why);
  }
  bool somebody_waits() const { return word_.load() != 0; }
  void wake() { sched::ready(sched::waiter::from_bits(word_.exchange(0))); }

 private:
  std::atomic<std::uintptr_t> word_{0};
};

// An engine whose standstill wakes all who wait, the caller first.
struct world {
  place caller;
  place fiber;
  place thread;
  std::atomic<int> reports{0};

  sched::scheduler_options options() {
    sched::scheduler_options o;
    o.reports.context = this;
    o.reports.standstill = [](void* context) noexcept {
      auto& w = *static_cast<world*>(context);
      ++w.reports;
      for (place* p : {&w.thread, &w.fiber, &w.caller}) {
        if (p->somebody_waits()) p->wake();
      }
    };
    return o;
  }
};

// wait_for_the_look returns when the monitor has looked. It says that it goes to sleep just before; to be a little too early
// makes the case another one, that holds too.
void wait_for_the_look(engine& e) {
  EXPECT_TRUE(spin_until([&] { return e->monitor_asleep.load() == 1; }));
  ::usleep(50'000);
}

class Standstill : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(WEFT_TSAN)
    GTEST_SKIP() << "ThreadSanitizer has a thread of which nothing is known";
#endif
  }
};

// What speaks against it at the monitor's look goes away without a fiber that runs.
// covers K147
TEST_F(Standstill, IsSeenWhenAThreadFallsAsleepAfterItStoppedATimer) {
  world w;
  engine e(workers_wanted(), w.options());
  sched::timer alarm;
  ASSERT_TRUE(alarm.arm(*e, sched::after(3600 * second), [](void*, std::uint32_t) noexcept {}, nullptr, 0));
  task t(make_fiber(*e, [&] { w.fiber.wait(); }, sched::handle::one));
  sched::start(*t);
  std::thread last([&] {
    wait_for_the_look(e);
    alarm.stop();
    w.thread.wait();
  });
  w.caller.wait();
  last.join();
  EXPECT_EQ(w.reports, 1);
}

// covers K147
TEST_F(Standstill, IsSeenWhenAThreadOfWhichNothingIsKnownEnds) {
  world w;
  engine e(workers_wanted(), w.options());
  task t(make_fiber(*e, [&] { w.fiber.wait(); }, sched::handle::one));
  sched::start(*t);
  std::thread last([&] { wait_for_the_look(e); });
  w.caller.wait();
  last.join();
  EXPECT_EQ(w.reports, 1);
}

// Two threads wake each other, so that there is always one to hope for. Whoever looks is the caller, and the monitor, which
// is not known to it, is played by a record that sleeps.
// covers K148
TEST_F(Standstill, IsNoneWhileTwoThreadsWakeEachOther) {
  const unsigned looks = 3000 * test_scale();
  place fiber;
  engine e(workers_wanted());
  task t(make_fiber(*e, [&] { fiber.wait(); }, sched::handle::one));
  sched::start(*t);
  ASSERT_TRUE(spin_until([&] { return fiber.somebody_waits(); }));
  sched::thread_record* const monitor = sched::acquire_record();
  monitor->naps.fetch_add(1);
  const auto nobody_is_left = [&] { return e->look_ahead() == sched::outlook::none; };
  EXPECT_TRUE(spin_until(nobody_is_left));
  {
    std::atomic<bool> over{false};
    std::atomic<bool> left{false};
    place sides[2];
    const auto wake = [](place& other) {
      EXPECT_TRUE(spin_until([&] { return other.somebody_waits(); }));
      other.wake();
    };
    const auto play = [&](place& own, place& other) {
      while (!over.load()) {
        wake(other);
        own.wait();
      }
      if (!left.exchange(true)) wake(other);
    };
    std::thread one([&] { play(sides[0], sides[1]); });
    std::thread two([&] {
      sides[1].wait();
      play(sides[1], sides[0]);
    });
    unsigned hopeless = 0;
    for (unsigned i = 0; i < looks; ++i) hopeless += nobody_is_left() ? 1 : 0;
    EXPECT_EQ(hopeless, 0u);
    over.store(true);
    one.join();
    two.join();
    EXPECT_TRUE(left.load());
  }
  EXPECT_TRUE(spin_until(nobody_is_left));  // a joined thread counts for a moment
  monitor->naps.fetch_add(1);
  sched::release_record(monitor);
  EXPECT_EQ(e->look_ahead(), sched::outlook::threads);
  fiber.wake();
}

}  // namespace
