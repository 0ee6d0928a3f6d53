#include <idle.hpp>
#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace weft;
using sched::idle_protocol;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto seq_cst = std::memory_order_seq_cst;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool under_sanitizer = true;
#elif defined(__has_feature)
constexpr bool under_sanitizer = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool under_sanitizer = false;
#endif

// T1: every small state, every operation.

template <class Protocol>
void bring_to(Protocol& protocol, std::uint32_t idle, std::uint32_t searching) {
  for (std::uint32_t i = 0; i < idle; ++i) protocol.processor_released();
  for (std::uint32_t i = 0; i < searching; ++i) protocol.begin_search();
}

TEST(Idle, EveryOperationInEveryState) {
  constexpr std::uint32_t processors = 4;
  for (std::uint32_t idle = 0; idle <= processors; ++idle) {
    for (std::uint32_t searching = 0; searching <= processors; ++searching) {
      SCOPED_TRACE("idle " + std::to_string(idle) + ", searching " + std::to_string(searching));
      const auto expect = [&](const idle_protocol<>& p, std::uint32_t i, std::uint32_t s) {
        EXPECT_EQ(p.idle(), i);
        EXPECT_EQ(p.searching(), s);
      };
      {
        idle_protocol<> p;
        bring_to(p, idle, searching);
        expect(p, idle, searching);
        const bool needed = idle != 0 && searching == 0;
        EXPECT_EQ(p.claim_wake(), needed);
        expect(p, idle, needed ? 1 : searching);
      }
      {
        idle_protocol<> p;
        bring_to(p, idle, searching);
        const bool granted = 2 * searching < processors - idle;
        EXPECT_EQ(p.try_search(processors), granted);
        expect(p, idle, searching + (granted ? 1 : 0));
      }
      if (searching != 0) {
        idle_protocol<> p;
        bring_to(p, idle, searching);
        EXPECT_EQ(p.end_search(), searching == 1);
        expect(p, idle, searching - 1);
      }
      if (idle != 0) {
        idle_protocol<> p;
        bring_to(p, idle, searching);
        p.processor_taken();
        expect(p, idle - 1, searching);
      }
    }
  }
}

TEST(Idle, MoreIdleThanThereAreGrantsNoSearch) {
  idle_protocol<> p;
  bring_to(p, 3, 0);
  EXPECT_FALSE(p.try_search(2)) << "counts may be seen in passing";
}

// covers J144
TEST(IdleModel, OneWakeForAnyNumberOfSubmissions) {
  struct state {
    idle_protocol<model::atomic> protocol;
    int wakes[3] = {};
    state() { bring_to(protocol, 2, 0); }
  };
  const auto submit = [](std::size_t self) {
    return [self](state& s) {
      for (int i = 0; i < 2; ++i) s.wakes[self] += s.protocol.claim_wake() ? 1 : 0;
    };
  };
  model::explore<state>({{"one", submit(0)}, {"two", submit(1)}, {"three", submit(2)}}, [](state& s) {
    const int wakes = s.wakes[0] + s.wakes[1] + s.wakes[2];
    return wakes == 1 ? "" : std::to_string(wakes) + " wakes";
  });
}

TEST(IdleModel, ExactlyOneOfTheSearchersIsTheLast) {
  struct state {
    idle_protocol<model::atomic> protocol;
    bool last[3] = {};
    state() { bring_to(protocol, 0, 3); }
  };
  const auto end = [](std::size_t self) { return [self](state& s) { s.last[self] = s.protocol.end_search(); }; };
  model::explore<state>({{"one", end(0)}, {"two", end(1)}, {"three", end(2)}}, [](state& s) {
    return s.last[0] + s.last[1] + s.last[2] == 1 && s.protocol.searching() == 0 ? "" : "not one last searcher";
  });
}

// A small scheduler around the protocol: the queues are numbers of items, everything else goes step by step as in
// wake.cpp, find_runnable.cpp and blocking.cpp, whose functions it names. It runs in the explorer and on threads.

template <class Place>
struct worker_of {
  int p = -1;  // its processor
  int given = -1;
  bool searching = false;
  bool polls = false;
  int ran = 0;
  Place bed;
};

template <template <class> class Atomic, class Mutex, class Place>
struct small_scheduler {
  using worker = worker_of<Place>;
  enum : int { is_idle, is_running, is_blocking };
  struct processor {
    Atomic<int> queue{0};
    Atomic<int> state{is_idle};
  };

