// runtime_state: what a runtime consists of, and who keeps it from ending.
#pragma once

#include <weft/netpoll/poller.hpp>
#include <weft/runtime.hpp>
#include <weft/sched/scheduler.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace weft::inline v0 {

namespace detail {

// runtime_state ends in this order: closed to everybody but its own fibers, stop requested, no hold, no live fiber,
// poller shut down, threads joined. The last step waits for the last guard of enter(): the thread that holds one has
// the scheduler's address as its current one, which must not become another scheduler's.
//
// Fibers of the runtime need no hold on it: while one is live, the end does not come. Everybody else is counted.
// Thread-safe. Owned by the runtime and the guards.
class runtime_state {
 public:
  explicit runtime_state(const runtime_options& options);
  ~runtime_state();
  runtime_state(const runtime_state&) = delete;
  runtime_state& operator=(const runtime_state&) = delete;

  // hold keeps the end off until drop. False once the runtime has closed.
  [[nodiscard]] bool hold();
  void drop() noexcept;

  [[nodiscard]] bool enter();
  void leave() noexcept;

  // stop_by is runtime::stop. True once everything that can end has ended.
  bool stop_by(sched::nanotime deadline);

  runtime_stats stats() const;

  // hold_of returns the runtime of s with a hold on it. Null if it has none, or has closed.
  [[nodiscard]] static runtime_state* hold_of(const sched::scheduler* s);
  // mine returns the runtime of s. REQUIRES: the caller is a fiber of s.
  static runtime_state& mine(const sched::scheduler* s) noexcept;
  // count_unjoined counts an exception in the runtime of s, if that still exists.
  static void count_unjoined(const sched::scheduler* s) noexcept;

  // for_each calls visit(scheduler) for every runtime of the process that is not destroyed yet; none is meanwhile.
  template <class Visit>
  static void for_each(Visit&& visit) {
    std::vector<kept_runtime> all = keep_all();
    for (kept_runtime& each : all) visit(*each->scheduler());
  }

  // ask_any_for_report has some monitor write a dump. False: there is none, or the list is being changed.
  static bool ask_any_for_report() noexcept;

  // Whether stop was called.
  bool closed() const;

  // Null once it is destroyed. A fiber may compare it with its own: that one exists.
  sched::scheduler* scheduler() const noexcept { return scheduler_.load(std::memory_order_relaxed); }
  const runtime_options& options() const noexcept { return options_; }
  const std::shared_ptr<poll::poller>& poller() const noexcept { return poller_; }

 private:
  friend struct debugger_access;

  // keep_all keeps every scheduler, those that are being stopped too, until drop_keep.
  void drop_keep() noexcept;
  struct keep_dropper {
    void operator()(runtime_state* r) const noexcept { r->drop_keep(); }
  };
  using kept_runtime = std::unique_ptr<runtime_state, keep_dropper>;
  static std::vector<kept_runtime> keep_all();

  static runtime_state* find_locked(const sched::scheduler* s) noexcept;
  void destroy() noexcept;
  bool drain(sched::nanotime deadline) noexcept;

  // Constant; the poller until destroy.
  runtime_options options_;
  std::shared_ptr<poll::poller> poller_;

  // Order: relaxed. Written at both ends of the life only, and used by whoever keeps the end off.
  std::atomic<sched::scheduler*> scheduler_{nullptr};

  // Guarded by the lock of the list of runtimes, which is taken before mutex_.
  runtime_state* next_ = nullptr;
  std::uint64_t unjoined_ = 0;

  std::mutex stopping_;  // one stop at a time; taken before the other locks

  mutable std::mutex mutex_;
  std::condition_variable dropped_;
  // Guarded by mutex_.
  unsigned holds_ = 0;
  unsigned guards_ = 0;
  unsigned keeps_ = 0;
  bool closed_ = false;   // nobody starts anything from outside any more
  bool drained_ = false;  // no fiber is left; only the guards keep the scheduler
  bool destroyed_ = false;
  sched::scheduler_stats last_{};
  std::vector<sched::processor_stats> last_processors_;
};

}  // namespace detail

}  // namespace weft::inline v0
