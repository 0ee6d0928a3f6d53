// Deadlines of a poll_desc: what each change does to the two times and to their one alarm, and what the alarm does.
#include "world.hpp"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <new>
#include <random>
#include <thread>
#include <vector>

namespace {

[[maybe_unused]] std::atomic<long> allocations{0};
[[maybe_unused]] thread_local bool no_memory = false;  // the runtime's own threads may need some meanwhile

}  // namespace

// Sanitizers have an operator new of their own; the tests that count or refuse allocations are left out there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_REPLACES_NEW 0
#elif defined(__has_feature)
#define WEFT_REPLACES_NEW (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define WEFT_REPLACES_NEW 1
#endif

#if WEFT_REPLACES_NEW
// noinline: compilers compare the pairs they see, and would find malloc beside delete.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  void* const p = no_memory ? nullptr : std::malloc(size != 0 ? size : 1);
  if (p != nullptr) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace {

using namespace weft;
using namespace weft::testing;
using poll::mode;
using poll::poll_desc;
using poll::side;
using sched::nanotime;

constexpr nanotime ms = 1'000'000;
constexpr nanotime hour = 3'600'000 * ms;

// A slot for one end of a socket pair. The test itself is a plain thread; the workers only run the timers.
class Deadline : public ::testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    w_ = std::make_unique<world>(GetParam());
    s_ = unix_pair();
    pd_ = &open();
  }
  void TearDown() override {
    if (pd_ != nullptr) close(*pd_);
    ::close(s_.a);
    ::close(s_.b);
    w_.reset();
  }
  world& w() { return *w_; }
  poll_desc& pd() { return *pd_; }
  poll_desc& open() {
    int error = 0;
    poll_desc* pd = w_->poller()->cache()->open(s_.a, error);
    EXPECT_EQ(error, 0);
    return *pd;
  }
  void close(poll_desc& pd) {
    pd.evict();
    w_->poller()->cache()->close(pd);
  }
  void reopen() {
    close(*pd_);
    pd_ = &open();
  }
  static int set(poll_desc& pd, side of, nanotime when) { return pd.set_deadline(pd.fdseq, of, when); }
  int set(side of, nanotime when) { return set(pd(), of, when); }
  void edge() { raw_send(s_.b, "x"); }

  std::unique_ptr<world> w_;
  fd_pair s_;
  poll_desc* pd_ = nullptr;
};
INSTANTIATE_TEST_SUITE_P(All, Deadline, ::testing::Values(1u, 2u, 4u), name_of_workers);

// A thread that waits on one direction until that fails. Edges are used up: the state at registration makes some.
struct waiting {
  waiting(poll_desc& pd, mode m)
      : thread([this, &pd, m] {
          while ((result = pd.wait(m)) == poll::ok) {
          }
          ended = sched::now();
        }) {
    TEST_await_parked(pd, m);
  }
  int join() {
    thread.join();
    return result;
  }
  int result = -100;
  nanotime ended = 0;
  std::thread thread;
};

// T1: {no deadline, one to come, one that has passed} of either side, by a change of either side or both to each kind
// of time. The model: the deadline is what was set; there is an alarm no later than the first that is to come; and it
// is armed anew only for a time before the one that it is armed for. covers B33 B34
TEST_P(Deadline, EachStateByEachChange) {
  const nanotime base = sched::now() + hour;
  const nanotime states[] = {sched::never, base, 0};
  const nanotime changes[] = {
      sched::never,    0, -1, std::numeric_limits<nanotime>::min(), 1, sched::now(), base - ms, base, base + ms,
      sched::never - 1};
  const auto kept = [](nanotime when) { return when == sched::never ? 0 : when < hour ? -1 : when; };
  for (const nanotime r : states) {
    for (const nanotime wr : states) {
      for (const side of : {side::read, side::write, side::both}) {
        for (const nanotime to : changes) {
          reopen();
          ASSERT_EQ(set(side::read, r), poll::ok);
          ASSERT_EQ(set(side::write, wr), poll::ok);
          const nanotime alarm_before = pd().alarm_at;
          ASSERT_EQ(alarm_before, kept(r) > 0 || kept(wr) > 0 ? base : 0);
          const std::uint32_t seq = pd().alarm_seq;
          // Negative and small times are in the past: hours have gone by since the machine's start, or it's the 1.
          ASSERT_EQ(set(of, to), poll::ok);
          const nanotime want = to > 0 && to <= sched::now() ? -1 : kept(to);
          EXPECT_EQ(pd().rd, of == side::write ? kept(r) : want);
          EXPECT_EQ(pd().wd, of == side::read ? kept(wr) : want);
          EXPECT_EQ(pd().netpollcheckerr(mode::read), pd().rd < 0 ? poll::timed_out : poll::ok);
          EXPECT_EQ(pd().netpollcheckerr(mode::write), pd().wd < 0 ? poll::timed_out : poll::ok);
          const bool arms = want > 0 && (alarm_before == 0 || want < alarm_before);
          EXPECT_EQ(pd().alarm_seq - seq, arms ? 1u : 0u) << r << ' ' << wr << ' ' << to;
          EXPECT_EQ(pd().alarm_at, arms ? want : alarm_before);
          EXPECT_EQ(pd().alarm.armed(), pd().alarm_at != 0);
        }
      }
    }
  }
}

