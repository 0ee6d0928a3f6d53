// The other primitives in every interleaving: nobody is forgotten, whoever gives up, and the last one may end them.
#include "stage.hpp"

#include <weft/detail/group_state.hpp>
#include <weft/error.hpp>
#include <weft/event.hpp>
#include <weft/latch.hpp>
#include <weft/once.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_mutex.hpp>
#include <weft/wait_group.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>

namespace {

using namespace weft;
using namespace weft::testing;

const model::options sleepers{.may_sleep = true};

template <class T>
struct world : stage {
  std::optional<T> it;
  hand_link::source stop;
  int done = 0;
  int gave_up = 0;
  bool ended = false;

  template <class... Args>
  explicit world(Args... args) : it(std::in_place, args...) {}

  // What one waits for, unless a stop comes first.
  template <class Wait>
  bool unless_stopped(Wait wait) {
    const hand_link link(stop);
    try {
      wait();
      return true;
    } catch (const canceled_error&) {
      ++gave_up;
      return false;
    }
  }
  void end() {
    it.reset();
    ended = true;
  }
};
const auto fire = [](auto& w) { w.stop.fire(); };
const auto was_ended = [](auto& w) { return w.ended ? "" : "not ended"; };

// The one that was woken ends it, though the one that woke it is still returning.

struct events : world<event> {};

TEST(EventModel, WhoeverReturnedFromWaitMayEndIt) {
  cast<events>()
      .waiter("waiter", [](events& w) { w.it->wait(), w.end(); })
      .other("setter", [](events& w) { w.it->set(); })
      .play(was_ended);
  cast<events>()
      .waiter("waiter",
              [](events& w) {
                if (!w.unless_stopped([&w] { w.it->wait(); })) w.it->wait();
                w.end();
              })
      .other("setter", [](events& w) { w.it->set(); })
      .other("stopper", fire)
      .play(was_ended);
}

struct latches : world<latch> {
  latches() : world(2) {}
};

TEST(LatchModel, WhoeverReturnedFromWaitMayEndIt) {
  const auto count_down = [](latches& w) { w.it->count_down(); };
  cast<latches>()
      .waiter("waiter", [](latches& w) { w.it->wait(), w.end(); })
      .other("first", count_down)
      .other("second", count_down)
      .play(was_ended);
}

struct groups : world<wait_group> {
  groups() { it->add(2); }
};

TEST(WaitGroupModel, WhoeverReturnedFromWaitMayEndIt) {
  const auto finish = [](groups& w) { w.it->done(); };
  cast<groups>()
      .waiter("waiter", [](groups& w) { w.it->wait(), w.end(); })
      .other("first", finish)
      .other("second", finish)
      .play(was_ended);
  cast<groups>()
      .waiter("waiter",
              [](groups& w) {
                if (!w.unless_stopped([&w] { w.it->wait(); })) w.it->wait();
                w.end();
              })
      .other("worker", [](groups& w) { w.it->done(), w.it->done(); })
      .other("stopper", fire)
      .play(was_ended);
}

TEST(WaitGroupModel, EachWaiterGoesOn) {
  const auto wait = [](groups& w) { w.it->wait(), ++w.done; };
  cast<groups>()
      .waiter("waiter", wait)
      .waiter("waiter 2", wait)
      .other("worker", [](groups& w) { w.it->add(-2); })
      .play([](groups& w) { return w.done == 2 ? "" : "somebody was forgotten"; });
}

// A permit is somebody's, or still there.
struct semaphores : world<counting_semaphore<2>> {
  semaphores() : world(0) {}
  void acquire() {
    it->acquire();
    ++done;
  }
  std::string conserved(int permits) {
    while (it->try_acquire()) ++done;
    return done == permits ? "" : std::to_string(done) + " permits";
  }
};

TEST(SemaphoreModel, APermitFindsWhoWaits) {
  const auto acquire = [](semaphores& w) { w.acquire(); };
  const auto release = [](semaphores& w) { w.it->release(); };
  cast<semaphores>()
      .waiter("waiter", acquire)
      .waiter("waiter 2", acquire)
      .other("releaser", release)
      .other("releaser 2", release)
      .play([](semaphores& w) { return w.conserved(2); });
}

TEST(SemaphoreModel, AStoppedWaiterTakesNoPermitAlong) {
  cast<semaphores>()
      .waiter("stopped", [](semaphores& w) { w.unless_stopped([&w] { w.acquire(); }); })
      .waiter("waiter", [](semaphores& w) { w.acquire(), w.ended = true; })
      .other("releaser", [](semaphores& w) { w.it->release(); })
      .other("stopper", fire)
      .play(
          [](semaphores& w) {
            if (!w.ended && w.done == 0) return std::string("left asleep beside a permit");
            return w.conserved(1);
          },
          sleepers);
}

struct shared : world<shared_mutex> {
  model::atomic<int> readers{0};
  model::atomic<int> writers{0};

