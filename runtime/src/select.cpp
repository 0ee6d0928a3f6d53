#include <weft/select.hpp>

#include "io_error.hpp"

#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/random.hpp>
#include <weft/sched/selection.hpp>

#include <algorithm>
#include <functional>
#include <utility>

namespace weft::inline v0::detail {

namespace {

constexpr std::size_t none = static_cast<std::size_t>(-1);

// channel_locks are those of all channels of a select, each once, in the order of their addresses.
class channel_locks {
 public:
  explicit channel_locks(const select_scratch& s) noexcept : first_(s.locks) {
    for (std::size_t i = 0; i < s.n; ++i) {
      if (s.cases[i]->channel != nullptr) first_[n_++] = s.cases[i]->channel;
    }
    std::sort(first_, first_ + n_, std::less<>());
    n_ = static_cast<std::size_t>(std::unique(first_, first_ + n_) - first_);
  }
  bool empty() const noexcept { return n_ == 0; }
  void lock() noexcept {
    for (std::size_t i = 0; i < n_; ++i) first_[i]->lock.lock();
  }
  // Whoever waits for the last of them may end what this object is in; so nothing is touched after that. That is `last`,
  // if given: who takes the value that it was sent may let go of all channels at once.
  void unlock(channel_base* last = nullptr) noexcept {
    channel_base** const first = first_;
    for (std::size_t i = n_; i > 0; --i) {
      if (first[i - 1] != last) first[i - 1]->lock.unlock();
    }
    if (last != nullptr) last->lock.unlock();
  }

 private:
  channel_base** first_;
  std::size_t n_ = 0;
};

class selecting {
 public:
  explicit selecting(const select_scratch& s) noexcept : s_(s), locks_(s) {
    for (std::size_t i = 0; i < s.n; ++i) {
      select_case& c = *s.cases[i];
      if (c.kind == case_kind::otherwise) otherwise_ = i;
      if (c.kind == case_kind::timeout && (timeout_ == none || c.when < until())) timeout_ = i;
    }
    shuffle();
  }

  std::size_t run() {
    if (otherwise_ == none && sched::stop_requested()) throw_canceled("select");
    if (const std::size_t i = attempt_at_once(); i != none) return i;
    if (otherwise_ != none) return otherwise_;
    if (timeout_ != none && until() <= sched::now()) return timeout_;
    const pins keep(s_);
    for (std::size_t i = 0;;) {
      bool passed = false;
      wake_at_ = std::min(until(), next_tick());
      {
        const sched::deadline_link in_time(wake_at_);
        i = wait_until_stopped(0);
        passed = in_time.passed();
      }
      if (i != none) return i;
      if (sched::stop_requested()) throw_canceled("select");
      if (const std::size_t stopped = stopped_case(); stopped != none) return stopped;
      if (passed && timeout_ != none && until() <= wake_at_) {
        if (i = attempt(); i != none) return i;
        return timeout_;
      }
      // Else a tick is due, if nobody else takes it; or a clock was set to an earlier time.
    }
  }

 private:
  sched::nanotime until() const noexcept { return timeout_ == none ? sched::never : s_.cases[timeout_]->when; }

  // When the first of the clocks is due.
  sched::nanotime next_tick() const noexcept {
    sched::nanotime first = sched::never;
    for (std::size_t i = 0; i < s_.n; ++i) {
      const select_case& c = *s_.cases[i];
      if (c.kind == case_kind::clock) first = std::min(first, static_cast<clock_state*>(c.channel)->next());
    }
    return first;
  }
  // Whether that would be slept through. The locks are held.
  bool due_before_waking_locked() const noexcept {
    for (std::size_t i = 0; i < s_.n; ++i) {
      const select_case& c = *s_.cases[i];
      if (c.kind == case_kind::clock && static_cast<clock_state*>(c.channel)->next_locked() < wake_at_) return true;
    }
    return false;
  }