// covers B34
TEST_P(Deadline, LaterOrTheSameTimeTouchesNoTimer) {
  nanotime at = sched::now() + hour;
  ASSERT_EQ(set(side::both, at), poll::ok);
  const std::uint32_t seq = pd().alarm_seq;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(set(side::both, at), poll::ok);
    at += ms;
    ASSERT_EQ(set(side::both, at), poll::ok);
    ASSERT_EQ(set(side::read, sched::never), poll::ok);
    ASSERT_EQ(set(side::write, 0), poll::ok);
  }
  EXPECT_EQ(pd().alarm_seq, seq);
}

// covers B31
TEST_P(Deadline, OneAlarmWakesBothDirections) {
  edge();
  waiting reader(pd(), mode::read);
  waiting writer(pd(), mode::write);
  const std::uint32_t seq = pd().alarm_seq;
  const nanotime at = sched::now() + 10 * ms;
  ASSERT_EQ(set(side::both, at), poll::ok);
  EXPECT_EQ(reader.join(), poll::timed_out);
  EXPECT_EQ(writer.join(), poll::timed_out);
  EXPECT_GE(reader.ended, at);
  EXPECT_GE(writer.ended, at);
  EXPECT_EQ(pd().alarm_seq - seq, 1u);
  EXPECT_FALSE(pd().alarm.armed());
}

// covers B32 B27
TEST_P(Deadline, OfTwoEqualOnesTheOtherStaysWhenOneIsMoved) {
  for (const mode moved : {mode::read, mode::write}) {
    for (const nanotime to : {sched::never, sched::now() + hour}) {
      reopen();
      waiting first(pd(), moved == mode::read ? mode::write : mode::read);
      waiting second(pd(), moved);
      const nanotime at = sched::now() + 10 * ms;
      ASSERT_EQ(set(side::both, at), poll::ok);
      ASSERT_EQ(set(moved == mode::read ? side::read : side::write, to), poll::ok);
      EXPECT_EQ(first.join(), poll::timed_out);
      EXPECT_GE(first.ended, at);
      TEST_await_parked(pd(), moved);
      pd().evict();
      EXPECT_EQ(second.join(), poll::closed);
    }
  }
}

// covers B33
TEST_P(Deadline, TogetherAndApartAndBackFiresAtTheLastTimes) {
  waiting reader(pd(), mode::read);
  waiting writer(pd(), mode::write);
  std::minstd_rand random(1);
  for (int i = 0; i < 1000; ++i) {
    const nanotime at = sched::now() + hour + static_cast<nanotime>(random() % 1000) * ms;
    ASSERT_EQ(set(side::both, at), poll::ok);
    ASSERT_EQ(set(i % 2 == 0 ? side::read : side::write, at + ms), poll::ok);
  }
  const nanotime first = sched::now() + 5 * ms;
  ASSERT_EQ(set(side::write, first), poll::ok);
  EXPECT_EQ(writer.join(), poll::timed_out);
  EXPECT_GE(writer.ended, first);
  TEST_await_parked(pd(), mode::read);
  const nanotime second = sched::now() + 5 * ms;
  ASSERT_EQ(set(side::both, second), poll::ok);
  EXPECT_EQ(reader.join(), poll::timed_out);
  EXPECT_GE(reader.ended, second);
}

