// Several addresses: which is tried when, who wins, and what is left of the others. With connects that only pretend.
#include "tcp_pair.hpp"

#include "net/dial_race.hpp"

#include <weft/weft.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace testing_support;
using weft::net::attempt_end;
using weft::net::dial_plan;
using weft::net::endpoint;
using weft::net::failure;
using weft::net::tcp_conn;
using weft::sched::nanotime;

constexpr nanotime ms = 1'000'000;
constexpr nanotime second = 1'000 * ms;
constexpr nanotime never = weft::sched::never;

// The world that the connects pretend: each address connects, or fails with a code, after a time; a stop and the
// attempt's end are noticed.
struct world {
  struct answer {
    std::error_code code;  // empty: it connects
    nanotime after = 0;
  };
  struct attempt {
    endpoint remote;
    nanotime begin;
    nanotime until;
    std::error_code code;
  };

  weft::net::tcp_listener listener = weft::net::listen_tcp("127.0.0.1:0");
  std::map<endpoint, answer> answers;
  weft::mutex mutex;
  std::vector<attempt> attempts;  // guarded by mutex, in the order of their ends
  std::atomic<int> under_way{0};

  std::error_code connect(const endpoint& remote, nanotime until, tcp_conn& conn) {
    ++under_way;
    const nanotime begin = weft::sched::now();
    const answer a = answers.at(remote);
    const nanotime end = weft::sched::after(a.after);
    std::error_code code = a.code;
    if (!weft::sched::sleep_until(std::min(end, until))) {
      code = std::make_error_code(std::errc::operation_canceled);
    } else if (until < end) {
      code = std::make_error_code(std::errc::timed_out);
    }
    if (!code) conn = weft::net::dial_tcp(listener.local_endpoint(), code);
    const std::scoped_lock lock(mutex);
    attempts.push_back({remote, begin, until, code});
    --under_way;
    return code;
  }

  tcp_conn race(const dial_plan& plan, failure& f) {
    tcp_conn conn = weft::net::race(
        plan, [this](const endpoint& r, nanotime until, tcp_conn& c) { return connect(r, until, c); }, f);
    EXPECT_EQ(under_way, 0) << "an attempt outlives its race";
    EXPECT_EQ(conn.is_open(), !f.code);
    return conn;
  }
  std::error_code outcome_of(const endpoint& remote) {
    for (const attempt& a : attempts) {
      if (a.remote == remote) return a.code;
    }
    return std::make_error_code(std::errc::no_such_device);  // not tried
  }
  bool tried(const endpoint& remote) { return outcome_of(remote) != std::errc::no_such_device; }
};

const endpoint four_a = endpoint::ipv4({10, 0, 0, 1}, 80);
const endpoint four_b = endpoint::ipv4({10, 0, 0, 2}, 80);
const endpoint six_a = endpoint::ipv6({0xfd, 1}, 80);
const endpoint six_b = endpoint::ipv6({0xfd, 2}, 80);
const std::error_code refused{ECONNREFUSED, std::system_category()};
const std::error_code unreachable{ENETUNREACH, std::system_category()};

dial_plan plan_of(std::vector<endpoint> primaries, std::vector<endpoint> fallbacks, nanotime delay = 250 * ms) {
  dial_plan plan;
  plan.name = "name:80";
  plan.primaries = std::move(primaries);
  plan.fallbacks = std::move(fallbacks);
  plan.delay = delay;
  return plan;
}

TEST(AttemptEnd, IsAShareOfWhatIsLeftButNotLessThanIsSane) {
  constexpr nanotime now = 1000 * second;
  EXPECT_EQ(attempt_end(now, never, never, 3), never);
  EXPECT_EQ(attempt_end(now, now + 12 * second, never, 1), now + 12 * second);
  EXPECT_EQ(attempt_end(now, now + 12 * second, never, 2), now + 6 * second);
  EXPECT_EQ(attempt_end(now, now + 12 * second, never, 4), now + 3 * second);
  EXPECT_EQ(attempt_end(now, now + 12 * second, never, 12), now + 2 * second);
  EXPECT_EQ(attempt_end(now, now + 2 * second, never, 5), now + 2 * second);
  EXPECT_EQ(attempt_end(now, now + 1, never, 5), now + 1);
  EXPECT_EQ(attempt_end(now, now + second, 30 * ms, 5), now + 30 * ms);
  EXPECT_EQ(attempt_end(now, now + 10 * ms, 30 * ms, 5), now + 10 * ms);
  EXPECT_EQ(attempt_end(now, never, 30 * ms, 5), now + 30 * ms);
  EXPECT_EQ(attempt_end(now, never, 0, 5), now);
  EXPECT_EQ(attempt_end(now, never, -1, 5), now);
  EXPECT_EQ(attempt_end(now, never, never - 1, 1), never);
}