  const int processors;
  std::unique_ptr<processor[]> all{new processor[static_cast<std::size_t>(processors)]};
  std::vector<std::unique_ptr<worker>> workers;
  idle_protocol<Atomic> idle;
  Atomic<int> global{0};
  Atomic<int> events{0};  // what the next poll will find
  Atomic<int> blocking_count{0};
  Atomic<int> wakes{0};

  // Guarded by the mutex.
  Mutex mutex;
  std::vector<int> idle_processors;
  std::vector<worker*> sleepers;
  std::vector<worker*> unborn;  // workers that are started when needed
  int alive = 0;
  bool polling = false;
  bool wake_owed = false;
  bool ending = false;

  Place poller;  // where netpoll sleeps; unpark is netpollbreak

  // The first `running` workers hold a processor each, the other processors are idle; of the other workers, `asleep`
  // ones are asleep, the first of them in the poller; the rest is not started yet.
  small_scheduler(int processor_count, int running, int asleep, int worker_count) : processors(processor_count) {
    for (int i = 0; i < processors; ++i) {
      if (i < running) {
        all[i].state.store(is_running, relaxed);
      } else {
        idle_processors.push_back(i);
        idle.processor_released();
      }
    }
    for (int i = 0; i < worker_count; ++i) {
      workers.push_back(std::make_unique<worker>());
      if (i < running) {
        workers.back()->p = i;
      } else if (i == running && asleep != 0) {
        polling = workers.back()->polls = true;
      } else {
        (i < running + asleep ? sleepers : unborn).push_back(workers.back().get());
      }
    }
    alive = running + asleep;
  }

  void wake_for_work() {
    if (idle.claim_wake()) wake_worker();
  }

  int take_processor_locked() {
    if (!idle_processors.empty()) {
      const int p = idle_processors.back();
      idle_processors.pop_back();
      all[p].state.store(is_running, relaxed);
      idle.processor_taken();
      return p;
    }
    for (int p = 0; p < processors; ++p) {
      int blocking = is_blocking;
      if (all[p].state.load(relaxed) == blocking &&
          all[p].state.compare_exchange_strong(blocking, is_running, acquire, relaxed)) {
        idle.processor_taken();
        return p;
      }
    }
    return -1;
  }

  void put_back_processor_locked(int p) {
    all[p].state.store(is_idle, relaxed);
    idle_processors.push_back(p);
    idle.processor_released();
  }

  void wake_worker() {
    for (;;) {
      worker* sleeper = nullptr;
      bool broke = false;
      bool owed = false;
      {
        std::lock_guard guard(mutex);
        const int p = take_processor_locked();
        if (p >= 0) {
          const bool poller_needs_it = polling && idle.idle() == 0;
          const int active = alive - blocking_count.load(relaxed);
          if (!sleepers.empty() && !poller_needs_it) {
            sleeper = sleepers.back();
            sleepers.pop_back();
          } else if (!polling && active < processors && !unborn.empty()) {
            sleeper = unborn.back();
            unborn.pop_back();
            ++alive;
          } else {
            put_back_processor_locked(p);
          }
          if (sleeper != nullptr) {
            sleeper->given = p;
            sleeper->searching = true;
          }
        }
        if (sleeper == nullptr) {
          (void)idle.end_search();
          if (p >= 0) {
            owed = wake_owed = true;
            broke = polling;
          }
        }
      }
      if (sleeper != nullptr || broke) {
        wakes.fetch_add(1, relaxed);
        (broke ? poller : sleeper->bed).unpark();
        return;
      }
      if (owed || !any_lent() || !idle.claim_wake()) return;
    }
  }
  // any_lent: a processor was lent since the look at them; its lender may have seen our token and woken nobody.
  bool any_lent() {
    for (int p = 0; p < processors; ++p) {
      if (all[p].state.load(seq_cst) == is_blocking) return true;
    }
    return false;
  }

  void release_processor(worker& w) {
    std::lock_guard guard(mutex);
    put_back_processor_locked(std::exchange(w.p, -1));
  }
  bool acquire_processor(worker& w) {
    std::lock_guard guard(mutex);
    w.p = take_processor_locked();
    return w.p >= 0;
  }