// covers B29 B37
TEST_P(Deadline, MovedLaterItFiresAtTheLaterTime) {
  for (int i = 0; i < 5; ++i) {
    waiting reader(pd(), mode::read);
    ASSERT_EQ(set(side::read, sched::now() + 3 * ms), poll::ok);
    const nanotime at = sched::now() + 12 * ms;
    ASSERT_EQ(set(side::read, at), poll::ok);
    EXPECT_EQ(reader.join(), poll::timed_out);
    EXPECT_GE(reader.ended, at);
    ASSERT_EQ(set(side::read, sched::never), poll::ok);
  }
}

// covers B29
TEST_P(Deadline, MovedEarlierItFiresAtTheEarlierTime) {
  waiting reader(pd(), mode::read);
  ASSERT_EQ(set(side::read, sched::now() + hour), poll::ok);
  ASSERT_EQ(set(side::read, sched::now() + 3 * ms), poll::ok);
  EXPECT_EQ(reader.join(), poll::timed_out);
}

// covers B30 B43
TEST_P(Deadline, StandsWhenItHasPassedUntilItIsMoved) {
  ASSERT_EQ(set(side::read, sched::now() + ms), poll::ok);
  while (pd().netpollcheckerr(mode::read) == poll::ok) std::this_thread::yield();
  edge();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pd().reset(mode::read), poll::timed_out);
    EXPECT_EQ(pd().wait(mode::read), poll::timed_out);
  }
  EXPECT_EQ(pd().reset(mode::write), poll::ok);
  ASSERT_EQ(set(side::read, sched::now() + hour), poll::ok);
  EXPECT_EQ(pd().netpollcheckerr(mode::read), poll::ok);
  edge();
  EXPECT_EQ(pd().wait(mode::read), poll::ok);
}

// The alarm of an earlier arming is already on its way when the deadline changes: it is held up at the slot's lock.
// Whichever gets the lock first, the outcome is that of the change.
// covers A19 B29
TEST_P(Deadline, AnAlarmUnderWayIsVoidAfterTheChange) {
  const int rounds = 100 * static_cast<int>(scale());
  for (int i = 0; i < rounds; ++i) {
    ASSERT_EQ(set(side::both, sched::now() + ms / 10), poll::ok);
    // The callback of the round before may be late, and hold up the only worker at our lock: let it pass.
    for (;;) {
      pd().lock.lock();
      for (int k = 0; k < 1000 && pd().alarm.armed(); ++k) std::this_thread::yield();
      if (!pd().alarm.armed()) break;
      pd().lock.unlock();
      std::this_thread::yield();
    }
    std::thread change([&] {
      if (i % 4 >= 2) reopen();
      if (i % 4 != 2) {
        EXPECT_EQ(set(side::both, i % 4 == 1 ? sched::never : sched::now() + hour), poll::ok);
      }
    });
    pd().lock.unlock();
    change.join();
    // Until the callback has gone: it came before the change or was void, so nothing has expired for good.
    for (int k = 0; k < 20; ++k) {
      EXPECT_EQ(pd().netpollcheckerr(mode::read), poll::ok);
      EXPECT_EQ(pd().netpollcheckerr(mode::write), poll::ok);
      std::this_thread::yield();
    }
  }
}

// The same with the order given: the change has been made when the callback gets the lock.
// covers A19
TEST_P(Deadline, AShotWithAnOlderNumberDoesNothing) {
  ASSERT_EQ(set(side::both, sched::now() + ms), poll::ok);
  pd().lock.lock();
  while (pd().alarm.armed()) std::this_thread::yield();
  const nanotime at = pd().rd;
  ++pd().alarm_seq;  // what every later arming, close and reuse do
  pd().lock.unlock();
  const std::uint32_t seq = pd().alarm_seq;
  for (int k = 0; k < 200; ++k) {
    pd().lock.lock();
    EXPECT_EQ(pd().rd, at);
    EXPECT_EQ(pd().wd, at);
    EXPECT_EQ(pd().alarm_seq, seq);
    pd().lock.unlock();
    std::this_thread::yield();
  }
}

// A deadline that has come is past at once, though the alarm that is armed for an earlier one could not ring yet
// because the workers compute. covers B25
TEST_P(Deadline, ATimeThatHasComeIsPastBehindAnOverdueAlarm) {
  std::atomic<unsigned> busy{0};
  std::atomic<bool> over{false};
  std::vector<task> hogs;
  for (unsigned i = 0; i < w().workers(); ++i) {
    hogs.push_back(w().go([&] {
      ++busy;
      while (!over) std::this_thread::yield();
    }));
  }
  while (busy != w().workers()) std::this_thread::yield();
  ASSERT_EQ(set(side::both, sched::now() + ms), poll::ok);
  const nanotime overdue = sched::now() + 2 * ms;
  while (sched::now() < overdue) std::this_thread::yield();
  EXPECT_TRUE(pd().alarm.armed());
  EXPECT_EQ(set(side::read, sched::now()), poll::ok);
  EXPECT_EQ(pd().netpollcheckerr(mode::read), poll::timed_out);
  over = true;
  hogs.clear();
}

