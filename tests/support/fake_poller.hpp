// fake_poller: a netpoller without descriptors. What is readable is an event that a test fires.
#pragma once

#include <futex.hpp>

#include <weft/sched/netpoller.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/spin_lock.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>

namespace weft::testing {

// poll_event is one thing to wait for, once at a time: 0 nothing | happened | the waiter that is parked on it.
struct poll_event : sched::cancel_site {
  static constexpr std::uintptr_t happened = 2;
  std::atomic<std::uintptr_t> word{0};
};

class fake_poller final : public sched::netpoller {
 public:
  // wait parks until the event has happened; false if the caller was stopped. Fibers and threads.
  bool wait(poll_event& e) noexcept {
    e.cancel = [](sched::cancel_site& site, sched::waiter w) noexcept {
      std::uintptr_t expected = w.bits();
      if (static_cast<poll_event&>(site).word.compare_exchange_strong(expected, 0)) sched::ready(w);
    };
    waiting_.fetch_add(1);
    bool stopped = false;
    while (e.word.load() != poll_event::happened && !stopped) {
      if (!sched::announce(e)) {
        stopped = true;
        break;
      }
      sched::park({lie_down, &e}, sched::wait_reason::read);
      sched::withdraw();
      stopped = e.word.load() != poll_event::happened && sched::stop_requested();
    }
    waiting_.fetch_sub(1);
    if (!stopped) e.word.store(0);
    return !stopped;
  }

  // fire makes the event happen; the next netpoll reports it. Any thread.
  void fire(poll_event& e) noexcept {
    std::lock_guard guard(lock_);
    fired_.push_back(&e);
    signals_.fetch_add(1);
    sched::futex_wake(&signals_, 1);
  }

  void netpoll(sched::nanotime delay, sched::ready_list& out) noexcept override {
    ++polls;
    if (delay != 0) {
      const int inside = asleep_.fetch_add(1) + 1;
      most_asleep.store(std::max(most_asleep.load(), inside));
      const sched::nanotime until = sched::after(delay);
      for (;;) {
        const std::uint32_t seen = signals_.load();
        if (broken_.exchange(false)) break;
        if (collect(out) || sched::now() >= until) break;
        sched::futex_wait(signals_, seen, until);
      }
      asleep_.fetch_sub(1);
    } else {
      collect(out);
    }
  }

  void delivered(std::size_t count) noexcept override { undelivered_.fetch_sub(count); }

  void netpollbreak() noexcept override {
    ++breaks;
    broken_.store(true);
    signals_.fetch_add(1);
    sched::futex_wake(&signals_, 1);
  }

  bool any_waiters() const noexcept override { return waiting_.load() != 0 || undelivered_.load() != 0; }

  bool asleep() const noexcept { return asleep_.load() != 0; }
  std::size_t undelivered() const noexcept { return undelivered_.load(); }

  std::atomic<std::uint64_t> polls{0};
  std::atomic<std::uint64_t> breaks{0};
  std::atomic<int> most_asleep{0};  // threads that were in a waiting netpoll at once

 private:
  static bool lie_down(sched::waiter self, void* object, std::uintptr_t) noexcept {
    std::uintptr_t nothing = 0;
    return static_cast<poll_event*>(object)->word.compare_exchange_strong(nothing, self.bits());
  }

  bool collect(sched::ready_list& out) noexcept {
    std::lock_guard guard(lock_);
    bool any = false;
    while (!fired_.empty() && out.count < out.items.size()) {
      poll_event* e = fired_.front();
      fired_.pop_front();
      any = true;
      const std::uintptr_t before = e->word.exchange(poll_event::happened);
      if (before == 0 || before == poll_event::happened) continue;
      undelivered_.fetch_add(1);
      out.push(sched::waiter::from_bits(before));
    }
    return any;
  }

  sched::spin_lock lock_;
  std::deque<poll_event*> fired_;  // guarded by lock_
  std::atomic<std::uint32_t> signals_{0};
  std::atomic<bool> broken_{false};
  std::atomic<int> asleep_{0};
  std::atomic<int> waiting_{0};
  std::atomic<std::size_t> undelivered_{0};
};

}  // namespace weft::testing