  // False: the scheduler ends.
  bool sleep_or_poll(worker& w) {
    {
      std::lock_guard guard(mutex);
      if (ending) return false;
      if (wake_owed) {
        wake_owed = false;
        w.p = take_processor_locked();
        if (w.p >= 0) {
          idle.begin_search();
          w.searching = true;
          return true;
        }
      }
      if (polling) sleepers.push_back(&w);
      w.polls = !std::exchange(polling, true);
    }
    return w.polls ? poll(w) : sleep(w);
  }
  bool sleep(worker& w) {
    w.bed.park();
    w.p = std::exchange(w.given, -1);
    return w.p >= 0;
  }
  bool poll(worker& w) {
    poller.park();
    const int ready = events.exchange(0, seq_cst);
    bool owed = false;
    {
      std::lock_guard guard(mutex);
      polling = false;
      if (ending && ready == 0) return false;
      w.p = take_processor_locked();
      if (w.p < 0 && ready == 0) sleepers.push_back(&w);
      if (w.p >= 0) owed = std::exchange(wake_owed, false);
    }
    if (w.p < 0 && ready == 0) return sleep(w);
    if (w.p >= 0 && (ready == 0 || owed)) {
      idle.begin_search();
      w.searching = true;
    }
    if (ready == 0) return true;
    // inject
    (w.p >= 0 ? all[w.p].queue : global).fetch_add(ready, seq_cst);
    if (ready > 1 || w.p < 0) wake_for_work();
    return true;
  }

  static int take(Atomic<int>& queue, int (*share)(int)) {
    int n = queue.load(acquire);
    while (n > 0) {
      const int taken = share(n);
      if (queue.compare_exchange_strong(n, n - taken, seq_cst, acquire)) return taken;
    }
    return 0;
  }

  bool search(worker& w) {
    const auto one = [](int) { return 1; };
    const auto half = [](int n) { return n - n / 2; };
    Atomic<int>& own = all[w.p].queue;
    if (take(own, one) != 0) return true;
    if (const int n = take(global, half); n != 0) {
      if (n > 1) own.fetch_add(n - 1, release);
      return true;
    }
    if (idle.idle() == static_cast<std::uint32_t>(processors - 1) && !work_anywhere()) return false;
    if (!w.searching) {
      if (!idle.try_search(static_cast<std::uint32_t>(processors))) return false;
      w.searching = true;
    }
    for (int i = 1; i < processors; ++i) {
      if (const int n = take(all[(w.p + i) % processors].queue, half); n != 0) {
        if (n > 1) own.fetch_add(n - 1, release);
        return true;
      }
    }
    return false;
  }

  bool work_anywhere() {
    if (global.load(seq_cst) != 0) return true;
    for (int i = 0; i < processors; ++i) {
      if (all[i].queue.load(acquire) != 0) return true;
    }
    return false;
  }

  bool find_runnable(worker& w) {
    for (;;) {
      if (w.p < 0 && !acquire_processor(w) && !sleep_or_poll(w)) return false;
      if (w.p < 0) continue;
      if (search(w)) {
        if (w.searching) {
          w.searching = false;
          if (idle.end_search()) wake_for_work();
        }
        return true;
      }
      if (!find_nothing(w)) return false;
    }
  }
  bool find_nothing(worker& w) {
    release_processor(w);
    if (w.searching) {
      w.searching = false;
      (void)idle.end_search();
    }
    if (!work_anywhere()) return sleep_or_poll(w);
    if (acquire_processor(w)) {
      idle.begin_search();
      w.searching = true;
    }
    return true;
  }