TEST_P(Deadline, IsRefusedWhenTheSlotIsClosedOrAnothers) {
  EXPECT_EQ(pd().set_deadline(pd().fdseq + 1, side::both, 0), poll::closed);
  EXPECT_EQ(pd().set_deadline(pd().fdseq - 1, side::both, 0), poll::closed);
  EXPECT_EQ(pd().netpollcheckerr(mode::read), poll::ok);
  pd().evict();
  EXPECT_EQ(set(side::both, 0), poll::closed);
  EXPECT_EQ(pd().netpollcheckerr(mode::read), poll::closed);
}

TEST(DeadlineSize, ASlotIsFourCacheLines) { EXPECT_LE(sizeof(poll_desc), 256u); }

// covers B25 B35
TEST_P(Deadline, ADelayCountsFromNow) {
  auto d = w().open(::dup(s_.a), poll::kind::stream);
  const poll_desc& of = TEST_poll_desc_of(*d);
  for (const nanotime past : {nanotime{0}, nanotime{-1}, std::numeric_limits<nanotime>::min()}) {
    EXPECT_EQ(d->set_deadline_after(side::both, past), poll::ok);
    EXPECT_EQ(of.rd, -1);
    EXPECT_EQ(of.wd, -1);
  }
  EXPECT_EQ(d->set_deadline_after(side::both, sched::never), poll::ok);
  EXPECT_EQ(of.rd, 0);
  const nanotime before = sched::now();
  EXPECT_EQ(d->set_deadline_after(side::read, hour), poll::ok);
  EXPECT_GE(of.rd, before + hour);
  EXPECT_LE(of.rd, sched::now() + hour);
  EXPECT_EQ(of.wd, 0);
  // One that has come when it is armed rings at once.
  EXPECT_EQ(d->set_deadline_after(side::write, 1), poll::ok);
  while (of.netpollcheckerr(mode::write) != poll::timed_out) std::this_thread::yield();
  EXPECT_EQ(d->close(), 0);
  EXPECT_EQ(d->set_deadline_after(side::both, 1), poll::closed);
  d.reset();
}

TEST(DeadlineWithoutTimers, IsRefusedUnlessItNeedsNone) {
  world w(0);
  const fd_pair s = unix_pair();
  auto d = w.open(s.a, poll::kind::stream);
  EXPECT_EQ(d->set_deadline(side::both, sched::now() + hour), poll::not_pollable);
  EXPECT_EQ(d->set_deadline(side::both, sched::never), poll::ok);
  EXPECT_EQ(d->set_deadline(side::both, 0), poll::ok);
  char c;
  EXPECT_EQ(d->read(&c, 1).error, poll::timed_out);
  d.reset();
  ::close(s.b);
}

#if WEFT_REPLACES_NEW
TEST_P(Deadline, WithoutMemoryNothingHasChanged) {
  // The test's thread is outside, so its timers go to the shared heap, which is empty and has no room yet.
  const std::uint32_t seq = pd().alarm_seq;
  no_memory = true;
  const int refused = set(side::both, sched::now() + hour);
  no_memory = false;
  EXPECT_EQ(refused, ENOMEM);
  EXPECT_EQ(pd().rd, 0);
  EXPECT_EQ(pd().wd, 0);
  EXPECT_EQ(pd().alarm_at, 0);
  EXPECT_EQ(pd().alarm_seq, seq) << "a shot of the last arming that is under way would be void";
  ASSERT_EQ(set(side::both, sched::now() + ms), poll::ok);
  while (pd().netpollcheckerr(mode::read) == poll::ok) std::this_thread::yield();
}

