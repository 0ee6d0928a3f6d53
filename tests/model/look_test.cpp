// The look at a fiber in every interleaving: nobody reads the frames of one that runs, none is lost, none runs twice.
//
// The explorer's own interleavings are sequentially consistent, and the race that the looker's fence decides is not among
// those. So the phase is a word here whose relaxed stores may stay in a store buffer.
#include <fiber_look.hpp>
#include <support/explore.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace weft;
using sched::fiber_look;
using sched::fiber_phase;
using sched::look_state;
constexpr auto seq_cst = std::memory_order_seq_cst;

// chance decides: whoever asks gets either answer, as an actor that tosses comes before or after.
struct chance {
  model::atomic<bool> heads{false};
  bool ask() { return heads.load(seq_cst); }
  void toss() { heads.store(true, seq_cst); }
};

// word is the atomic of fiber_look.
template <class T>
class word;

template <>
class word<look_state> : public model::atomic<look_state> {
 public:
  using atomic::atomic;
};

// The phase. A relaxed store is seen by others when its actor stores again, by a fence, or earlier, by chance. One that
// releases is seen at once: nothing of what its actor does next comes before it, and between the two nobody can tell.
template <>
class word<fiber_phase> {
 public:
  explicit word(fiber_phase p) : value_(p) { only = this; }
  word(const word&) = delete;
  word& operator=(const word&) = delete;

  void store(fiber_phase p, std::memory_order order) {
    step("store", true);
    write_out();
    if (order == std::memory_order_relaxed) {
      buffered_ = p;
    } else {
      value_ = p;
    }
  }
  fiber_phase load(std::memory_order) const {
    const bool early = luck->ask();
    step("load", true);
    if (early) write_out();
    model::record(static_cast<std::uint64_t>(value_), static_cast<std::uint64_t>(buffered_.value_or(value_)));
    return value_;
  }
  void fence_everywhere() {
    step("fence", true);
    write_out();
  }

  static inline word* only = nullptr;
  static inline chance* luck = nullptr;  // of the next load

 private:
  void step(const char* name, bool writes) const {
    model::announce({name, this, id_.number(), writes, false, nullptr, nullptr, {__FILE__, __LINE__}});
  }
  // One buffer is enough: a worker passes the fiber on by a store that releases.
  void write_out() const {
    if (buffered_) value_ = *buffered_;
    buffered_.reset();
  }

  mutable fiber_phase value_;
  mutable std::optional<fiber_phase> buffered_;
  model::identity id_;
};

// The run queue, with room for the fiber alone.
class queue {
 public:
  void put() {
    step("put", nullptr, nullptr);
    if (std::exchange(filled_, true)) model::fail("the fiber is made runnable twice");
  }
  void close() {
    step("close", nullptr, nullptr);
    closed_ = true;
  }
  // take: false when it was closed.
  bool take() {
    step("take", [](const void* q) { return static_cast<const queue*>(q)->filled_ || static_cast<const queue*>(q)->closed_; }, this);
    return std::exchange(filled_, false);
  }

 private:
  void step(const char* name, bool (*possible)(const void*), const void* condition) const {
    model::announce({name, this, id_.number(), true, false, possible, condition, {__FILE__, __LINE__}});
  }

  bool filled_ = true;
  bool closed_ = false;
  model::identity id_;
};

// What the fiber does each time that it runs; then it ends.
enum class turn { parks, yields, ends_and_another_begins };

enum class fence { made, left_out };

struct world {
  static constexpr unsigned reader = 16;
  static constexpr unsigned generation = 256;

  fiber_look<word> look;
  queue runnable;
  model::atomic<bool> parked{false};    // the commit was run
  model::atomic<unsigned> frames{0};    // 1 while it runs, and `reader` while somebody reads; `generation` for each fiber
  std::array<chance, 2> luck;           // of the looks
  std::size_t turns = 0;                // of the fiber itself

  static inline std::vector<turn> script;

  world() { look.becomes(fiber_phase::runnable); }

  void make_runnable() {
    look.becomes(fiber_phase::runnable);
    runnable.put();
  }

