// The look at fibers: what it sees, and that nobody is lost or run by it.
#include <support/engine.hpp>

#include <sanitizers.hpp>

#include <weft/sched/inspect.hpp>
#include <weft/sched/symbols.hpp>

#include <map>
#include <string>
#include <thread>
#include <vector>

namespace sched = weft::sched;

namespace {

using weft::testing::engine;
using weft::testing::make_fiber;
using weft::testing::task;

struct seen {
  sched::fiber_state state;
  sched::wait_reason why;
  const void* object;
  std::vector<const void*> frames;
  std::size_t used;
  std::size_t touched;
};

std::map<std::string, seen> look(sched::scheduler& s, bool frames = true) {
  std::map<std::string, seen> found;
  sched::inspect_options options;
  options.frames = frames;
  sched::inspect(
      s, options,
      [](void* context, const sched::fiber_view& v) {
        EXPECT_NE(v.id, 0u);
        (*static_cast<std::map<std::string, seen>*>(context))[v.name] = {
            v.state, v.why, v.object, std::vector<const void*>(v.frames, v.frames + v.frame_count), v.stack_used, v.stack_touched};
      },
      &found);
  return found;
}

bool any_is_in(const std::vector<const void*>& frames, std::string_view function) {
  sched::symbolizer names;
  for (const void* frame : frames) {
    if (names.locate(frame, sched::code_address::return_address).function.find(function) != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

task start(sched::scheduler& s, std::string_view name, auto f) {
  sched::fiber_options options;
  options.name = name;
  sched::fiber* const made = make_fiber(s, f, sched::handle::one, options);
  sched::start(*made);
  return task(made);
}

}  // namespace

// Outside the anonymous namespace, and not inlined: they are looked for by name.
[[gnu::noinline]] void park_far_down(std::atomic<std::uintptr_t>& word) {
  static const auto publish = [](sched::waiter self, void* object, std::uintptr_t) noexcept {
    static_cast<std::atomic<std::uintptr_t>*>(object)->store(self.bits(), std::memory_order_release);
    return true;
  };
  sched::park({publish, &word}, {sched::wait_reason::event, &word});
  asm volatile("" ::: "memory");
}

[[gnu::noinline]] void compute_until(const std::atomic<bool>& done, std::atomic<bool>& begun) {
  begun.store(true);
  while (!done.load()) asm volatile("" ::: "memory");
}

namespace {

// covers O3
TEST(Inspect, AParkedFiberIsSeenWhereItIs) {
  engine e;
  std::atomic<std::uintptr_t> parked{0};
  task t = start(*e, "parked", [&] { park_far_down(parked); });
  ASSERT_TRUE(weft::testing::spin_until([&] { return parked.load(std::memory_order_acquire) != 0; }));
  const auto all = look(*e);
  ASSERT_EQ(all.count("parked"), 1u);
  const seen& v = all.at("parked");
  EXPECT_EQ(v.state, sched::fiber_state::parked);
  EXPECT_EQ(v.why, sched::wait_reason::event);
  EXPECT_EQ(v.object, &parked);
  EXPECT_GT(v.used, 100u);
  EXPECT_GE(v.touched, v.used);
#if defined(__x86_64__) && !defined(WEFT_PORTABLE_SWITCH)
  EXPECT_TRUE(any_is_in(v.frames, "park_far_down")) << v.frames.size();
#endif
  sched::ready(sched::waiter::from_bits(parked.load()));
}

// covers O3
TEST(Inspect, ARunningFiberIsInterruptedForItsFrames) {
  engine e;
  std::atomic<bool> done{false};
  std::atomic<bool> begun{false};
  task t = start(*e, "busy", [&] { compute_until(done, begun); });
  ASSERT_TRUE(weft::testing::spin_until([&] { return begun.load(); }));
  const auto all = look(*e);
  done.store(true);
  ASSERT_EQ(all.count("busy"), 1u);
  EXPECT_EQ(all.at("busy").state, sched::fiber_state::running);
#if !defined(WEFT_TSAN)
  EXPECT_TRUE(any_is_in(all.at("busy").frames, "compute_until")) << all.at("busy").frames.size();
#endif
}

TEST(Inspect, OneThatHasEndedOrNotRunHasNoFrames) {
  engine e(1);
  std::atomic<bool> done{false};
  std::atomic<bool> begun{false};
  task busy = start(*e, "busy", [&] { compute_until(done, begun); });
  ASSERT_TRUE(weft::testing::spin_until([&] { return begun.load(); }));
  task waiting = start(*e, "waiting", [] {});
  const auto all = look(*e, false);
  EXPECT_EQ(all.at("waiting").state, sched::fiber_state::runnable);
  EXPECT_TRUE(all.at("waiting").frames.empty());
  done.store(true);
  busy.join();
  sched::fiber* const kept = waiting.take();
  sched::join_uncancelled(*kept);
  EXPECT_EQ(look(*e).count("waiting"), 0u);
  sched::release(*kept);
}

// Fibers that wake each other, yield, sleep, end and are born, with somebody who looks all the time.
// covers O4
TEST(Inspect, NobodyIsLostUnderLooks) {
  engine e;
  const unsigned rounds = 2000 * weft::testing::test_scale();
  std::atomic<unsigned> turns{0};
  std::atomic<bool> over{false};
  std::vector<task> all;
  for (int i = 0; i < 8; ++i) {
    all.push_back(start(*e, "worker" + std::to_string(i), [&, i] {
      for (unsigned k = 0; k < rounds; ++k) {
        if (k % 64 == 0) {
          EXPECT_TRUE(sched::sleep_until(sched::after(10 * weft::testing::microsecond)));
        } else if (k % 16 == static_cast<unsigned>(i)) {
          task child = start(*e, "child", [&turns] { turns.fetch_add(1); });
          child.join();
        } else {
          sched::yield();
        }
        turns.fetch_add(1);
      }
    }));
  }
  std::thread looker([&] {
    while (!over.load()) look(*e);
  });
  std::thread other([&] {
    while (!over.load()) look(*e, false);
  });
  for (task& t : all) t.join();
  over.store(true);
  looker.join();
  other.join();
  EXPECT_GE(turns.load(), 8 * rounds);
}

TEST(Inspect, AFiberLooksToo) {
  engine e;
  std::size_t found = 0;
  {
    task t = start(*e, "looker", [&] { found = look(*e).count("looker"); });
  }
  EXPECT_EQ(found, 1u);
}

TEST(Inspect, AnAddressTellsWhoseStackItLiesOn) {
  engine e;
  std::atomic<std::uint64_t> by_address{0};
  std::uint64_t id = 0;
  {
    task t = start(*e, "owner", [&] {
      char name[32];
      int here = 0;
      by_address = sched::fiber_at(*e, &here, name);
      EXPECT_STREQ(name, "owner");
    });
    id = sched::id_of(*t);
  }
  EXPECT_EQ(by_address.load(), id);
  char name[32];
  int on_a_thread = 0;
  EXPECT_EQ(sched::fiber_at(*e, &on_a_thread, name), 0u);
}

}  // namespace