// Heaps that grew would allocate.
// covers I126
TEST_P(Deadline, AnyNumberOfChangesDoesNotMakeTheHeapGrow) {
  const auto change_all = [&](int n) {
    for (int i = 0; i < n; ++i) {
      const nanotime at = sched::now() + hour - i % 1000 * ms;
      ASSERT_EQ(set(side::both, at), poll::ok);
      ASSERT_EQ(set(i % 2 == 0 ? side::read : side::write, sched::never), poll::ok);
      ASSERT_EQ(set(side::both, i % 3 == 0 ? 0 : sched::never), poll::ok);
      if (i % 16 == 0) reopen();
    }
  };
  change_all(1000);
  const long before = allocations;
  change_all(500'000 * static_cast<int>(scale()));
  // Workers that wake meanwhile may need a little.
  EXPECT_LT(allocations - before, 20);
}
#endif

// T3: readers and writers of a few slots, edges, and threads that move the deadlines at random, 1 ns to 100 us ahead,
// to the past or away. What is checked: a wait that ends has a reason, each deadline that nobody moves any more fires,
// and in the end nobody is counted. covers A14 A21 B38
TEST_P(Deadline, StressOfChangesAndAlarms) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  constexpr int slots = 3;
  const int rounds = 500 * static_cast<int>(scale());
  poll_desc* pds[slots];
  fd_pair pairs[slots];
  for (int i = 0; i < slots; ++i) {
    pairs[i] = unix_pair();
    int error = 0;
    pds[i] = w().poller()->cache()->open(pairs[i].a, error);
    ASSERT_EQ(error, 0);
  }
  std::atomic<int> users{2 * slots};
  std::atomic<long> timeouts{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < slots; ++i) {
    for (const mode m : {mode::read, mode::write}) {
      threads.emplace_back([&, i, m] {
        for (int n = 0; n < rounds;) {
          const int e = pds[i]->wait(m);
          if (e == poll::ok) continue;
          EXPECT_EQ(e, poll::timed_out);
          EXPECT_EQ(set(*pds[i], m == mode::read ? side::read : side::write, sched::now() + 20'000), poll::ok);
          timeouts.fetch_add(1, std::memory_order_relaxed);
          ++n;
        }
        users.fetch_sub(1);
      });
    }
  }
  for (unsigned k = 0; k < 3; ++k) {
    threads.emplace_back([&, k] {
      std::minstd_rand random(seed + k);
      while (users.load() != 0) {
        const auto i = random() % slots;
        const side of = static_cast<side>(random() % 3);
        nanotime when = sched::now() + static_cast<nanotime>(random() % 100'000);
        if (random() % 8 == 0) when = sched::now() + hour;
        if (random() % 8 == 0) when = 0;
        if (random() % 16 == 0) when = sched::never;
        EXPECT_EQ(set(*pds[i], of, when), poll::ok);
        if (random() % 4 == 0) (void)::send(pairs[i].b, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (when > sched::now() + ms || when == sched::never) {  // nobody is left behind
          EXPECT_EQ(set(*pds[i], side::both, sched::now() + static_cast<nanotime>(random() % 1000)), poll::ok);
        }
        std::this_thread::yield();
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(timeouts, long{2 * slots} * rounds);
  // Counted until the worker that woke the last one has said so.
  const nanotime end = sched::now() + 20'000 * ms;
  while (w().poller()->any_waiters() && sched::now() < end) std::this_thread::yield();
  EXPECT_FALSE(w().poller()->any_waiters());
  for (int i = 0; i < slots; ++i) {
    close(*pds[i]);
    ::close(pairs[i].a);
    ::close(pairs[i].b);
  }
}

// Eight threads move the deadlines of ten slots ever earlier, each from its own, so that alarms are armed while others
// ring; the callbacks take the slots' locks, arming takes them before the heaps': neither order blocks the other.
// covers B39 I125
TEST_P(Deadline, ManyThreadsMoveManyDeadlinesEverEarlier) {
  std::vector<poll_desc*> pds;
  std::vector<fd_pair> pairs;
  for (int i = 0; i < 10; ++i) {
    pairs.push_back(unix_pair());
    int error = 0;
    pds.push_back(w().poller()->cache()->open(pairs.back().a, error));
    ASSERT_EQ(error, 0);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int n = 0; n < 100; ++n) {
        for (poll_desc* pd : pds) EXPECT_EQ(set(*pd, side::both, sched::now() + (100 - n) * ms), poll::ok);
      }
    });
  }
  for (auto& t : threads) t.join();
  for (poll_desc* pd : pds) {
    for (const mode m : {mode::read, mode::write}) {
      while (pd->netpollcheckerr(m) != poll::timed_out) std::this_thread::yield();
    }
    close(*pd);
  }
  for (const fd_pair& s : pairs) {
    ::close(s.a);
    ::close(s.b);
  }
}

}  // namespace
