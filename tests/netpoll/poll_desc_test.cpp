// poll_desc and poll_cache under a backend whose events the test makes itself.
#include "world.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <random>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;
using poll::mode;
using poll::poll_desc;

class scripted_poller final : public poll::poller {
 public:
  static std::shared_ptr<scripted_poller> make() { return std::shared_ptr<scripted_poller>(new scripted_poller); }

  void netpoll(sched::nanotime, sched::ready_list&) noexcept override {}
  void netpollbreak() noexcept override {}
  int netpollopen(int, std::uint64_t key) noexcept override {
    opened = key;
    return refuse_with;
  }
  int netpollclose(int) noexcept override { return 0; }

  // event hands one event over as a scheduler would: queue, then count.
  std::size_t event(std::uint64_t key, unsigned what) {
    sched::ready_list list;
    netpollready(key, what, list);
    for (std::size_t i = 0; i < list.count; ++i) sched::ready(list.items[i]);
    delivered(list.count);
    return list.count;
  }

  std::uint64_t opened = 0;
  int refuse_with = 0;
};

struct PollDesc : ::testing::Test {
  std::shared_ptr<scripted_poller> p = scripted_poller::make();
  poll::poll_cache& cache = *p->cache();

  poll_desc& open() {
    int error = 0;
    poll_desc* pd = cache.open(7, error);
    EXPECT_EQ(error, 0);
    return *pd;
  }
  void close(poll_desc& pd) {
    pd.evict();
    cache.close(pd);
  }
  ~PollDesc() override {
    EXPECT_EQ(cache.slots_in_use(), 0u);
    EXPECT_FALSE(p->any_waiters());
  }
};

// A thread that waits on one direction, until it is joined.
struct waiting {
  waiting(poll_desc& pd, mode m) : thread([this, &pd, m] { result = pd.wait(m); }) {}
  int join() {
    thread.join();
    return result;
  }
  int result = -100;
  std::thread thread;
};

// covers A1
TEST_F(PollDesc, EdgeBeforeTheWaitEndsItAtOnce) {
  poll_desc& pd = open();
  EXPECT_EQ(p->event(p->opened, poll::readable), 0u);
  EXPECT_EQ(pd.wait(mode::read), poll::ok);
  close(pd);
}

// covers A8
TEST_F(PollDesc, ReaderAndWriterAreWokenIndependently) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  waiting writer(pd, mode::write);
  TEST_await_parked(pd, mode::read);
  TEST_await_parked(pd, mode::write);
  EXPECT_TRUE(p->any_waiters());
  EXPECT_EQ(p->event(p->opened, poll::writable), 1u);
  EXPECT_EQ(writer.join(), poll::ok);
  EXPECT_GT(pd.rg.peek(), poll::pdWait);
  EXPECT_EQ(p->event(p->opened, poll::readable), 1u);
  EXPECT_EQ(reader.join(), poll::ok);
  close(pd);
}

// covers A9
TEST_F(PollDesc, HangUpWakesBothTheReaderFirst) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  waiting writer(pd, mode::write);
  TEST_await_parked(pd, mode::read);
  TEST_await_parked(pd, mode::write);
  const std::uintptr_t r = pd.rg.peek();
  const std::uintptr_t w = pd.wg.peek();
  sched::ready_list list;
  poll::netpollready(list, pd, true, true);
  ASSERT_EQ(list.count, 2u);
  EXPECT_EQ(list.items[0].bits(), r);
  EXPECT_EQ(list.items[1].bits(), w);
  for (std::size_t i = 0; i < list.count; ++i) sched::ready(list.items[i]);
  p->delivered(list.count);
  EXPECT_EQ(reader.join(), poll::ok);
  EXPECT_EQ(writer.join(), poll::ok);
  close(pd);
}