  // The fiber from its resumption to its departure, and its commit.
  void run() {
    const unsigned before = frames.fetch_add(1, seq_cst) % generation;
    if (before % reader != 0) model::fail("the fiber is run twice");
    if (before / reader != 0) model::fail("the fiber goes on while its frames are read");
    frames.fetch_sub(1, seq_cst);
    if (turns == script.size()) {
      ++turns;
      look.becomes(fiber_phase::none);
      runnable.close();
      return;
    }
    switch (script[turns++]) {
      case turn::parks:
        look.becomes(fiber_phase::parked);
        parked.store(true, seq_cst);
        break;
      case turn::yields:
        make_runnable();
        break;
      case turn::ends_and_another_begins:
        look.becomes(fiber_phase::none);
        frames.fetch_add(generation, seq_cst);
        make_runnable();
    }
  }

  void work() {
    while (runnable.take()) {
      if (look.enter_running()) run();
    }
  }

  void wake() {
    parked.await(seq_cst, [](bool p) { return p; });
    make_runnable();
  }

  void look_once(chance& c, fence f = fence::made) {
    if (!look.begin_look()) return;
    if (f == fence::made) word<fiber_phase>::only->fence_everywhere();
    word<fiber_phase>::luck = &c;
    const fiber_phase phase = look.phase_looked_at();
    if (phase == fiber_phase::parked || phase == fiber_phase::runnable) {
      const unsigned before = frames.fetch_add(reader, seq_cst);
      if (before % reader != 0) model::fail("frames are read of a fiber that runs");
      const unsigned after = frames.fetch_sub(reader, seq_cst) - reader;
      if (after % reader != 0) model::fail("a fiber is resumed while its frames are read");
      if (after / generation != before / generation) model::fail("another fiber came while one was looked at");
    }
    if (look.end_look()) make_runnable();
  }

  std::string ran() const { return turns == script.size() + 1 ? "" : std::to_string(turns) + " turns"; }
};

using actors = std::vector<model::actor<world>>;

const model::actor<world> worker{"worker", [](world& w) { w.work(); }};
const model::actor<world> waker{"waker", [](world& w) { w.wake(); }};
const model::actor<world> looker{"looker", [](world& w) { w.look_once(w.luck[0]); }};
const model::actor<world> another{"another", [](world& w) { w.look_once(w.luck[1]); }};
const model::actor<world> looks_twice{"looker", [](world& w) { w.look_once(w.luck[0]), w.look_once(w.luck[1]); }};
const model::actor<world> buffers{"chance", [](world& w) { w.luck[0].toss(); }};
const model::actor<world> more_buffers{"chance", [](world& w) { w.luck[1].toss(); }};

model::outcome search(std::vector<turn> script, const actors& all) {
  world::script = std::move(script);
  const auto found = model::search_all<world>(all, [](world& w) { return w.ran(); });
  std::printf("  %zu runs, %zu repeated\n", found.runs, found.redundant);
  return found;
}

void play(std::vector<turn> script, const actors& all) { model::report(search(std::move(script), all)); }

// covers O4
TEST(LookModel, AFiberThatParksAndIsWoken) { play({turn::parks}, {worker, waker, looker, buffers}); }

TEST(LookModel, OneThatYields) { play({turn::yields, turn::yields}, {worker, looker, buffers}); }

TEST(LookModel, TwoLooksInARow) {
  play({turn::yields}, {worker, looks_twice, buffers, more_buffers});
  play({turn::parks}, {worker, waker, looks_twice, buffers, more_buffers});
}

TEST(LookModel, TwoWhoLook) {
  play({turn::yields}, {worker, looker, another, buffers, more_buffers});
  play({turn::parks}, {worker, waker, looker, another, buffers, more_buffers});
}

TEST(LookModel, TwoWorkers) {
  play({turn::yields, turn::yields}, {worker, worker, looker, buffers});
  play({turn::parks}, {worker, worker, waker, looker, buffers});
  play({turn::yields}, {worker, worker, looks_twice, buffers, more_buffers});
}

TEST(LookModel, AnotherFiberOnTheStack) {
  play({turn::ends_and_another_begins}, {worker, looks_twice, buffers, more_buffers});
}

// The buffer shows what the fence is for.
TEST(LookModel, WithoutTheFenceFramesOfARunningFiberAreRead) {
  const model::actor<world> careless{"looker", [](world& w) { w.look_once(w.luck[0], fence::left_out); }};
  const model::outcome found = search({turn::yields}, {worker, careless, buffers});
  EXPECT_NE(found.failure.find("frames are read of a fiber that runs"), std::string::npos) << found.failure;
}

}  // namespace
