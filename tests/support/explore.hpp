// explore: runs every interleaving of a few small actors, to show that a lock-free protocol holds in all of them.
//
//   struct state { model::atomic<int> word{0}; int seen = 0; };
//   model::explore<state>({{"writer", [](state& s) { s.word.store(1, std::memory_order_release); }},
//                          {"reader", [](state& s) { s.seen = s.word.load(std::memory_order_acquire); }}},
//                         [](state& s) { return s.seen <= 1 ? "" : "read what nobody wrote"; });
//
// Every run makes a fresh state. An actor is stopped before each access to a model::atomic; which actor may do its
// access next is decided there, first in one way, then, in later runs, in every other. What must hold for that:
//   - whatever two actors share is a model::atomic (or is touched by the check only, after the run);
//   - an actor does the same again if it reads the same again: no clock, no random number, no address as a value;
//   - an actor that waits says so (await, wait_until, parking_place); it never spins.
// An access to a word whose life has ended fails the run, if its memory still shows that.
// The interleavings are those of sequential consistency: what weaker orders allow beside them is not seen.
//
// Runs that differ only in the order of accesses that do not touch each other (other words, or two loads) have the same
// outcome; unless options::reduce is off, one of each such class is run (dynamic partial-order reduction with sleep
// sets), so that the search stays exhaustive while there are far fewer runs.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft::model {

// Where an access stands in the source; for the schedule of a failed run.
struct place {
  const char* file = "";
  int line = 0;
};

// An access that an actor is about to make.
struct access {
  const char* name = "";
  const void* address = nullptr;
  std::uint32_t object = 0;  // number of the word, by order of construction within a run
  bool writes = false;
  bool reads_all = false;                   // depends on every write: a predicate may have looked at any word
  bool (*possible)(const void*) = nullptr;  // null: always
  const void* condition = nullptr;
  place at;
  std::uint32_t reads = 0;  // number of another word that it looks at
};

// announce stops the calling actor before its access until the explorer lets it go on. Nothing outside of a run.
void announce(const access& a);
// record keeps the values before and after the access, for the schedule of a failed run.
void record(std::uint64_t before, std::uint64_t after);
std::uint32_t next_object();
// fail ends the run as soon as an actor comes to its next access.
void fail(const std::string& what);
// current_actor is the number of the calling actor; 0 while the state is made and checked.
std::size_t current_actor();

// identity is by what accesses to one word are told from those to others, and from those to words that are gone.
class identity {
 public:
  constexpr identity() noexcept : number_(std::is_constant_evaluated() ? 0 : next_object()) {}
  identity(const identity&) = delete;
  identity& operator=(const identity&) = delete;
  constexpr ~identity() {
    if (!std::is_constant_evaluated()) end();
  }
  std::uint32_t number() const noexcept { return number_; }
  // use is called when the access is made, which may be long after it was announced.
  void use() const noexcept {
    if (!*const_cast<const volatile bool*>(&lives_)) fail("a word is used after its end");
  }

 private:
  // The end is an access as others are: it is tried before and after them.
  void end() noexcept {
    announce({"end", this, number_, true, false, nullptr, nullptr, {}});
    // volatile: a store to what is about to end would be left out.
    *const_cast<volatile bool*>(&lives_) = false;
  }

  std::uint32_t number_;
  bool lives_ = true;
};

template <class T>
std::uint64_t as_bits(T value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value < sizeof bits ? sizeof value : sizeof bits);
  return bits;
}

class parking_place;

// atomic is std::atomic for code under exploration. Every operation names its memory order.
template <class T>
class atomic {
 public:
  using value_type = T;

