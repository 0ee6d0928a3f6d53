// park and ready: the two halves of every wait.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/atomic.hpp>
#include <weft/sched/waiter.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>

namespace weft::inline v0::sched {

// Why a fiber is parked.
enum class wait_reason : std::uint8_t {
  none,
  yield,
  read,
  write,
  read_turn,   // in line behind another reader of the same descriptor
  write_turn,  // likewise
  close,
  sleep,
  tick,
  join,
  mutex,
  shared_mutex,
  condition,
  semaphore,
  event,
  latch,
  barrier,
  once,
  wait_group,
  group_place,  // in a task_group with a limit
  group_end,
  blocking_slot,
  channel_send,
  channel_receive,
  select,
};
inline constexpr std::size_t wait_reasons = static_cast<std::size_t>(wait_reason::select) + 1;

// wait_target is what a caller waits for, kept in its control block for whoever looks at it: the object, where there is
// one, in the form that runtime's `describe_wait` knows for the reason. Whoever looks does so while the waiter cannot go
// on, so that the object exists as long as its rules of use are kept; but of a channel
// only the address counts, since it may be gone as soon as its last waiter was claimed.
struct wait_target {
  constexpr wait_target(wait_reason r, const void* o = nullptr) noexcept : why(r), object(o) {}

  wait_reason why;
  const void* object;
};

// commit is what makes a parked waiter findable: a compare and swap that publishes it, the unlocking of a list.
//
// For a fiber, run is called after its registers are saved, on the stack of whatever runs next; for a plain thread,
// just before it blocks. It gets the waiter and the two words given here, all by value. It returns true if the waiter
// is to stay parked and false if the wait is over already (it then becomes runnable at once; park returns as usual).
// From the moment it has published the waiter, which may be running elsewhere by then, it touches nothing of it: not
// the fiber, not its stack. It must not park, and it allocates nothing.
struct commit {
  bool (*run)(waiter self, void* object, std::uintptr_t word) noexcept;
  void* object = nullptr;
  std::uintptr_t word = 0;
};

// park suspends the caller until somebody calls ready() with its waiter, once for each commit that published it.
// Whoever did may have done so for another reason than the one hoped for (a stop, a close): every caller re-checks.
// On a fiber other fibers run meanwhile, and the caller may come back on another thread; on a plain thread, or inside
// a blocking region, it blocks the thread.
WEFT_API void park(const commit& c, wait_target what) noexcept;

// ready hands over a waiter that the caller owns: a fiber becomes runnable, a thread wakes. The caller touches neither
// afterwards. Any thread, any fiber, any scheduler; no allocation.
WEFT_API void ready(waiter w) noexcept;

// on_worker tells whether the caller's thread is a worker's: all fibers are, inside a blocking region too.
WEFT_API bool on_worker() noexcept;

// yield lets the other runnable fibers of this processor go first. On a plain thread it yields the thread.
WEFT_API void yield() noexcept;

// checkpoint is yield for a fiber that has run for 10 ms or more, and nothing for others. Costs some loads.
WEFT_API void checkpoint() noexcept;

// Cancellation of a parked fiber
//
// A stop request sets a flag in the fiber that stands from then on, and takes the fiber out of where it is parked.
// A park that can be ended so announces first how to remove its waiter:
//     if (!announce(site)) return canceled;  park(...);  withdraw();  if (stop_requested()) return canceled;
// cancel() removes exactly that waiter from the site's published word (a compare and swap against its bits, so that
// a late call for a wait that is over does nothing) and, if it won, passes it to ready(). It may be called at any time
// between announce and withdraw, though the wait is over; withdraw waits for calls that are under way.
struct cancel_site {
  void (*cancel)(cancel_site& site, waiter w) noexcept;
};

// Which stops end a wait: any that stands, or only those of the caller's wait_links.
enum class ended_by : std::uint8_t { any_stop, links };

// announce publishes how the caller can be taken out of the wait that it is about to begin, and by what. It returns
// false if such a stop stands already: the caller must not park.
[[nodiscard]] WEFT_API bool announce(cancel_site& site, ended_by stops = ended_by::any_stop) noexcept;

// withdraw ends what announce began.
WEFT_API void withdraw() noexcept;

// What becomes of the stack below a wait that lasts for over a second (idle_stack.hpp).
enum class idle_stack : std::uint8_t { kept, given_back };

// wait_form is what all waits of one kind have in common.
struct wait_form {
  bool (*publish)(waiter self, void* object, std::uintptr_t word) noexcept;  // the commit; its word is 0
  wait_reason why;
  idle_stack idle = idle_stack::kept;
};

// park_at is the three in one, for whoever asks stop_requested afterwards in any case: if a stop stands, the park ends as
// soon as it has begun. `object` is the commit's, and what is waited for.
WEFT_API void park_at(cancel_site& site, void* object, const wait_form& form) noexcept;

// stop_requested tells whether a stop of the caller stands: of its fiber, inside a blocking region too, or of one of
// the wait_links that exist. Clean-up code is not cancelled: while the caller unwinds, only links count that were made
// since the exception was thrown; likewise within `shielded`.
WEFT_API bool stop_requested() noexcept;

// link_fired tells whether one of the caller's wait_links has stopped its waits; of those that count, as said.
WEFT_API bool link_fired() noexcept;

// uninterrupted keeps every stop from the caller while it exists: waits that must not be ended, such as the locking
// that ends the wait for a condition. Lives on the stack of one fiber or thread.
class WEFT_API uninterrupted {
 public:
  uninterrupted() noexcept;
  ~uninterrupted() { --*depth_; }
  uninterrupted(const uninterrupted&) = delete;
  uninterrupted& operator=(const uninterrupted&) = delete;