  void read() {
    it->lock_shared();
    inside();
    it->unlock_shared();
  }
  void inside() {
    readers.fetch_add(1, std::memory_order_seq_cst);
    if (writers.load(std::memory_order_seq_cst) != 0) model::fail("a reader beside the writer");
    readers.fetch_sub(1, std::memory_order_seq_cst);
  }
  void write() {
    it->lock();
    if (writers.fetch_add(1, std::memory_order_seq_cst) != 0) model::fail("two writers");
    if (readers.load(std::memory_order_seq_cst) != 0) model::fail("a writer beside readers");
    writers.fetch_sub(1, std::memory_order_seq_cst);
    it->unlock();
  }
};

TEST(SharedMutexModel, OneWriterOrReaders) {
  const auto free = [](shared& w) { return w.it->try_lock() ? "" : "not free"; };
  cast<shared>()
      .waiter("reader", [](shared& w) { w.read(); })
      .waiter("reader 2", [](shared& w) { w.read(); })
      .waiter("writer", [](shared& w) { w.write(); })
      .only({as::threads})
      .play(free);
}

// The reader waits behind a writer that is stopped: nobody holds the mutex alone, so it joins the first one.
TEST(SharedMutexModel, WhoWaitsBehindAStoppedWriterGoesOn) {
  struct held : shared {
    held() { it->lock_shared(); }
  };
  cast<held>()
      .waiter("writer", [](held& w) { w.unless_stopped([&w] { w.write(); }); })
      .waiter("reader", [](held& w) { w.read(), w.done = 1; })
      .other("stopper", fire)
      .play([](held& w) { return w.done == 1 ? "" : "the reader was forgotten"; });
}

TEST(SharedMutexModel, NobodyTouchesItAfterTheLastHolder) {
  struct held : shared {
    held() { it->lock(); }
  };
  cast<held>()
      .waiter("last", [](held& w) { w.read(), w.end(); })
      .other("holder", [](held& w) { w.it->unlock(); })
      .play(was_ended);
}

struct calls : world<once_flag> {
  bool fails = false;
  void call() {
    try {
      call_once(*it, [this] {
        if (std::exchange(fails, false)) throw std::runtime_error("first");
        ++done;
      });
    } catch (const std::runtime_error&) {
      ++gave_up;
    }
  }
};

TEST(OnceModel, OneCallIsMadeAndTheNextTriesIfItThrows) {
  struct failing : calls {
    failing() { fails = true; }
  };
  const auto call = [](calls& w) { w.call(); };
  cast<calls>().waiter("one", call).waiter("two", call).play([](calls& w) {
    return w.done == 1 && w.gave_up == 0 ? "" : "not one call";
  });
  cast<failing>().waiter("one", call).waiter("two", call).play([](calls& w) {
    return w.done == 1 && w.gave_up == 1 ? "" : "not one call after the failed one";
  });
}

// The places of a task group.
struct group : detail::group_state {
  explicit group(std::size_t limit) : group_state(limit) {}
  using group_state::admit;
  using group_state::leave;
  using group_state::settle;
  using group_state::try_admit;
};
struct tasks : world<group> {
  tasks() : world(std::size_t{1}) { it->admit(); }
};

TEST(GroupModel, APlaceGoesToWhoWaitsForOne) {
  const auto enter = [](tasks& w) { w.it->admit(), ++w.done, w.it->leave(); };
  cast<tasks>()
      .waiter("task", enter)
      .waiter("task 2", enter)
      .other("first", [](tasks& w) { w.it->leave(); })
      .play([](tasks& w) { return w.done == 2 && w.it->size() == 0 ? "" : "a place was lost"; });
}

TEST(GroupModel, AStoppedWaiterTakesNoPlaceAlong) {
  cast<tasks>()
      .waiter("stopped",
              [](tasks& w) {
                if (w.unless_stopped([&w] { w.it->admit(); })) w.it->leave();
              })
      .waiter("task", [](tasks& w) { w.it->admit(), w.it->leave(); })
      .other("first", [](tasks& w) { w.it->leave(); })
      .other("stopper", fire)
      .play([](tasks& w) { return w.it->size() == 0 ? "" : "a place was lost"; });
}

TEST(GroupModel, TheOwnerMayEndItWhenTheLastTaskHasLeft) {
  cast<tasks>()
      .waiter("owner", [](tasks& w) { w.it->settle(), w.end(); })
      .other("task", [](tasks& w) { w.it->leave(); })
      .play(was_ended);
}

}  // namespace