  void shuffle() noexcept {
    if (s_.n > 0) s_.order[0] = 0;
    for (std::size_t i = 1; i < s_.n; ++i) {
      s_.order[i] = static_cast<std::uint16_t>(i);
      std::swap(s_.order[i], s_.order[sched::random_below(static_cast<std::uint32_t>(i + 1))]);
    }
  }

  // A stop that a case waits for, as good as any other case.
  std::size_t stopped_case() const noexcept {
    for (std::size_t k = 0; k < s_.n; ++k) {
      const select_case& c = *s_.cases[s_.order[k]];
      if (c.kind == case_kind::stop && c.token.stop_requested()) return s_.order[k];
    }
    return none;
  }

  // The first case in the shuffled order that can go on, its transfer made; or none. The locks are held.
  std::size_t attempt_locked(sched::wake_list& wake) {
    for (std::size_t k = 0; k < s_.n; ++k) {
      select_case& c = *s_.cases[s_.order[k]];
      if (c.kind == case_kind::stop && c.token.stop_requested()) return s_.order[k];
      if (c.kind == case_kind::readiness && c.outcome == sched::verdict::done) return s_.order[k];
      if (c.channel == nullptr) continue;
      c.outcome = c.attempt(c, wake);
      if (c.outcome != sched::verdict::pending) return s_.order[k];
    }
    return none;
  }
  std::size_t attempt() {
    look_at_descriptors();
    held h(locks_);
    const std::size_t i = attempt_locked(h.wake);
    if (i != none) h.last = s_.cases[i]->channel;
    return i;
  }

  // As long as nobody waits, only descriptors need be kept.
  std::size_t attempt_at_once() {
    const descriptor_pins keep(s_);
    return attempt();
  }

  // Asks the system, with no lock held, which descriptors are ready.
  void look_at_descriptors() noexcept {
    for (std::size_t i = 0; i < s_.n; ++i) {
      select_case& c = *s_.cases[i];
      if (c.kind != case_kind::readiness) continue;
      c.outcome = c.watched->ready() ? sched::verdict::done : sched::verdict::pending;
    }
  }

  // Waits with a link for each token from the k-th case on; none if one of them, or the caller's stop, ended it.
  std::size_t wait_until_stopped(std::size_t k) {
    while (k < s_.n && s_.cases[k]->kind != case_kind::stop) ++k;
    if (k == s_.n) return wait();
    const sched::stop_link link(s_.cases[k]->token);
    return wait_until_stopped(k + 1);
  }

  std::size_t wait() {
    for (;;) {
      sched::selection waiting;
      // Descriptors first: what happens to one after it is watched claims the selection, what was before is seen now.
      const watching watched(s_, waiting);
      look_at_descriptors();
      {
        held h(locks_);
        const std::size_t i = attempt_locked(h.wake);
        if (i != none || due_before_waking_locked()) return i;
        for (std::size_t k = 0; k < s_.n; ++k) {  // as shuffled: of one channel's cases, the first is found
          select_case& c = *s_.cases[s_.order[k]];
          if (c.channel == nullptr) continue;
          c.node.of = &waiting;
          (c.channel->*c.queue).push(c.node);
        }
        h.release();
      }
      // Without a lock that the commit is the last to let go of, nothing keeps us until it is through: it touches
      // nothing.
      constexpr auto unlock = [](void* locks) noexcept {
        if (locks != nullptr) static_cast<channel_locks*>(locks)->unlock();
      };
      const sched::verdict v = waiting.wait(unlock, locks_.empty() ? nullptr : &locks_, {sched::wait_reason::select, &s_});
      const std::size_t won = leave(waiting.winner());
      if (v == sched::verdict::canceled) return none;
      if (v == sched::verdict::again) continue;
      // What a descriptor is told may be true no more, or may have been meant for another use of its slot.
      if (s_.cases[won]->watched != nullptr && !s_.cases[won]->watched->ready()) continue;
      s_.cases[won]->outcome = v;
      return won;
    }
  }