  // What workers and others do. Each worker runs `items` at most; the last one keeps it busy for ever, so that the
  // others must be found by somebody else.
  void work(worker& w, int items) {
    while (w.ran < items && find_runnable(w)) ++w.ran;
  }
  void work_after_search(worker& w, int items) {
    if (find_nothing(w)) work(w, items);
  }
  void work_after_sleep(worker& w, int items) {
    if (w.polls ? poll(w) : sleep(w)) work(w, items);
  }
  void be_born(worker& w) {
    w.bed.park();
    w.p = std::exchange(w.given, -1);
  }
  void submit_globally(int n) {
    global.fetch_add(n, seq_cst);
    wake_for_work();
  }
  void submit_locally(worker& w, int n) {
    all[w.p].queue.fetch_add(n, release);
    wake_for_work();
  }
  void happen(int n) {
    events.fetch_add(n, seq_cst);
    poller.unpark();
  }
  // block is a blocking region; going on after it counts as an item.
  enum region { short_one, for_ever };
  void block(worker& w, region length = short_one) {
    blocking_count.fetch_add(1, seq_cst);
    const int p = std::exchange(w.p, -1);
    all[p].state.store(is_blocking, release);
    idle.processor_released();
    if (all[p].queue.load(seq_cst) != 0 || global.load(seq_cst) != 0) wake_for_work();
    if (length == for_ever) return;

    int blocking = is_blocking;
    const bool taken_back = all[p].state.compare_exchange_strong(blocking, is_running, acquire, relaxed);
    if (taken_back) {
      idle.processor_taken();
      w.p = p;
    }
    if (taken_back || acquire_processor(w)) {
      ++w.ran;
    } else {
      submit_globally(1);
    }
    blocking_count.fetch_sub(1, seq_cst);
  }

  // at_rest checks that all is done when nobody does anything any more.
  std::string at_rest(int items) {
    int ran = 0, busy = 0;
    for (const auto& w : workers) {
      ran += w->ran;
      if (w->p >= 0) ++busy;
    }
    if (ran != items) {
      return std::to_string(items - ran) + " of " + std::to_string(items) + " items left, busy " + std::to_string(busy);
    }
    if (idle.searching() != 0) return "searching " + std::to_string(idle.searching());
    if (idle.idle() != static_cast<std::uint32_t>(processors - busy)) return "idle " + std::to_string(idle.idle());
    return "";
  }
};

using model_scheduler = small_scheduler<model::atomic, model::mutex, model::parking_place>;

template <int Processors, int Running, int Asleep, int Workers = Running + Asleep>
struct setting : model_scheduler {
  setting() : model_scheduler(Processors, Running, Asleep, Workers) {}
};

// The run ends with everybody asleep or busy; then no item is left.
template <class State>
void expect_nothing_left(const std::vector<model::actor<State>>& actors, int items, int most_wakes = 1000) {
  const auto found = model::explore<State>(
      actors,
      [=](State& s) {
        const int wakes = s.wakes.load(acquire);
        return wakes <= most_wakes ? s.at_rest(items) : std::to_string(wakes) + " wakes for " + std::to_string(items);
      },
      {.may_sleep = true});
  std::printf("%zu different runs, %zu redundant, %zu steps\n", found.runs, found.redundant, found.steps);
  testing::Test::RecordProperty("runs", static_cast<int>(found.runs));
}

template <class State>
model::actor<State> ending_search(std::size_t self, int items = 1) {
  return {"ending search", [=](State& s) { s.work_after_search(*s.workers[self], items); }};
}
template <class State>
model::actor<State> searching(std::size_t self, int items = 1) {
  return {"searching", [=](State& s) { s.work(*s.workers[self], items); }};
}
template <class State>
model::actor<State> asleep(std::size_t self, int items = 1) {
  return {"asleep", [=](State& s) { s.work_after_sleep(*s.workers[self], items); }};
}
template <class State>
model::actor<State> submitting(int items) {
  return {"submitting", [=](State& s) { s.submit_globally(items); }};
}
// Its fibers make `items` more, then one of them keeps it busy.
template <class State>
model::actor<State> busy(std::size_t self, int items) {
  return {"busy", [=](State& s) { s.submit_locally(*s.workers[self], items); }};
}

// covers J139, J140
TEST(IdleModel, ASubmissionFromOutsideMeetsAWorkerThatGoesToSleep) {
  using state = setting<1, 1, 0>;
  expect_nothing_left<state>({ending_search<state>(0), submitting<state>(1)}, 1, 1);
  expect_nothing_left<state>({searching<state>(0), submitting<state>(1)}, 1, 1);
}

// covers J139, J140
TEST(IdleModel, ASubmissionFromOutsideWakesTheOneInThePoller) {
  using state = setting<1, 0, 1>;
  expect_nothing_left<state>({asleep<state>(0), submitting<state>(1)}, 1, 1);
}

// covers J139, J140
TEST(IdleModel, TwoSubmissionsMeetAWorkerThatGoesToSleep) {
  using state = setting<1, 1, 0>;
  expect_nothing_left<state>({ending_search<state>(0, 2), submitting<state>(1), submitting<state>(1)}, 2, 2);
}