// covers A15
TEST_F(PollDesc, WaitersAreCountedUntilTheyAreDelivered) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  TEST_await_parked(pd, mode::read);
  sched::ready_list list;
  poll::netpollready(list, pd, true, false);
  ASSERT_EQ(list.count, 1u);
  EXPECT_TRUE(p->any_waiters());
  sched::ready(list.items[0]);
  p->delivered(1);
  EXPECT_FALSE(p->any_waiters());
  EXPECT_EQ(reader.join(), poll::ok);
  close(pd);
}

// covers A3
TEST_F(PollDesc, CloseWakesAParkedReaderAndWriter) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  waiting writer(pd, mode::write);
  TEST_await_parked(pd, mode::read);
  TEST_await_parked(pd, mode::write);
  pd.evict();
  EXPECT_EQ(reader.join(), poll::closed);
  EXPECT_EQ(writer.join(), poll::closed);
  EXPECT_EQ(pd.wait(mode::read), poll::closed);
  EXPECT_EQ(pd.reset(mode::write), poll::closed);
  pd.evict();  // again: nothing
  cache.close(pd);
}

// covers A4
TEST_F(PollDesc, TimeoutWakesOnlyItsDirection) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  waiting writer(pd, mode::write);
  TEST_await_parked(pd, mode::read);
  TEST_await_parked(pd, mode::write);
  TEST_expire(pd, mode::read);
  EXPECT_EQ(reader.join(), poll::timed_out);
  EXPECT_GT(pd.wg.peek(), poll::pdWait);
  EXPECT_EQ(pd.wait(mode::read), poll::timed_out);
  EXPECT_EQ(pd.netpollcheckerr(mode::write), poll::ok);
  TEST_clear(pd, mode::read);
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::ok);
  TEST_expire(pd, mode::write);
  EXPECT_EQ(writer.join(), poll::timed_out);
  close(pd);
}

// covers A6
TEST_F(PollDesc, EdgeBeforeTheTimeoutIsStillFound) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  TEST_await_parked(pd, mode::read);
  sched::ready_list list;
  poll::netpollready(list, pd, true, false);
  TEST_expire(pd, mode::read);
  ASSERT_EQ(list.count, 1u);
  sched::ready(list.items[0]);
  p->delivered(1);
  EXPECT_EQ(reader.join(), poll::ok);
  EXPECT_EQ(pd.wait(mode::read), poll::timed_out);
  close(pd);
}

// covers A7
TEST_F(PollDesc, DeadlineClearedBeforeTheWaiterRunsGivesNoError) {
  poll_desc& pd = open();
  waiting reader(pd, mode::read);
  TEST_await_parked(pd, mode::read);
  pd.lock.lock();
  pd.rd = -1;
  pd.publish_locked();
  const sched::waiter woken = pd.rg.netpollunblock(poll::unblock::cancel);
  pd.rd = 0;
  pd.publish_locked();
  pd.lock.unlock();
  ASSERT_TRUE(woken);
  sched::ready(woken);
  p->delivered(1);
  TEST_await_parked(pd, mode::read);
  p->event(p->opened, poll::readable);
  EXPECT_EQ(reader.join(), poll::ok);
  close(pd);
}

// covers A11
TEST_F(PollDesc, ResetReportsAnErrorWithoutForgettingTheEdge) {
  poll_desc& pd = open();
  p->event(p->opened, poll::readable);
  TEST_expire(pd, mode::read);
  EXPECT_EQ(pd.reset(mode::read), poll::timed_out);
  EXPECT_EQ(pd.rg.peek(), poll::pdReady);
  TEST_clear(pd, mode::read);
  EXPECT_EQ(pd.reset(mode::read), poll::ok);
  EXPECT_EQ(pd.rg.peek(), poll::pdNil);
  close(pd);
}