  // leave takes the nodes out of the queues that they are still in, and tells which case's is `winner`.
  std::size_t leave(const void* winner) noexcept {
    std::size_t won = none;
    locks_.lock();
    for (std::size_t i = 0; i < s_.n; ++i) {
      select_case& c = *s_.cases[i];
      if (c.watched != nullptr && c.watched->node() == winner) won = i;
      if (c.channel == nullptr) continue;
      (c.channel->*c.queue).leave(c.node);
      if (&c.node == winner) won = i;
    }
    locks_.unlock();
    return won;
  }

  // watching lets the descriptors tell a selection. One that does so after the last look, though another case goes
  // on, is not lost: what made it ready stays.
  class watching {
   public:
    watching(const select_scratch& s, sched::selection& waiting) noexcept : s_(s), waiting_(waiting) {
      for (std::size_t i = 0; i < s_.n; ++i) {
        if (s_.cases[i]->watched != nullptr) s_.cases[i]->watched->enter(waiting_);
      }
    }
    ~watching() {
      bool over = false;
      for (std::size_t i = 0; i < s_.n; ++i) {
        if (s_.cases[i]->watched == nullptr) continue;
        if (!std::exchange(over, true)) static_cast<void>(waiting_.abandon());  // it is already, as a rule
        s_.cases[i]->watched->leave();
      }
    }
    watching(const watching&) = delete;
    watching& operator=(const watching&) = delete;

   private:
    const select_scratch& s_;
    sched::selection& waiting_;
  };

  // descriptor_pins keep the descriptors.
  class descriptor_pins {
   public:
    explicit descriptor_pins(const select_scratch& s) noexcept : s_(s) {
      for (std::size_t i = 0; i < s_.n; ++i) {
        if (s_.cases[i]->watched != nullptr) s_.cases[i]->watched->pin();
      }
    }
    ~descriptor_pins() {
      for (std::size_t i = 0; i < s_.n; ++i) {
        if (s_.cases[i]->watched != nullptr) s_.cases[i]->watched->unpin();
      }
    }
    descriptor_pins(const descriptor_pins&) = delete;
    descriptor_pins& operator=(const descriptor_pins&) = delete;

   private:
    const select_scratch& s_;
  };

  // pins keep the channels too, whose handles may go while we wait, or as soon as our value has arrived.
  class pins {
   public:
    explicit pins(const select_scratch& s) noexcept : s_(s), descriptors_(s) { set(true); }
    ~pins() { set(false); }
    pins(const pins&) = delete;
    pins& operator=(const pins&) = delete;

   private:
    void set(bool on) noexcept {
      for (std::size_t i = 0; i < s_.n; ++i) {
        select_case& c = *s_.cases[i];
        if (c.pin != nullptr && c.channel != nullptr) c.pin(*c.channel, on);
      }
    }
    const select_scratch& s_;
    descriptor_pins descriptors_;
  };

  // held is all locks, and whom to wake when they are let go of.
  struct held {
    explicit held(channel_locks& l) noexcept : locks(&l) { l.lock(); }
    ~held() {
      if (locks == nullptr) return;
      locks->unlock(last);
      wake.deliver();
    }
    held(const held&) = delete;
    held& operator=(const held&) = delete;
    void release() noexcept { locks = nullptr; }

    channel_locks* locks;
    channel_base* last = nullptr;  // whose transfer was made
    sched::wake_list wake;
  };

  const select_scratch& s_;
  channel_locks locks_;
  std::size_t otherwise_ = none;
  std::size_t timeout_ = none;
  sched::nanotime wake_at_ = sched::never;  // when the wait is interrupted, if by nothing else
};

}  // namespace

std::size_t select_one(const select_scratch& s) { return selecting(s).run(); }

}  // namespace weft::inline v0::detail