// covers J139
TEST(IdleModel, ASubmissionMeetsTwoWorkersThatGoToSleep) {
  if (under_sanitizer)
    GTEST_SKIP() << "150 000 runs on one thread: a minute under a sanitizer, which finds nothing more";
  using state = setting<2, 2, 0>;
  expect_nothing_left<state>({ending_search<state>(0), ending_search<state>(1), submitting<state>(1)}, 1);
}

// covers J139
TEST(IdleModel, ABusyWorkerSharesWithOneThatGoesToSleep) {
  using state = setting<2, 2, 0>;
  expect_nothing_left<state>({busy<state>(0, 1), ending_search<state>(1)}, 1);
  expect_nothing_left<state>({busy<state>(0, 1), searching<state>(1)}, 1);
}

// covers J139
TEST(IdleModel, ASearcherThatFindsMoreThanItCanDoWakesTheNext) {
  using state = setting<2, 0, 2>;
  expect_nothing_left<state>({asleep<state>(0), asleep<state>(1), submitting<state>(2)}, 2);
}

// covers J139
TEST(IdleModel, WorkThatComesWhileASearcherIsCountedIsFoundByIt) {
  // The searcher finds nothing and goes to sleep, the submitters leave the work to it.
  struct state : setting<2, 2, 0> {
    state() {
      idle.begin_search();
      workers[1]->searching = true;
    }
  };
  expect_nothing_left<state>({busy<state>(0, 1), searching<state>(1)}, 1);
  expect_nothing_left<state>({busy<state>(0, 1), ending_search<state>(1)}, 1);
}

// covers J136, J142
TEST(IdleModel, WorkDoesNotWaitForABlockingRegion) {
  if (under_sanitizer)
    GTEST_SKIP() << "100 000 runs on one thread: a minute under a sanitizer, which finds nothing more";
  using state = setting<1, 1, 0, 2>;
  expect_nothing_left<state>({{"blocking",
                               [](state& s) {
                                 s.block(*s.workers[0]);
                                 s.work(*s.workers[0], 2);
                               }},
                              {"new worker",
                               [](state& s) {
                                 s.be_born(*s.workers[1]);
                                 s.work(*s.workers[1], 2);
                               }},
                              submitting<state>(1)},
                             2);
}

template <class State>
model::actor<State> new_worker(std::size_t self) {
  return {"new worker", [=](State& s) {
            s.be_born(*s.workers[self]);
            s.work(*s.workers[self], 2);
          }};
}

// covers J136
TEST(IdleModel, ABlockingRegionWithoutEndLeavesItsWorkToOthers) {
  using state = setting<1, 1, 0, 2>;
  const model::actor<state> blocking{"blocking", [](state& s) { s.block(*s.workers[0], state::for_ever); }};
  const model::actor<state> with_work{"blocking", [](state& s) {
                                        s.submit_locally(*s.workers[0], 1);
                                        s.block(*s.workers[0], state::for_ever);
                                      }};
  expect_nothing_left<state>({blocking, new_worker<state>(1), submitting<state>(1)}, 1);
  expect_nothing_left<state>({with_work, new_worker<state>(1)}, 1);
  expect_nothing_left<state>({with_work, new_worker<state>(1), submitting<state>(1)}, 2);
}

// A waker finds that no processor is left, then one is lent: who lent it saw the waker at work, and woke nobody.
TEST(IdleModel, AProcessorLentBehindAWakersBackIsFound) {
  struct state : setting<1, 1, 0, 2> {
    state() { idle.begin_search(); }  // the waker's
  };
  const model::actor<state> blocking{"blocking", [](state& s) {
                                       s.submit_locally(*s.workers[0], 1);
                                       s.block(*s.workers[0], state::for_ever);
                                     }};
  expect_nothing_left<state>({{"waking", [](state& s) { s.wake_worker(); }}, blocking, new_worker<state>(1)}, 1);
}

// The only worker that is awake does not stop at its own processor: a lent one counts as idle, but has a queue.
TEST(IdleModel, WorkOfALentProcessorIsStolen) {
  using state = setting<2, 2, 0>;
  const model::actor<state> blocking{"blocking", [](state& s) {
                                       s.submit_locally(*s.workers[0], 1);
                                       s.block(*s.workers[0], state::for_ever);
                                     }};
  expect_nothing_left<state>({blocking, searching<state>(1)}, 1);
}