TEST(DialRace, OneFamilyIsTriedInTurnAndTheFirstErrorIsReported) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {refused}}, {four_b, {unreachable}}};
    failure f;
    w.race(plan_of({four_a, four_b}, {}), f);
    EXPECT_EQ(f.code, refused);
    EXPECT_EQ(f.what.to_string(), "dial tcp name:80 (10.0.0.1:80)");
    EXPECT_EQ(w.attempts.size(), 2u);
    w.answers[four_b] = {};
    EXPECT_TRUE(w.race(plan_of({four_a, four_b}, {}), f).is_open());
    w.attempts.clear();
    EXPECT_TRUE(w.race(plan_of({four_b, four_a}, {}), f).is_open());
    EXPECT_FALSE(w.tried(four_a));
  });
}

TEST(DialRace, AQuickPrimaryLeavesTheOtherFamilyAlone) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {{}, ms}}, {six_a, {}}};
    failure f;
    const nanotime begin = weft::sched::now();
    EXPECT_TRUE(w.race(plan_of({four_a}, {six_a}, 100 * second), f).is_open());
    EXPECT_LT(weft::sched::now() - begin, 50 * second);
    EXPECT_FALSE(w.tried(six_a));
  });
}

TEST(DialRace, ASilentPrimaryIsOvertakenAfterTheDelayAndStopped) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {{}, 100 * second}}, {six_a, {refused}}, {six_b, {}}};
    failure f;
    const nanotime begin = weft::sched::now();
    EXPECT_TRUE(w.race(plan_of({four_a, four_b}, {six_a, six_b}, 30 * ms), f).is_open());
    EXPECT_LT(weft::sched::now() - begin, 50 * second);
    ASSERT_EQ(w.attempts.size(), 3u);
    EXPECT_EQ(w.outcome_of(four_a), std::errc::operation_canceled);
    EXPECT_EQ(w.attempts[0].remote, six_a);
    EXPECT_GE(w.attempts[0].begin - begin, 30 * ms);
    EXPECT_FALSE(w.tried(four_b));
    EXPECT_FALSE(weft::sched::stop_requested());
  });
}

TEST(DialRace, FailedPrimariesBringTheOtherFamilyAtOnce) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {refused}}, {four_b, {unreachable}}, {six_a, {}}};
    failure f;
    const nanotime begin = weft::sched::now();
    EXPECT_TRUE(w.race(plan_of({four_a, four_b}, {six_a}, 100 * second), f).is_open());
    EXPECT_LT(weft::sched::now() - begin, 50 * second);
    EXPECT_EQ(w.attempts.back().remote, six_a);
  });
}

TEST(DialRace, ASlowPrimaryMayStillWin) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {{}, 40 * ms}}, {six_a, {{}, 100 * second}}};
    failure f;
    EXPECT_TRUE(w.race(plan_of({four_a}, {six_a}, ms), f).is_open());
    EXPECT_EQ(w.outcome_of(six_a), std::errc::operation_canceled);
  });
}

TEST(DialRace, WhenAllFailTheFirstPrimarysErrorIsReported) {
  on_fibers([] {
    for (const nanotime delay : {nanotime{0}, ms, 100 * second}) {
      world w;
      w.answers = {{four_a, {refused, 2 * ms}}, {four_b, {unreachable}}, {six_a, {unreachable}}};
      failure f;
      w.race(plan_of({four_a, four_b}, {six_a}, delay), f);
      EXPECT_EQ(f.code, refused);
      EXPECT_EQ(f.what.to_string(), "dial tcp name:80 (10.0.0.1:80)");
      EXPECT_EQ(w.attempts.size(), 3u);
    }
  });
}