 private:
  std::uint32_t* depth_;
};

// shielded keeps the stops from the caller that come from outside of it: while it exists, only wait_links count that
// were made inside. Lives on the stack of one fiber or thread; nests.
class WEFT_API shielded {
 public:
  shielded() noexcept;
  ~shielded() { --*depth_; }
  shielded(const shielded&) = delete;
  shielded& operator=(const shielded&) = delete;

 private:
  std::uint32_t* depth_;
};

struct stop_state;  // sched/src/stop_state.hpp

// Where a link comes from: of its caller's own making, or given to the calling fiber by whoever started it. The latter
// has no effect any more once the fiber's handle was detached.
enum class link_origin : std::uint8_t { own, inherited };

// wait_link is what stop_link and deadline_link have in common: something outside that stops the waits that the caller
// begins or is in while the link exists, as a stop of its fiber would. On a plain thread too. Links nest.
// Lives on the stack of one fiber or thread; destroyed there, innermost first.
class WEFT_API wait_link {
 public:
  wait_link(const wait_link&) = delete;
  wait_link& operator=(const wait_link&) = delete;

 protected:
  wait_link() noexcept = default;
  ~wait_link() = default;

  // attach makes this the caller's innermost link. detach undoes it; whoever may fire has finished by then.
  void attach(link_origin origin = link_origin::own) noexcept;
  void detach() noexcept;
  bool attached() const noexcept { return stops_ != nullptr; }

  // fire stops the waits. Any thread, between attach and detach.
  void fire() noexcept;
  bool fired() const noexcept { return fired_.load(std::memory_order_seq_cst); }

 private:
  friend struct stoppable;

  stop_state* stops_ = nullptr;  // of the fiber or thread; null: not attached
  wait_link* outer_ = nullptr;
  const fiber* inherited_ = nullptr;  // by which fiber
  std::uint32_t depth_ = 0;           // how many unwindings and shields there were when it was made
  atomic<bool> fired_{false};
};

// stop_link lets a token stop the caller's waits. A token that has no source costs nothing.
class WEFT_API stop_link : private wait_link {
 public:
  explicit stop_link(const std::stop_token& token, link_origin origin = link_origin::own) noexcept;
  ~stop_link();

 private:
  struct trigger {
    stop_link* link;
    void operator()() const noexcept { link->fire(); }  // on whatever thread asks the source to stop
  };

  std::optional<std::stop_callback<trigger>> callback_;
};

}  // namespace weft::inline v0::sched