// covers A12
TEST_F(PollDesc, ClosedBeforeExpiredBeforeNotPollable) {
  poll_desc& pd = open();
  p->event(p->opened, poll::readable | poll::writable | poll::unusual | poll::bare_error);
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::not_pollable);
  EXPECT_EQ(pd.netpollcheckerr(mode::write), poll::ok);
  TEST_expire(pd, mode::read);
  TEST_expire(pd, mode::write);
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::timed_out);
  EXPECT_EQ(pd.netpollcheckerr(mode::write), poll::timed_out);
  pd.evict();
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::closed);
  EXPECT_EQ(pd.netpollcheckerr(mode::write), poll::closed);
  cache.close(pd);
}

// covers C53
TEST_F(PollDesc, BareErrorIsTakenBackByTheNextEvent) {
  poll_desc& pd = open();
  p->event(p->opened, poll::readable | poll::writable | poll::unusual | poll::bare_error);
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::not_pollable);
  p->event(p->opened, poll::readable);
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::ok);
  EXPECT_TRUE(pd.unusual());  // this one stays
  close(pd);
  poll_desc& next = open();
  EXPECT_FALSE(next.unusual());
  close(next);
}

// covers A16
TEST_F(PollDesc, EventForAFormerUseOfTheSlotIsDropped) {
  poll_desc& first = open();
  const std::uint64_t old = p->opened;
  close(first);
  EXPECT_EQ(p->event(old, poll::readable), 0u);
  poll_desc& second = open();
  ASSERT_EQ(&first, &second);
  EXPECT_NE(p->opened, old);
  p->event(old, poll::readable | poll::writable | poll::unusual | poll::bare_error);
  EXPECT_EQ(second.rg.peek(), poll::pdNil);
  EXPECT_EQ(second.netpollcheckerr(mode::read), poll::ok);
  EXPECT_EQ(cache.stale_events(), 2u);
  close(second);
}

// covers A16 A18
TEST_F(PollDesc, EventHeldBackAcrossReuseIsOnlyASpuriousEdge) {
  poll_desc& first = open();
  const auto fdseq = first.fdseq.load(std::memory_order_relaxed);
  poll_desc* found = cache.find(p->opened);  // the poll thread stops here
  close(first);
  poll_desc& second = open();
  ASSERT_EQ(found, &second);
  found->info.note_event(true, true, fdseq);
  sched::ready_list list;
  poll::netpollready(list, *found, true, true);
  EXPECT_EQ(second.netpollcheckerr(mode::read), poll::ok);
  EXPECT_FALSE(second.unusual());
  EXPECT_EQ(second.wait(mode::read), poll::ok);  // and the system call that follows finds nothing
  close(second);
}

// covers A17
TEST_F(PollDesc, GenerationWrapsWithoutEverBeingZero) {
  for (const std::uint32_t start : {0xffffu, 0xfffffu, 0xfffffffeu}) {
    poll_desc& slot = open();
    close(slot);
    slot.fdseq.store(start, std::memory_order_relaxed);
    std::uint64_t old = 0;
    for (int i = 0; i < 4; ++i) {
      poll_desc& pd = open();
      ASSERT_EQ(&pd, &slot);
      EXPECT_NE(pd.fdseq.load(std::memory_order_relaxed), 0u);
      if (old != 0) p->event(old, poll::readable);
      EXPECT_EQ(pd.rg.peek(), poll::pdNil);
      p->event(p->opened, poll::readable | poll::bare_error);
      EXPECT_EQ(pd.rg.peek(), poll::pdReady);
      EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::not_pollable);
      old = p->opened;
      close(pd);
    }
  }
}

// covers A19
TEST_F(PollDesc, AlarmGenerationMovesWithCloseAndReuse) {
  poll_desc& pd = open();
  const std::uint32_t first = pd.alarm_seq;
  pd.evict();
  EXPECT_NE(pd.alarm_seq, first);
  const std::uint32_t second = pd.alarm_seq;
  cache.close(pd);
  poll_desc& again = open();
  ASSERT_EQ(&again, &pd);
  EXPECT_NE(again.alarm_seq, second);
  close(again);
}