// covers J139
TEST(IdleModel, EveryOneThatSleepsIsFoundWhenNeeded) {
  using state = setting<2, 1, 1>;
  expect_nothing_left<state>({ending_search<state>(0), asleep<state>(1), submitting<state>(2)}, 2);
}

// The poller is broken out of its sleep for a submission, but leaves with an event that keeps it busy.
// covers C47
TEST(IdleModel, ABreakThatMeetsAnEventIsNotLost) {
  using state = setting<2, 0, 1, 2>;
  const model::actor<state> event{"event", [](state& s) { s.happen(1); }};
  expect_nothing_left<state>({asleep<state>(0), new_worker<state>(1), submitting<state>(1), event}, 2);
}

// One in the poller is woken with nothing to hand out while the others have all processors: it must not stay away when
// one is free again and work comes.
TEST(IdleModel, APollerThatFindsNoProcessorSleepsAndIsFound) {
  using state = setting<1, 1, 1>;
  const model::actor<state> nothing{"alarm", [](state& s) { s.poller.unpark(); }};
  expect_nothing_left<state>({ending_search<state>(0), asleep<state>(1), submitting<state>(1), nothing}, 1);
}

// T3: the same small scheduler on threads.

class thread_place {
 public:
  void park() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [this] { return woken_; });
    woken_ = false;
  }
  void unpark() {
    std::lock_guard guard(mutex_);
    woken_ = true;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

using thread_scheduler = small_scheduler<std::atomic, std::mutex, thread_place>;

// covers J139, J140
void stress(int processors, int asleep, int unborn, int rounds, std::uint32_t seed) {
  SCOPED_TRACE("WEFT_TEST_SEED=" + std::to_string(seed) + ", processors " + std::to_string(processors));
  thread_scheduler s(processors, 0, asleep, asleep + unborn);
  std::atomic<int> pending{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < asleep + unborn; ++i) {
    workers.emplace_back([&, i] {
      auto& w = *s.workers[static_cast<std::size_t>(i)];
      std::mt19937 random(seed + static_cast<std::uint32_t>(i));
      bool on = true;
      if (i >= asleep) {
        s.be_born(w);
        on = w.p >= 0;
      } else {
        on = w.polls ? s.poll(w) : s.sleep(w);
      }
      while (on && s.find_runnable(w)) {
        if (random() % 4 == 0) {
          pending.fetch_add(1, relaxed);
          s.submit_locally(w, 1);
        }
        if (random() % 8 == 0) {
          pending.fetch_add(1, relaxed);
          const int before = w.ran;
          s.block(w);
          if (w.ran != before) pending.fetch_sub(1, release);
        }
        pending.fetch_sub(1, release);
      }
    });
  }
  // Waits until all that was submitted has run; so long the workers go to sleep again and again.
  const auto drained = [&] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (pending.load(acquire) != 0) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  };
  std::atomic<bool> lost{false};
  const auto submit = [&](std::uint32_t self) {
    std::mt19937 random(seed + 100 + self);
    for (int i = 0; i < rounds && !lost.load(relaxed); ++i) {
      const int n = 1 + static_cast<int>(random() % 3);
      pending.fetch_add(n, relaxed);
      s.submit_globally(n);
      if (random() % 4 != 0 && !drained()) lost.store(true, relaxed);
    }
  };
  std::thread other(submit, 1);
  submit(2);
  other.join();
  EXPECT_TRUE(!lost.load() && drained()) << pending.load() << " items are left and nobody runs them";
  {
    std::lock_guard guard(s.mutex);
    s.ending = true;
  }
  s.poller.unpark();
  for (auto& w : s.workers) w->bed.unpark();
  for (std::thread& t : workers) t.join();
  EXPECT_EQ(s.idle.searching(), 0u);
}

TEST(IdleStress, NothingIsLeft) {
  const char* given = std::getenv("WEFT_TEST_SEED");
  const auto seed =
      given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  std::printf("WEFT_TEST_SEED=%u\n", seed);
  const char* scale = std::getenv("WEFT_TEST_SCALE");
  const int rounds = static_cast<int>(3000 * (scale != nullptr ? std::atof(scale) : 1.0));
  stress(1, 1, 2, rounds, seed);
  stress(2, 2, 2, rounds, seed);
  stress(4, 3, 3, rounds, seed);
}

}  // namespace