  constexpr atomic() noexcept : atomic(T{}) {}
  constexpr atomic(T value) noexcept : value_(value) {}
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) const noexcept {
    step("load", false, {file, line});
    record(as_bits(value_), as_bits(value_));
    return value_;
  }
  void store(T value, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("store", true, {file, line});
    replace(value);
  }
  T exchange(T value, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("exchange", true, {file, line});
    return replace(value);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order,
                               const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("cas", true, {file, line});
    if (value_ == expected) {
      replace(desired);
      return true;
    }
    record(as_bits(value_), as_bits(value_));
    expected = value_;
    return false;
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order, const char* file = __builtin_FILE(),
                               int line = __builtin_LINE()) noexcept {
    return compare_exchange_strong(expected, desired, order, order, file, line);
  }
  // Never fails without reason: that would only add runs that do the same as a failed one.
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure,
                             const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    return compare_exchange_strong(expected, desired, success, failure, file, line);
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order order, const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) noexcept {
    return compare_exchange_strong(expected, desired, order, order, file, line);
  }
  T fetch_add(T n, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("fetch_add", true, {file, line});
    return replace(static_cast<T>(value_ + n));
  }
  T fetch_sub(T n, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("fetch_sub", true, {file, line});
    return replace(static_cast<T>(value_ - n));
  }
  T fetch_or(T bits, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("fetch_or", true, {file, line});
    return replace(static_cast<T>(value_ | bits));
  }
  T fetch_and(T bits, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("fetch_and", true, {file, line});
    return replace(static_cast<T>(value_ & bits));
  }
  T fetch_xor(T bits, std::memory_order, const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    step("fetch_xor", true, {file, line});
    return replace(static_cast<T>(value_ ^ bits));
  }

  // await blocks the actor until done(value), and returns the value. wait blocks it while the value is `old`; it sees
  // every change: lost notifications are not modelled, use a parking_place for what sleeps on a futex.
  template <class Done>
  T await(std::memory_order, Done done, const char* file = __builtin_FILE(),
          int line = __builtin_LINE()) const noexcept {
    const auto possible = [this, &done] { return done(value_); };
    access a = make("await", false, {file, line});
    a.possible = [](const void* f) { return (*static_cast<decltype(&possible)>(f))(); };
    a.condition = &possible;
    announce(a);
    id_.use();
    record(as_bits(value_), as_bits(value_));
    return value_;
  }
  void wait(T old, std::memory_order order, const char* file = __builtin_FILE(),
            int line = __builtin_LINE()) const noexcept {
    await(
        order, [old](T now) { return now != old; }, file, line);
  }
  void notify_one() noexcept {}
  void notify_all() noexcept {}

 private:
  friend class parking_place;

  access make(const char* name, bool writes, place at) const noexcept {
    return {name, this, id_.number(), writes, false, nullptr, nullptr, at};
  }
  void step(const char* name, bool writes, place at) const {
    announce(make(name, writes, at));
    id_.use();
  }
  T replace(T value) {
    const T old = std::exchange(value_, value);
    record(as_bits(old), as_bits(value_));
    return old;
  }

  T value_;
  identity id_;
};

// await is await of the word, as sched::await.
template <class T, class Done>
T await(const atomic<T>& word, std::memory_order order, Done done, const char* file = __builtin_FILE(),
        int line = __builtin_LINE()) noexcept {
  return word.await(order, done, file, line);
}

// parking_place is where one actor sleeps until another wakes it, as a thread on its futex: a wake that comes first is
// kept, more than one counts as one. A wake that nobody sends leaves the actor asleep, and the run ends in a deadlock.
class parking_place {
 public:
  void park(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    access a{"park", this, id_.number(), true, false, nullptr, nullptr, {file, line}};
    a.possible = [](const void* self) { return static_cast<const parking_place*>(self)->woken_; };
    a.condition = this;
    announce(a);
    record(1, 0);
    woken_ = false;
  }
  // park_unless parks until a wake comes or done(value of word) holds; false in the latter case.
  template <class T, class Done>
  [[nodiscard]] bool park_unless(const atomic<T>& word, Done done, const char* file = __builtin_FILE(),
                                 int line = __builtin_LINE()) noexcept {
    const auto possible = [&] { return woken_ || done(word.value_); };
    access a{"park_unless", this, id_.number(), true, false, nullptr, nullptr, {file, line}, word.id_.number()};
    a.possible = [](const void* f) { return (*static_cast<decltype(&possible)>(f))(); };
    a.condition = &possible;
    announce(a);
    record(woken_ ? 1 : 0, 0);
    return std::exchange(woken_, false);
  }
  // unpark returns false if a wake was pending already.
  bool unpark(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    announce({"unpark", this, id_.number(), true, false, nullptr, nullptr, {file, line}});
    id_.use();
    record(woken_ ? 1 : 0, 1);
    return !std::exchange(woken_, true);
  }
  // A wake that nobody has slept for yet. For the check.
  bool wake_pending() const noexcept { return woken_; }

