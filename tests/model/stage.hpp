// stage: where the library's own sources run in every interleaving.
//
// Model programs compile selection.cpp, park.cpp, mutex.cpp, channel.cpp and so on as they are. Three things are
// replaced: the words and spin locks (include/weft/sched/), by those of the explorer; what suspends and wakes a thread
// or a fiber, by the explorer's parking places; the clock, by a word that an actor moves on.
#pragma once

#include <support/explore.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace weft::testing {

// What the waiters are played as, and who looks after their deadlines: threads that look at the clock as they wait,
// threads with the timers of a scheduler that they have entered, or fibers with those of theirs. A fiber's commit is
// run by another actor, its worker; so that the fiber may go on before the commit has returned.
enum class as { threads, threads_with_timers, fibers };

// stage is the threads, fibers and timers of one run, whose state derives from it. One at a time.
class stage {
 public:
  stage();
  ~stage();
  stage(const stage&) = delete;
  stage& operator=(const stage&) = delete;

  // The scheduler that fibers are of, and threads with timers have entered.
  sched::scheduler& scheduler();

  // shuffle_anew makes the caller's random choices others than they would be.
  void shuffle_anew();

  // What actors do, beside their lines: a waiter at its beginning and end; a worker; the clock, which is 0 at first.
  void enter();
  void leave();
  void be_worker_of(std::size_t actor);
  void pass(sched::nanotime t);

  // wakes says what was wrong with them: each who parked is woken once, and nobody else.
  std::string wakes() const;

  static as mode;

 private:
  friend struct backstage;
  struct parts;
  std::unique_ptr<parts> parts_;
};

// print says how large a search was.
void print(as mode, const model::outcome& found);

// cast is who plays. Waiters come first, and are four at most.
template <class State>
class cast {
 public:
  using body = std::function<void(State&)>;

  // Somebody who may wait; somebody who does not.
  cast& waiter(const char* name, body b) {
    actors_.push_back({name, [b = std::move(b)](State& s) {
                         s.enter();
                         b(s);
                         s.leave();
                       }});
    ++waiters_;
    return *this;
  }
  cast& other(const char* name, body b) {
    actors_.push_back({name, std::move(b)});
    return *this;
  }
  // The times come one after the other.
  cast& clock(std::vector<sched::nanotime> times) {
    modes_ = {as::threads, as::threads_with_timers, as::fibers};
    return other("clock", [times = std::move(times)](State& s) {
      for (const sched::nanotime t : times) s.pass(t);
    });
  }
  cast& only(std::vector<as> modes) {
    modes_ = std::move(modes);
    return *this;
  }

  // play runs every interleaving; check is as explore's.
  void play(const std::function<std::string(State&)>& check, const model::options& o = {}) const {
    for (const as mode : modes_) {
      std::vector<model::actor<State>> all = actors_;
      for (std::size_t i = 0; mode == as::fibers && i < waiters_; ++i) {
        all.push_back({"its worker", [i](State& s) { s.be_worker_of(i); }});
      }
      stage::mode = mode;
      const auto complete = [&](State& s) {
        std::string wrong = check(s);
        return wrong.empty() ? s.wakes() : wrong;
      };
      print(mode, model::explore<State>(all, complete, o));
    }
  }

 private:
  std::vector<model::actor<State>> actors_;
  std::size_t waiters_ = 0;
  std::vector<as> modes_{as::threads, as::fibers};
};

// hand_link is a wait_link that another actor fires, as the source of its token fires a stop_link.
class hand_link : private sched::wait_link {
 public:
  class source;
  explicit hand_link(source& s);
  ~hand_link();
  bool fired() const noexcept { return wait_link::fired(); }

 private:
  source& source_;
};

// Fires under a lock, for which the link's end waits; as the end of a stop_callback does.
class hand_link::source {
 public:
  void fire();

 private:
  friend class hand_link;
  model::mutex lock_;
  bool fired_ = false;         // guarded by lock_
  hand_link* link_ = nullptr;  // guarded by lock_
};

}  // namespace weft::testing
