// What tests do to a poll_desc from outside: let deadlines pass and go, and wait until somebody has parked on a gate.
#pragma once

#include <poll_cache.hpp>
#include <poll_desc.hpp>

#include <open_file.hpp>

#include <weft/sched/park.hpp>

namespace weft::testing {

// TEST_expire does what a deadline's callback does.
inline void TEST_expire(poll::poll_desc& pd, poll::mode m) {
  pd.lock.lock();
  (m == poll::mode::read ? pd.rd : pd.wd) = -1;
  pd.publish_locked();
  pd.cancel_and_unlock(m == poll::mode::read, m == poll::mode::write);
}

// TEST_clear takes the deadline away again.
inline void TEST_clear(poll::poll_desc& pd, poll::mode m) {
  pd.lock.lock();
  (m == poll::mode::read ? pd.rd : pd.wd) = 0;
  pd.publish_locked();
  pd.lock.unlock();
}

inline poll::poll_desc& TEST_poll_desc_of(poll::descriptor& d) { return *poll::open_file::of(d).pd; }

// TEST_await_parked returns when somebody is parked on that direction; TEST_await_queued when n calls queue for its
// lock. From fibers and from threads.
inline void TEST_await_parked(poll::poll_desc& pd, poll::mode m) {
  while (pd.gate_of(m).peek() <= poll::pdWait) sched::yield();
}
inline void TEST_await_parked(poll::descriptor& d, poll::mode m) { TEST_await_parked(TEST_poll_desc_of(d), m); }
inline void TEST_await_queued(poll::descriptor& d, poll::mode m, std::uint32_t n) {
  using mutex = poll::fd_mutex;
  const auto one = m == poll::mode::read ? mutex::read_wait : mutex::write_wait;
  while (mutex::count(poll::open_file::of(d).mutex.peek(), one) < n) sched::yield();
}

}  // namespace weft::testing