// covers A20
TEST_F(PollDesc, RefusedRegistrationFreesTheSlot) {
  p->refuse_with = EPERM;
  int error = 0;
  EXPECT_EQ(cache.open(7, error), nullptr);
  EXPECT_EQ(error, EPERM);
  EXPECT_EQ(cache.slots_in_use(), 0u);
  p->refuse_with = 0;
  poll_desc& pd = open();
  EXPECT_EQ(pd.netpollcheckerr(mode::read), poll::ok);
  close(pd);
}

TEST_F(PollDesc, SlotsAreFoundByNumberAcrossChunks) {
  std::vector<poll_desc*> all;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    all.push_back(&open());
    EXPECT_EQ(all.back()->index, i);
    EXPECT_EQ(cache.find(p->opened), all.back());
    EXPECT_NE(p->opened, poll::poll_cache::no_key);
  }
  for (poll_desc* pd : all) close(*pd);
}

TEST_F(PollDesc, ShutdownWakesAndRefuses) {
  poll_desc& a = open();
  poll_desc& b = open();
  waiting reader(a, mode::read);
  TEST_await_parked(a, mode::read);
  p->shutdown();
  p->shutdown();
  EXPECT_EQ(reader.join(), poll::closed);
  EXPECT_EQ(b.reset(mode::write), poll::closed);
  int error = 0;
  EXPECT_EQ(cache.open(7, error), nullptr);
  EXPECT_EQ(error, poll::closed);
  close(a);
  close(b);
}

// covers A10
TEST_F(PollDesc, MisuseIsFatal) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  poll_desc& pd = open();
  EXPECT_DEATH(cache.close(pd), "without eviction");
  EXPECT_DEATH(
      {
        waiting first(pd, mode::read);
        TEST_await_parked(pd, mode::read);
        (void)pd.wait(mode::read);
      },
      "double wait");
  close(pd);
}

// T3: readers and writers of a few slots against edges, timeouts and reopening, all at random. What is checked: every
// wait ends with a reason that somebody gave, and in the end nobody is counted.
// covers A14 A21
TEST_F(PollDesc, StressOfAllWakeSources) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  constexpr int slots = 3;
  const int rounds = 4000 * static_cast<int>(scale());
  poll_desc* pds[slots];
  std::uint64_t keys[slots];
  for (int i = 0; i < slots; ++i) {
    pds[i] = &open();
    keys[i] = p->opened;
  }
  std::atomic<int> users{2 * slots};
  std::atomic<long> ready{0};
  std::atomic<long> timeouts{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < slots; ++i) {
    for (const mode m : {mode::read, mode::write}) {
      threads.emplace_back([&, i, m] {
        for (int n = 0; n < rounds; ++n) {
          const int e = pds[i]->wait(m);
          if (e == poll::ok) {
            ready.fetch_add(1, std::memory_order_relaxed);
          } else {
            EXPECT_EQ(e, poll::timed_out);
            timeouts.fetch_add(1, std::memory_order_relaxed);
            TEST_clear(*pds[i], m);
          }
        }
        users.fetch_sub(1);
      });
    }
  }
  const auto disturb = [&](unsigned salt, auto act) {
    threads.emplace_back([&, salt, act] {
      std::minstd_rand random(seed + salt);
      while (users.load() != 0) act(static_cast<int>(random() % slots), random() % 2 == 0 ? mode::read : mode::write);
    });
  };
  for (unsigned k = 0; k < 2; ++k) {
    disturb(k, [&](int i, mode m) { p->event(keys[i], m == mode::read ? poll::readable : poll::writable); });
  }
  disturb(2, [&](int i, mode m) {
    TEST_expire(*pds[i], m);
    std::this_thread::yield();
  });
  for (auto& t : threads) t.join();
  EXPECT_EQ(ready + timeouts, long{2 * slots} * rounds);
  EXPECT_FALSE(p->any_waiters());
  for (poll_desc* pd : pds) close(*pd);
}

}  // namespace
