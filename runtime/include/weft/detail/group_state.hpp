// group_state: a task_group, but for the types of its tasks. Included by task_group.hpp.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/spin_lock.hpp>
#include <weft/sched/wait_queue.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft::inline v0::detail {

// group_state counts the tasks of a group, keeps its first failure and its stop. Thread-safe as task_group says.
// A task's leave() is its last access; whoever has seen the count at 0, under guard_, may destroy the group.
class WEFT_API group_state {
 public:
  group_state(const group_state&) = delete;
  group_state& operator=(const group_state&) = delete;

  // By a copy: the last task may end meanwhile, and the group with it.
  void request_stop() noexcept { get_stop_source().request_stop(); }
  std::stop_source get_stop_source() const noexcept { return stop_; }
  std::stop_token get_stop_token() const noexcept { return stop_.get_token(); }
  std::size_t size() const noexcept {
    const std::lock_guard guard(guard_);
    return count_;
  }

 protected:
  explicit group_state(std::size_t limit);
  ~group_state() = default;

  // admit takes a place for a task, waiting for one at the limit; try_admit doesn't wait.
  void admit();
  [[nodiscard]] bool try_admit() noexcept;
  // fail records the exception being handled, and stops the group; not if it is the answer to that stop.
  void fail() noexcept;
  // leave gives the place of a task back.
  void leave() noexcept;

  // entry gives the place back unless the task is started.
  class entry {
   public:
    explicit entry(group_state& g) noexcept : group_(&g) {}
    ~entry() {
      if (group_ != nullptr) group_->leave();
    }
    entry(const entry&) = delete;
    entry& operator=(const entry&) = delete;
    void started() noexcept { group_ = nullptr; }

   private:
    group_state* group_;
  };

  // Of the owner: wait for the last task; throw the first failure; do what a destructor has to.
  void wait_or_throw();
  void rethrow_failure();
  void settle() noexcept;

 private:
  sched::verdict wait() noexcept;

  const std::size_t limit_;
  const int unwinding_;  // std::uncaught_exceptions() at the beginning
  std::stop_source stop_;
  mutable sched::spin_lock guard_;
  // Guarded by guard_
  std::size_t count_ = 0;  // of places taken
  sched::wait_queue places_;      // who waits for one; only at the limit
  sched::wait_queue joiners_;     // who waits for none to be left
  std::exception_ptr failure_;
};

// group_results keeps what the tasks of a group return, in the order in which they were added. Thread-safe but for
// take.
template <class R>
class group_results {
 public:
  struct slot {
    template <class U>
    void fill(U&& value) {
      result.emplace(std::forward<U>(value));
    }
    std::optional<R> result;  // nothing: its task did not start
    std::unique_ptr<slot> next;
  };

  group_results() noexcept = default;
  group_results(group_results&& other) noexcept
      : first_(std::move(other.first_)), last_(std::exchange(other.last_, nullptr)) {}
  ~group_results() { clear(); }

  slot* add() {
    auto made = std::make_unique<slot>();
    slot* const added = made.get();
    const std::lock_guard guard(guard_);
    (last_ != nullptr ? last_->next : first_) = std::move(made);
    last_ = added;
    return added;
  }
  group_results take() noexcept {
    const std::lock_guard guard(guard_);
    return std::move(*this);
  }
  void clear() noexcept {
    while (first_ != nullptr) first_ = std::move(first_->next);  // not by recursion
    last_ = nullptr;
  }
  std::vector<R> values() {
    std::vector<R> all;
    for (slot* each = first_.get(); each != nullptr; each = each->next.get()) {
      if (each->result) all.push_back(std::move(*each->result));
    }
    return all;
  }

 private:
  sched::spin_lock guard_;
  std::unique_ptr<slot> first_;  // guarded by guard_
  slot* last_ = nullptr;         // likewise
};

template <>
class group_results<void> {
 public:
  struct slot {};
  static slot* add() noexcept { return nullptr; }
  static void clear() noexcept {}
};

}  // namespace weft::inline v0::detail