 private:
  bool woken_ = false;
  identity id_;
};

// mutex is a lock under exploration: what it guards may be plain data. Satisfies Lockable.
class mutex {
 public:
  constexpr mutex() noexcept = default;

  void lock(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    access a{"lock", this, id_.number(), true, false, nullptr, nullptr, {file, line}};
    a.possible = [](const void* self) { return !static_cast<const mutex*>(self)->held_; };
    a.condition = this;
    announce(a);
    id_.use();
    record(0, 1);
    held_ = true;
  }
  bool try_lock(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    announce({"try_lock", this, id_.number(), true, false, nullptr, nullptr, {file, line}});
    id_.use();
    record(held_ ? 1 : 0, 1);
    return !std::exchange(held_, true);
  }
  void unlock(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept {
    announce({"unlock", this, id_.number(), true, false, nullptr, nullptr, {file, line}});
    id_.use();
    record(1, 0);
    held_ = false;
  }

 private:
  bool held_ = false;
  identity id_;
};

// wait_until blocks the actor until predicate() holds. The predicate may look at any model::atomic; it changes none.
template <class Predicate>
void wait_until(const Predicate& predicate, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  access a{"wait_until", nullptr, 0, false, true, nullptr, nullptr, {file, line}};
  a.possible = [](const void* f) { return (*static_cast<const Predicate*>(f))(); };
  a.condition = &predicate;
  announce(a);
}

struct options {
  std::size_t max_runs = 2'000'000;  // reaching it is a failure: the search was not exhaustive
  std::size_t max_steps = 2'000;     // of one run; reaching it is a failure: some actor spins
  bool reduce = true;                // off: every single interleaving
  // A run may end with actors that wait for ever: the check judges what they left undone. Their locals are dropped
  // without being destroyed. Off: that is a deadlock, and a failure.
  bool may_sleep = false;
};

struct outcome {
  std::size_t runs = 0;       // different complete runs, each checked
  std::size_t redundant = 0;  // runs that were found to repeat another one; checked too
  std::size_t steps = 0;
  std::string failure{};  // empty: everything held. Else what went wrong, and the schedule that led there
};

template <class State>
struct actor {
  const char* name;
  std::function<void(State&)> body;
};

// What search() needs to know of a state whose type it does not know.
struct program {
  std::vector<const char*> names;
  std::function<void()> make;
  std::function<void(std::size_t)> run_actor;
  std::function<std::string()> check;
  std::function<void()> destroy;
  const void* state;
  std::size_t state_size;
};
outcome search(const program& p, const options& o);
void report(const outcome& found);

// search_all runs every interleaving of the actors. check(State&) is called after each run and returns what is wrong,
// or an empty string. Stops at the first failure. For tests of the explorer itself; others call explore().
template <class State>
outcome search_all(const std::vector<actor<State>>& actors, const std::function<std::string(State&)>& check,
                   const options& o = {}) {
  struct box {
    alignas(State) std::byte bytes[sizeof(State)];
    State& get() { return *std::launder(reinterpret_cast<State*>(bytes)); }
  };
  const auto room = std::make_unique<box>();  // every run has its state at the same address
  program p;
  for (const auto& a : actors) p.names.push_back(a.name);
  p.make = [&] { new (room->bytes) State; };
  p.run_actor = [&](std::size_t i) { actors[i].body(room->get()); };
  p.check = [&] { return check(room->get()); };
  p.destroy = [&] { room->get().~State(); };
  p.state = room->bytes;
  p.state_size = sizeof(State);
  return search(p, o);
}

// explore is search_all whose failure fails the test, with the schedule in the message.
template <class State>
outcome explore(const std::vector<actor<State>>& actors, const std::function<std::string(State&)>& check,
                const options& o = {}) {
  outcome found = search_all<State>(actors, check, o);
  report(found);
  return found;
}

}  // namespace weft::model
