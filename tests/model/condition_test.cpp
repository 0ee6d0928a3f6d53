// condition_variable in every interleaving: a notification reaches one who waits, whoever gives up meanwhile.
#include "stage.hpp"

#include <weft/condition_variable.hpp>
#include <weft/error.hpp>
#include <weft/mutex.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

using namespace weft;
using namespace weft::testing;

constexpr std::chrono::steady_clock::time_point when{std::chrono::nanoseconds(5)};

// One who may give up, one who does not, and one who notifies. The lock is the explorer's: a condition takes any.
struct world : stage {
  enum class end { waits, notified, gave_up };
  struct waiter {
    bool came = false;  // waits, or has waited
    bool seen = false;  // by the notifier, as it notifies
    end how = end::waits;
  };

  std::optional<condition_variable> c{std::in_place};
  model::mutex m;
  waiter hasty, patient;  // guarded by m
  bool holds = false;     // guarded by m
  hand_link::source stop;

  // wait is one wait without a condition; it notes how that ended.
  template <class Once>
  void wait(waiter& me, Once once) {
    std::unique_lock lock(m);
    me.came = true;
    me.how = once(lock) ? end::notified : end::gave_up;
  }
  void wait_patiently() {
    wait(patient, [this](auto& lock) {
      c->wait(lock);
      return true;
    });
  }
  void wait_in_time() {
    wait(hasty, [this](auto& lock) { return c->wait_until(lock, when) == std::cv_status::no_timeout; });
  }
  void wait_unless_stopped() {
    wait(hasty, [this](auto& lock) {
      const hand_link link(stop);
      try {
        c->wait(lock);
        return true;
      } catch (const canceled_error&) {
        return false;
      }
    });
  }
  // Whoever has let go of m to wait will be found.
  template <class Notify>
  void notify(Notify one_or_all) {
    const std::lock_guard lock(m);
    for (waiter* w : {&hasty, &patient}) w->seen = w->came && w->how == end::waits;
    one_or_all(*c);
  }
  int notified() const { return (hasty.how == end::notified ? 1 : 0) + (patient.how == end::notified ? 1 : 0); }
};

void one(condition_variable& c) { c.notify_one(); }
void all(condition_variable& c) { c.notify_all(); }
const auto notify_one = [](world& w) { w.notify(one); };
const auto patient = [](world& w) { w.wait_patiently(); };
const auto in_time = [](world& w) { w.wait_in_time(); };
const auto unless_stopped = [](world& w) { w.wait_unless_stopped(); };
const auto fire = [](world& w) { w.stop.fire(); };
const model::options sleepers{.may_sleep = true};

// One notification: exactly one who waited reports it. It goes to nobody only if the one who waited gave up instead.
std::string one_of_those_seen(world& w) {
  using end = world::end;
  if (w.notified() > 1) return "two were notified";
  if (w.notified() == 0 && w.patient.seen) return "the notification was lost";
  if (w.notified() == 0 && w.hasty.seen && w.hasty.how != end::gave_up) return "the only waiter was forgotten";
  if (w.hasty.how == end::notified && !w.hasty.seen) return "notified by nobody";
  if (w.patient.how == end::notified && !w.patient.seen) return "notified by nobody";
  return w.hasty.came && w.hasty.how == end::waits && w.notified() == 0 && w.patient.seen ? "left asleep" : "";
}

TEST(ConditionModel, TheConditionIsNotMissed) {
  struct with_mutex : world {
    mutex real;
  };
  cast<with_mutex>()
      .waiter("waiter",
              [](with_mutex& w) {
                std::unique_lock lock(w.real);
                w.c->wait(lock, [&w] { return w.holds; });
                w.patient.how = world::end::notified;
              })
      .waiter("notifier",
              [](with_mutex& w) {
                {
                  const std::lock_guard lock(w.real);
                  w.holds = true;
                }
                w.c->notify_one();
              })
      .play([](with_mutex& w) { return w.notified() == 1 ? "" : "not notified"; });
}

TEST(ConditionModel, NotifyAllReachesEachWhoWaits) {
  cast<world>()
      .waiter("patient", patient)
      .waiter("hasty", unless_stopped)
      .other("notifier", [](world& w) { w.notify(all); })
      .other("stopper", fire)
      .play(
          [](world& w) -> std::string {
            for (const world::waiter* each : {&w.patient, &w.hasty}) {
              if (each->seen && each->how == world::end::waits) return "somebody was missed";
              if (!each->seen && each->how == world::end::notified) return "somebody was notified by nobody";
            }
            return "";
          },
          sleepers);
}

TEST(ConditionModel, ATimedWaitIsNotifiedOrTimesOut) {
  cast<world>().waiter("hasty", in_time).other("notifier", notify_one).clock({5}).play([](world& w) -> std::string {
    return w.hasty.how == world::end::waits ? "no answer" : one_of_those_seen(w);
  });
}

// Whoever is taken out of the line, by the time or a stop, takes no notification along.
TEST(ConditionModel, ANotificationIsNotLostToOneWhoTimedOut) {
  cast<world>()
      .waiter("hasty", in_time)
      .waiter("patient", patient)
      .other("notifier", notify_one)
      .clock({5})
      .only({as::threads})
      .play(one_of_those_seen, sleepers);
}

TEST(ConditionModel, ANotificationIsNotLostToOneWhoWasStopped) {
  cast<world>()
      .waiter("hasty", unless_stopped)
      .waiter("patient", patient)
      .other("notifier", notify_one)
      .other("stopper", fire)
      .play(one_of_those_seen, sleepers);
}

// A lock that can't be let go of: who was notified before it waited passes it on.
TEST(ConditionModel, ANotificationIsPassedOnByOneWhoCouldNotWait) {
  struct stuck_lock {
    void lock() {}
    void unlock() { throw std::runtime_error("stuck"); }
  };
  cast<world>()
      .waiter("stuck",
              [](world& w) {
                stuck_lock lock;
                try {
                  w.c->wait(lock);
                } catch (const std::runtime_error&) {
                }
              })
      .waiter("patient", patient)
      .other("notifier", notify_one)
      .play([](world& w) { return w.patient.seen && w.notified() == 0 ? "the notification was lost" : ""; }, sleepers);
}

// It may end when all have been notified, though none of them has come back; nor one that gave up meanwhile.
TEST(ConditionModel, NobodyTouchesItAfterAllWereNotified) {
  const auto notify_and_end = [](auto notify, bool locked) {
    return [notify, locked](world& w) {
      std::unique_lock lock(w.m);
      if (!w.patient.came || !w.hasty.came) return;
      if (!locked) lock.unlock();
      for (int i = 0; i < 2; ++i) notify(*w.c);
      w.c.reset();
    };
  };
  const auto check = [](world&) { return ""; };
  for (const bool locked : {false, true}) {
    cast<world>()
        .waiter("hasty", unless_stopped)
        .waiter("patient", patient)
        .other("notifier", notify_and_end(locked ? one : all, locked))
        .other("stopper", fire)
        .only({as::threads})
        .play(check, sleepers);
    cast<world>()
        .waiter("hasty", in_time)
        .waiter("patient", patient)
        .other("notifier", notify_and_end(locked ? all : one, locked))
        .clock({5})
        .only({as::threads})
        .play(check, sleepers);
  }
}

}  // namespace
