// The checked longjmp refuses to jump to a stack further up.
#undef _FORTIFY_SOURCE

#include "explore.hpp"

#include "explore_coroutine.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

namespace weft::model {
namespace {

constexpr std::size_t max_actors = 8;

using actor_set = std::uint8_t;
constexpr actor_set only(std::size_t actor) { return static_cast<actor_set>(1u << actor); }
constexpr bool contains(actor_set set, std::size_t actor) { return (set >> actor & 1) != 0; }

// Whether the order of the two accesses can make a difference.
bool dependent(const access& a, const access& b) {
  if (a.reads_all || b.reads_all) return a.reads_all ? b.writes : a.writes;
  if (a.object == b.object && (a.writes || b.writes)) return true;
  return (a.reads == b.object && a.reads != 0 && b.writes) || (b.reads == a.object && b.reads != 0 && a.writes);
}

// For each actor, how many of the run's steps (a prefix: 1 + index of the last) happened before.
using clock_vector = std::array<std::uint32_t, max_actors>;
void join(clock_vector& a, const clock_vector& b) {
  for (std::size_t i = 0; i < max_actors; ++i) a[i] = std::max(a[i], b[i]);
}

// One decision of the current path: a state of the program, and the step that was chosen there.
struct node {
  std::uint8_t chosen = 0;
  actor_set enabled = 0;
  actor_set blocked = 0;    // wait for what their access is waiting for
  actor_set asleep = 0;     // need not be run here: what follows was seen from an earlier branch
  actor_set done = 0;       // run here in earlier runs
  actor_set backtrack = 0;  // have to be run here
  std::array<access, max_actors> pending{};
  clock_vector clock{};  // of the chosen step
};

struct event {
  std::uint8_t actor;
  access what;
  std::uint64_t before = 0;
  std::uint64_t after = 0;
};

class explorer {
 public:
  explorer(const program& p, const options& o) : program_(p), options_(o), count_(p.names.size()) {}

  outcome run();

  // Called by actors.
  void before_access(const access& a);
  void after_access(std::uint64_t before, std::uint64_t after) {
    if (inside_ && !peeking_ && !trace_.empty()) trace_.back().before = before, trace_.back().after = after;
  }
  std::uint32_t next_object() { return ++objects_; }
  std::size_t current() const { return current_; }
  void fail(std::string_view what);

 private:
  enum class phase { idle, starting, stepping };
  struct actor_state {
    coroutine stack;
    bool prepared = false;  // its coroutine waits at the top of its loop
    bool finished = false;
    access pending{};
  };

  static void actor_main();
  void run_once();
  bool next_path();
  // decide picks the actor of the next step, or none at the end of the run.
  bool decide(std::size_t& next);
  void decide_new(std::size_t& next);
  void look_back();
  bool is_possible(const access& a);
  void choose(node& n, std::size_t depth, std::size_t next);
  clock_vector past_of(std::size_t actor, std::size_t depth) const;
  void find_races(std::size_t actor, const access& a, std::size_t depth);
  void try_before(std::size_t index, std::size_t actor, const access& a, std::size_t depth);
  void switch_from(coroutine& from, std::size_t actor) {
    current_ = actor;
    inside_ = true;
    coroutine::change(from, actors_[actor].stack);
  }
  void leave_run(coroutine& from) {
    inside_ = false;
    coroutine::change(from, main_);
  }
  actor_set enabled_actors();
  std::string describe(const event& e, std::size_t number) const;