TEST(DialRace, TheEndOfTheWholeEndsBothFamilies) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {{}, 100 * second}}, {six_a, {{}, 100 * second}}};
    for (const nanotime delay : {ms, 100 * second}) {
      w.attempts.clear();
      dial_plan plan = plan_of({four_a}, {six_a}, delay);
      plan.until = weft::sched::after(30 * ms);
      failure f;
      w.race(plan, f);
      EXPECT_GE(weft::sched::now(), plan.until);
      EXPECT_EQ(f.code, std::errc::timed_out);
      EXPECT_EQ(f.what.to_string(), "dial tcp name:80 (10.0.0.1:80)");
      EXPECT_EQ(w.tried(six_a), delay == ms);
    }
    dial_plan past = plan_of({four_a}, {six_a});
    past.until = 0;
    w.attempts.clear();
    failure f;
    w.race(past, f);
    EXPECT_EQ(f.code, std::errc::timed_out);
    EXPECT_TRUE(w.attempts.empty());
  });
}

TEST(DialRace, EachAddressGetsItsTime) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {{}, 100 * second}}, {four_b, {}}};
    dial_plan plan = plan_of({four_a, four_b}, {});
    plan.attempt = 5 * ms;
    failure f;
    EXPECT_TRUE(w.race(plan, f).is_open());
    EXPECT_EQ(w.outcome_of(four_a), std::errc::timed_out);
    plan.attempt = never;
    plan.until = weft::sched::after(40 * second);
    w.answers[four_a] = {refused};
    w.attempts.clear();
    EXPECT_TRUE(w.race(plan, f).is_open());
    ASSERT_EQ(w.attempts.size(), 2u);
    EXPECT_LE(w.attempts[0].until, w.attempts[0].begin + 20 * second);
    EXPECT_EQ(w.attempts[1].until, plan.until);
  });
}

TEST(DialRace, AStopEndsBothFamilies) {
  on_fibers([] {
    for (const nanotime delay : {nanotime{0}, 100 * second}) {
      world w;
      w.answers = {{four_a, {{}, 100 * second}}, {six_a, {{}, 100 * second}}};
      auto dial = weft::spawn([&] {
        failure f;
        w.race(plan_of({four_a}, {six_a}, delay), f);
        return f;
      });
      while (w.under_way != (delay == 0 ? 2 : 1)) weft::this_fiber::yield();
      dial.request_stop();
      const failure f = dial.join();
      EXPECT_EQ(f.code, std::errc::operation_canceled);
      EXPECT_EQ(f.what.to_string(), "dial tcp name:80 (10.0.0.1:80)");
    }
  });
}

TEST(DialRace, AStopWhileTheFallbacksAreLeftEndsThem) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {refused}}, {six_a, {{}, 100 * second}}};
    auto dial = weft::spawn([&] {
      failure f;
      w.race(plan_of({four_a}, {six_a}), f);
      return f.code;
    });
    while (w.attempts.empty() || w.under_way != 1) weft::this_fiber::yield();
    dial.request_stop();
    EXPECT_EQ(dial.join(), std::errc::operation_canceled);
  });
}

// Both connect at the same moment, and sometimes a stop comes in between: one connection or none, and on_fibers finds
// none forgotten.
TEST(DialRace, TwoWinnersLeaveOneConnection) {  // covers F88
  on_fibers([] {
    for (int i = 0; i < scaled(300); ++i) {
      world w;
      w.answers = {{four_a, {{}, (i % 7) * 10'000}}, {six_a, {{}, (i % 5) * 10'000}}};
      auto dial = weft::spawn([&] {
        failure f;
        tcp_conn conn = w.race(plan_of({four_a}, {six_a}, 0), f);
        if (conn.is_open()) conn.write("x", f.code);  // the stop may come as late as this
        return f.code;
      });
      if (i % 3 == 0) {
        if (i % 2 == 0) weft::this_fiber::yield();
        dial.request_stop();
      }
      const std::error_code code = dial.join();
      EXPECT_TRUE(!code || (i % 3 == 0 && code == std::errc::operation_canceled)) << code;
    }
  });
}

TEST(DialRace, WhatAConnectorThrowsComesOutAndTheOthersEnd) {
  on_fibers([] {
    world w;
    w.answers = {{four_a, {refused, ms}}, {six_a, {{}, 100 * second}}, {six_b, {}}};
    for (const endpoint& thrower : {four_a, six_a}) {
      failure f;
      EXPECT_THROW(static_cast<void>(weft::net::race(
                       plan_of({four_a}, {six_a}, 0),
                       [&](const endpoint& r, nanotime until, tcp_conn& c) -> std::error_code {
                         if (r == thrower) throw std::runtime_error("no");
                         return w.connect(r, until, c);
                       },
                       f)),
                   std::runtime_error);
      EXPECT_EQ(w.under_way, 0);
    }
  });
}

}  // namespace
