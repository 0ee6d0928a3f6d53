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
  // Whoever waits for the last of them may end what this object is in; so nothing is touched after that.
  void unlock() noexcept {
    channel_base** const first = first_;
    for (std::size_t i = n_; i > 0; --i) first[i - 1]->lock.unlock();
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
    const pins keep(s_);
    if (otherwise_ == none && sched::stop_requested()) throw_canceled("select");
    if (const std::size_t i = attempt(); i != none) return i;
    if (otherwise_ != none) return otherwise_;
    if (timeout_ != none && until() <= sched::now()) return timeout_;
    for (std::size_t i = 0;;) {
      bool passed = false;
      {
        const sched::deadline_link in_time(until());
        i = wait_until_stopped(0);
        passed = in_time.passed();
      }
      if (i != none) return i;
      if (sched::stop_requested()) throw_canceled("select");
      if (const std::size_t stopped = stopped_case(); stopped != none) return stopped;
      if (passed) return timeout_;
    }
  }

 private:
  sched::nanotime until() const noexcept { return timeout_ == none ? sched::never : s_.cases[timeout_]->when; }

  void shuffle() noexcept {
    for (std::size_t i = 0; i < s_.n; ++i) {
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
  std::size_t attempt_locked(wake_list& wake) {
    for (std::size_t k = 0; k < s_.n; ++k) {
      select_case& c = *s_.cases[s_.order[k]];
      if (c.kind == case_kind::stop && c.token.stop_requested()) return s_.order[k];
      if (c.channel == nullptr) continue;
      c.outcome = c.attempt(c, wake);
      if (c.outcome != sched::verdict::pending) return s_.order[k];
    }
    return none;
  }
  std::size_t attempt() {
    held h(locks_);
    return attempt_locked(h.wake);
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
      {
        held h(locks_);
        if (const std::size_t i = attempt_locked(h.wake); i != none) return i;
        for (std::size_t k = 0; k < s_.n; ++k) {  // as shuffled: of one channel's cases, the first is found
          select_case& c = *s_.cases[s_.order[k]];
          if (c.channel == nullptr) continue;
          c.node.of = &waiting;
          (c.channel->*c.queue).push(c.node);
        }
        h.release();
      }
      // Without a lock that the commit is the last to let go of, nothing keeps us until it is through: it touches nothing.
      constexpr auto unlock = [](void* locks) noexcept {
        if (locks != nullptr) static_cast<channel_locks*>(locks)->unlock();
      };
      const sched::verdict v = waiting.wait(unlock, locks_.empty() ? nullptr : &locks_, sched::wait_reason::select);
      const std::size_t won = leave(waiting.winner());
      if (v == sched::verdict::canceled) return none;
      if (v == sched::verdict::again) continue;
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
      if (c.channel == nullptr) continue;
      (c.channel->*c.queue).leave(c.node);
      if (&c.node == winner) won = i;
    }
    locks_.unlock();
    return won;
  }

  // pins keep the channels: their handles may go while we wait, or as soon as our value has arrived.
  class pins {
   public:
    explicit pins(const select_scratch& s) noexcept : s_(s) { set(true); }
    ~pins() { set(false); }
    pins(const pins&) = delete;
    pins& operator=(const pins&) = delete;

   private:
    void set(bool on) noexcept {
      for (std::size_t i = 0; i < s_.n; ++i) {
        if (s_.cases[i]->channel != nullptr) s_.cases[i]->pin(*s_.cases[i]->channel, on);
      }
    }
    const select_scratch& s_;
  };

  // held is all locks, and whom to wake when they are let go of.
  struct held {
    explicit held(channel_locks& l) noexcept : locks(&l) { l.lock(); }
    ~held() {
      if (locks == nullptr) return;
      locks->unlock();
      wake.deliver();
    }
    held(const held&) = delete;
    held& operator=(const held&) = delete;
    void release() noexcept { locks = nullptr; }

    channel_locks* locks;
    wake_list wake;
  };

  const select_scratch& s_;
  channel_locks locks_;
  std::size_t otherwise_ = none;
  std::size_t timeout_ = none;
};

}  // namespace

std::size_t select_one(const select_scratch& s) { return selecting(s).run(); }

}  // namespace weft::inline v0::detail