  const program& program_;
  const options& options_;
  const std::size_t count_;
  outcome outcome_;
  coroutine main_;
  std::array<actor_state, max_actors> actors_;
  std::vector<node> path_;
  std::vector<event> trace_;
  std::size_t depth_ = 0;  // steps of this run so far
  std::size_t current_ = 0;
  std::uint32_t objects_ = 0;
  phase phase_ = phase::idle;
  bool inside_ = false;     // an actor is running
  bool peeking_ = false;    // a predicate is evaluated: no step
  bool redundant_ = false;  // the rest of this run repeats another one
};

// One exploration at a time in a process: models are not run from several threads at once.
explorer* active = nullptr;
std::uint32_t objects_outside = 1u << 31;

void explorer::actor_main() {
  coroutine::arrived(active->main_);
  for (;;) {
    explorer& self = *active;
    const std::size_t me = self.current_;
    actor_state& mine = self.actors_[me];
    self.program_.run_actor(me);
    mine.finished = true;
    mine.prepared = true;
    std::size_t next = 0;
    if (self.phase_ == phase::stepping && self.decide(next)) {
      self.switch_from(mine.stack, next);
    } else {
      self.leave_run(mine.stack);
    }
  }
}

void explorer::before_access(const access& a) {
  if (!inside_ || peeking_) return;
  const std::size_t me = current_;
  actors_[me].pending = a;
  if (phase_ == phase::starting) {
    leave_run(actors_[me].stack);
  } else {
    std::size_t next = 0;
    if (!decide(next)) {
      leave_run(actors_[me].stack);
    } else if (next != me) {
      switch_from(actors_[me].stack, next);
    }
  }
}

actor_set explorer::enabled_actors() {
  actor_set enabled = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (!actors_[i].finished && is_possible(actors_[i].pending)) enabled |= only(i);
  }
  return enabled;
}

bool explorer::is_possible(const access& a) {
  if (a.possible == nullptr) return true;
  peeking_ = true;
  const bool possible = a.possible(a.condition);
  peeking_ = false;
  return possible;
}

bool explorer::decide(std::size_t& next) {
  if (!outcome_.failure.empty()) return false;
  const actor_set enabled = enabled_actors();
  if (enabled == 0) {
    if (options_.may_sleep) {
      if (depth_ == path_.size()) look_back();
      return false;
    }
    for (std::size_t i = 0; i < count_; ++i) {
      if (!actors_[i].finished) {
        fail("deadlock");
        break;
      }
    }
    return false;
  }
  if (depth_ == options_.max_steps) {
    fail("the run does not end");
    return false;
  }
  if (redundant_) {
    next = contains(enabled, current_) ? current_ : static_cast<std::size_t>(std::countr_zero(enabled));
  } else if (depth_ < path_.size()) {
    const node& n = path_[depth_];
    next = n.chosen;
    const access& a = actors_[next].pending;
    if (n.enabled != enabled || n.pending[next].object != a.object || n.pending[next].writes != a.writes) {
      fail("an actor did not do the same again: actors share something that is no model::atomic");
      return false;
    }
  } else {
    node& n = path_.emplace_back();
    n.enabled = enabled;
    for (std::size_t i = 0; i < count_; ++i) {
      n.pending[i] = actors_[i].pending;
      if (!actors_[i].finished && !contains(enabled, i)) n.blocked |= only(i);
    }
    decide_new(next);
  }
  trace_.push_back({static_cast<std::uint8_t>(next), actors_[next].pending});
  ++depth_;
  return true;
}

// The state was not seen before.
void explorer::decide_new(std::size_t& next) {
  if (options_.reduce && depth_ > 0) {
    const node& before = path_[depth_ - 1];
    for (std::size_t i = 0; i < count_; ++i) {
      if (contains(before.asleep | before.done, i) && !dependent(before.pending[i], before.pending[before.chosen])) {
        path_[depth_].asleep |= only(i);
      }
    }
    look_back();
  }
  node& n = path_[depth_];
  const actor_set candidates = n.enabled & static_cast<actor_set>(~n.asleep);
  if (candidates == 0) {
    redundant_ = true;
    path_.pop_back();
    next = static_cast<std::size_t>(std::countr_zero(n.enabled));
    return;
  }
  next = contains(candidates, current_) ? current_ : static_cast<std::size_t>(std::countr_zero(candidates));
  n.backtrack = options_.reduce ? only(next) : n.enabled;
  choose(n, depth_, next);
}

// look_back is for whoever made the last step, if it has to wait now: it might have gone on at an earlier moment, and
// may never go on.
void explorer::look_back() {
  if (!options_.reduce || redundant_ || depth_ == 0) return;
  const std::size_t actor = path_[depth_ - 1].chosen;
  const access& a = actors_[actor].pending;
  if (!actors_[actor].finished && a.possible != nullptr && !is_possible(a)) find_races(actor, a, depth_);
}

// choose makes it next's turn, and notes what has to be tried at earlier nodes because of its step.
void explorer::choose(node& n, std::size_t depth, std::size_t next) {
  n.chosen = static_cast<std::uint8_t>(next);
  if (!options_.reduce) return;
  for (std::size_t i = 0; i < count_; ++i) {
    const access& a = n.pending[i];
    if (i == next || a.possible == nullptr || !dependent(a, n.pending[next])) continue;
    // The step may end for ever what i could do, or keep a condition on several words from ever being met.
    if (contains(n.enabled & static_cast<actor_set>(~n.asleep), i)) n.backtrack |= only(i);
    if (contains(n.blocked, i) && (a.reads_all || a.reads != 0)) n.backtrack |= n.enabled;
  }
  find_races(next, n.pending[next], depth);
  n.clock = past_of(next, depth);
  for (std::size_t i = depth; i-- > 0;) {
    const node& earlier = path_[i];
    if (i >= n.clock[earlier.chosen] && dependent(earlier.pending[earlier.chosen], n.pending[next])) {
      join(n.clock, earlier.clock);
    }
  }
  n.clock[next] = static_cast<std::uint32_t>(depth + 1);
}

// What happened before the actor's last step among the first `depth`, and that step.
clock_vector explorer::past_of(std::size_t actor, std::size_t depth) const {
  while (depth > 0 && path_[depth - 1].chosen != actor) --depth;
  return depth > 0 ? path_[depth - 1].clock : clock_vector{};
}

// Two steps race if they are dependent and no third one orders them: then the later one must also be tried first.
void explorer::find_races(std::size_t actor, const access& a, std::size_t depth) {
  clock_vector ordered = past_of(actor, depth);
  const std::size_t pending_since = ordered[actor];
  for (std::size_t i = depth; i-- > 0;) {
    const node& n = path_[i];
    if (n.chosen == actor || i < ordered[n.chosen] || !dependent(n.pending[n.chosen], a)) continue;
    // What had to wait cannot come first: some other step on its word has to, which races by itself.
    if (i >= pending_since && contains(n.blocked, actor)) continue;
    try_before(i, actor, a, depth);
    // What an access waits for is ordered before it in any case: that hides no race with what came before that.
    if (a.possible == nullptr) join(ordered, n.clock);
  }
}

// try_before sees to it that `a` is tried before the step at `index`: it and what leads to it, of the steps in between,
// without those that come of that step. Any actor that can make the first step of that will do (a source set:
// Abdulla, Aronis, Jonsson, Sagonas, Optimal dynamic partial order reduction).
void explorer::try_before(std::size_t index, std::size_t actor, const access& a, std::size_t depth) {
  node& at = path_[index];
  actor_set first = 0;
  actor_set seen = 0;
  for (std::size_t i = index + 1; i <= depth; ++i) {
    const bool last = i == depth;
    const std::size_t self = last ? actor : path_[i].chosen;
    if (!last && index < path_[i].clock[at.chosen]) continue;  // comes of it
    if (contains(seen, self)) continue;
    seen |= only(self);
    const clock_vector past = last ? past_of(actor, depth) : path_[i].clock;
    bool leads = true;
    for (std::size_t k = index + 1; k < i && leads; ++k) {
      const node& between = path_[k];
      if (index < between.clock[at.chosen]) continue;
      leads = k >= past[between.chosen] && !(last && dependent(between.pending[between.chosen], a));
    }
    if (leads) first |= only(self);
  }
  first &= at.enabled;
  if (first == 0) {
    at.backtrack |= at.enabled;
  } else if ((first & (at.backtrack | at.asleep)) == 0) {
    at.backtrack |= contains(first, actor) ? only(actor) : only(static_cast<std::size_t>(std::countr_zero(first)));
  }
}

bool explorer::next_path() {
  while (!path_.empty()) {
    node& n = path_.back();
    n.done |= only(n.chosen);
    const actor_set open = n.backtrack & n.enabled & static_cast<actor_set>(~(n.done | n.asleep));
    if (open != 0) {
      choose(n, path_.size() - 1, static_cast<std::size_t>(std::countr_zero(open)));
      return true;
    }
    path_.pop_back();
  }
  return false;
}

void explorer::run_once() {
  trace_.clear();
  depth_ = 0;
  objects_ = 0;
  redundant_ = false;
  current_ = 0;
  program_.make();
  phase_ = phase::starting;
  for (std::size_t i = 0; i < count_; ++i) {
    actor_state& a = actors_[i];
    if (!a.prepared) a.stack.prepare(actor_main);
    a.prepared = false;
    a.finished = false;
    switch_from(main_, i);
  }
  phase_ = phase::stepping;
  current_ = 0;
  std::size_t next = 0;
  if (decide(next)) switch_from(main_, next);
  phase_ = phase::idle;
  current_ = 0;
  outcome_.steps += depth_;
  if (outcome_.failure.empty()) {
    const std::string complaint = program_.check();
    if (!complaint.empty()) fail(complaint);
  }
  program_.destroy();
}

outcome explorer::run() {
  if (count_ == 0 || count_ > max_actors) {
    outcome_.failure = "wrong number of actors";
    return outcome_;
  }
  main_.adopt_thread();
  explorer* const outer = std::exchange(active, this);
  do {
    if (outcome_.runs + outcome_.redundant == options_.max_runs) {
      outcome_.failure = "not exhaustive: max_runs = " + std::to_string(options_.max_runs) + " reached";
      break;
    }
    run_once();
    ++(redundant_ ? outcome_.redundant : outcome_.runs);
  } while (outcome_.failure.empty() && next_path());
  active = outer;
  return outcome_;
}

std::string explorer::describe(const event& e, std::size_t number) const {
  char where[32] = "";
  const auto offset = static_cast<const char*>(e.what.address) - static_cast<const char*>(program_.state);
  if (e.what.reads_all) {
    where[0] = 0;
  } else if (offset >= 0 && static_cast<std::size_t>(offset) < program_.state_size) {
    std::snprintf(where, sizeof where, "state+%td", offset);
  } else {
    std::snprintf(where, sizeof where, "word %u", e.what.object);
  }
  char values[64] = "";
  if (number != 0 && !e.what.reads_all) {
    if (e.before == e.after) {
      std::snprintf(values, sizeof values, "%#llx", static_cast<unsigned long long>(e.before));
    } else {
      std::snprintf(values, sizeof values, "%#llx -> %#llx", static_cast<unsigned long long>(e.before),
                    static_cast<unsigned long long>(e.after));
    }
  }
  std::string_view file = e.what.at.file;
  if (const auto slash = file.rfind('/'); slash != std::string_view::npos) file.remove_prefix(slash + 1);
  char text[256];
  std::snprintf(text, sizeof text, "  %4s  %-12s %-10s %-12s %-24s %.*s:%d\n",
                number != 0 ? std::to_string(number).c_str() : "-", program_.names[e.actor], e.what.name, where, values,
                static_cast<int>(file.size()), file.data(), e.what.at.line);
  return text;
}

void explorer::fail(std::string_view what) {
  if (!outcome_.failure.empty()) return;
  outcome_.failure =
      std::string(what) + "\nschedule of run " + std::to_string(outcome_.runs + outcome_.redundant + 1) + ":\n";
  for (std::size_t i = 0; i < trace_.size(); ++i) outcome_.failure += describe(trace_[i], i + 1);
  for (std::size_t i = 0; i < count_; ++i) {
    if (actors_[i].finished) continue;
    outcome_.failure += describe({static_cast<std::uint8_t>(i), actors_[i].pending}, 0);
  }
}

}  // namespace

void announce(const access& a) {
  if (active != nullptr) active->before_access(a);
}
void record(std::uint64_t before, std::uint64_t after) {
  if (active != nullptr) active->after_access(before, after);
}
void fail(const std::string& what) {
  if (active != nullptr) active->fail(what);
}
std::size_t current_actor() { return active->current(); }
std::uint32_t next_object() { return active != nullptr ? active->next_object() : ++objects_outside; }

outcome search(const program& p, const options& o) { return explorer(p, o).run(); }

void report(const outcome& found) {
  if (!found.failure.empty()) ADD_FAILURE() << found.failure;
}

}  // namespace weft::model
