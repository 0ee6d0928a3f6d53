// The switch between two contexts, without a scheduler.
#include <context.hpp>
#include <stack_guard.hpp>

#include <gtest/gtest.h>

#include <cfenv>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <sys/mman.h>

namespace {

using namespace weft::sched;

// A coroutine on a mapping of its own that knows who it is and runs what it was given.
struct coroutine {
  static constexpr std::size_t size = 64 * 1024;

  coroutine() {
    memory = static_cast<std::byte*>(
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  }
  virtual ~coroutine() {
    dispose(ctx, memory, memory + size);
    ::munmap(memory, size);
  }
  void begin() { prepare(ctx, memory, memory + size, enter); }
  virtual void body(void* first) = 0;

  static void enter(void* first) noexcept;

  context ctx;
  std::byte* memory;
};

// The test's own thread.
struct thread_context {
  thread_context() { attach_thread(ctx); }
  void* to(coroutine& c, void* message = nullptr) {
    return switch_context(ctx, c.ctx, thread_exception_state(), message);
  }
  context ctx;
};

coroutine* entering = nullptr;

void coroutine::enter(void* first) noexcept {
  coroutine* self = entering;
  arrive(self->ctx);
  self->body(first);
  ADD_FAILURE() << "a body returned";
  std::abort();
}

// start begins c and switches to it for the first time.
void* start(thread_context& thread, coroutine& c, void* message = nullptr) {
  c.begin();
  entering = &c;
  return thread.to(c, message);
}

template <class F>
struct of final : coroutine {
  of(thread_context& t, F f) : thread(t), call(std::move(f)) {}
  void body(void* first) override { call(*this, first); }
  void* back(void* message = nullptr, last end = last::no) {
    return switch_context(ctx, thread.ctx, thread_exception_state(), message, end);
  }
  thread_context& thread;
  F call;
};

TEST(Context, MessagesGoBothWaysAndLocalsStay) {
  thread_context thread;
  of c(thread, [](auto& self, void* first) {
    int sum = *static_cast<int*>(first);
    for (;;) sum += *static_cast<int*>(self.back(&sum));
  });
  int n = 1;
  int* got = static_cast<int*>(start(thread, c, &n));
  EXPECT_EQ(*got, 1);
  for (int i = 2, sum = 1; i < 100; ++i) {
    n = i;
    sum += i;
    EXPECT_EQ(*static_cast<int*>(thread.to(c, &n)), sum);
  }
}

TEST(Context, TheStackIsAlignedAtTheEntry) {
  thread_context thread;
  of c(thread, [](auto& self, void*) {
    for (;;) {
      alignas(16) std::byte block[16];
      auto address = reinterpret_cast<std::uintptr_t>(block) % 16;
      self.back(reinterpret_cast<void*>(address + 1));
    }
  });
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(start(thread, c)), 1u);
  long double x = 1.5L;  // code that assumes the alignment
  EXPECT_EQ(std::to_string(x), "1.500000");
}

TEST(Context, TheDepartedOneIsWholeOnArrival) {
  // Whoever arrives may resume the one who left at once, through the stored context alone.
  thread_context thread;
  of c(thread, [](auto& self, void*) {
    for (;;) {
      EXPECT_FALSE(self.thread.ctx.suspended.empty());
      self.back();
    }
  });
  start(thread, c);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(c.ctx.suspended.empty());
    thread.to(c);
  }
}

// covers L157
TEST(Context, ExceptionStateMovesWithTheContext) {
  thread_context thread;
  of c(thread, [](auto& self, void*) {
    self.back();
    try {
      throw std::runtime_error("of the coroutine");
    } catch (const std::runtime_error& e) {
      self.back();
      EXPECT_STREQ(e.what(), "of the coroutine");
      EXPECT_EQ(std::current_exception() != nullptr, true);
    }
    EXPECT_EQ(std::current_exception(), nullptr);
    for (;;) self.back();
  });
  start(thread, c);
  try {
    throw std::logic_error("of the thread");
  } catch (const std::logic_error& e) {
    thread.to(c);  // into its catch block: two are open now, in no order of nesting
    try {
      throw;
    } catch (const std::logic_error& again) {
      EXPECT_EQ(&again, &e);
    }
    thread.to(c);
    EXPECT_STREQ(e.what(), "of the thread");
  }
  EXPECT_EQ(std::current_exception(), nullptr);
}

// covers L157
TEST(Context, UncaughtExceptionsAreCountedApart) {
  thread_context thread;
  of c(thread, [](auto& self, void*) {
    struct counts {
      decltype(self) me;
      ~counts() {
        EXPECT_EQ(std::uncaught_exceptions(), 1);
        me.back();
        EXPECT_EQ(std::uncaught_exceptions(), 1);
      }
    };
    try {
      counts guard{self};
      throw 1;
    } catch (int) {
      EXPECT_EQ(std::uncaught_exceptions(), 0);
    }
    for (;;) self.back();
  });
  start(thread, c);
  EXPECT_EQ(std::uncaught_exceptions(), 0);
  try {
    throw 2;
  } catch (int two) {
    EXPECT_EQ(two, 2);
  }
  thread.to(c);
  EXPECT_EQ(std::uncaught_exceptions(), 0);
}

#if defined(__x86_64__) && !defined(WEFT_PORTABLE_SWITCH)
TEST(Context, RoundingModesAndMasksArePerContext) {
  thread_context thread;
  of c(thread, [](auto& self, void*) {
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
    std::fesetround(FE_UPWARD);
    self.back();
    EXPECT_EQ(std::fegetround(), FE_UPWARD);
    for (;;) self.back();
  });
  start(thread, c);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  const unsigned masks = _mm_getcsr() & ~0x3fu;
  std::feraiseexcept(FE_INEXACT);
  thread.to(c);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, masks);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  EXPECT_EQ(1.0L / 3.0L, [] { volatile long double three = 3; return 1.0L / three; }()) << "of the x87, too";
}
#endif

TEST(Context, OneThatEndedCanBePreparedAgain) {
  thread_context thread;
  int runs = 0;
  of c(thread, [&runs](auto& self, void*) {
    ++runs;
    self.back(nullptr, last::yes);
  });
  for (int i = 1; i <= 100; ++i) {
    start(thread, c);
    EXPECT_EQ(runs, i);
    dispose(c.ctx, c.memory, c.memory + c.size);
  }
  c.begin();  // the destructor disposes of it
}

// T3: many contexts that switch to each other at random, each with a secret on its stack and, now and then, in a catch
// block.
struct ring;
struct member final : coroutine {
  ring* all = nullptr;
  std::uint32_t number = 0;
  std::uint64_t visits = 0;
  void body(void* first) override;
};

struct ring {
  thread_context thread;
  std::vector<std::unique_ptr<member>> members;
  std::mt19937 random;
  int left = 0;
  bool over = false;
  std::vector<std::uint64_t> expected;  // visits, by the one who sends

  context& pick() {
    if (left-- == 0) return thread.ctx;
    auto i = random() % members.size();
    ++expected[i];
    entering = members[i].get();
    if (entering->ctx.suspended.empty()) entering->begin();
    return entering->ctx;
  }
};

void member::body(void*) {
  std::uint64_t secret[32];
  for (auto& s : secret) s = number * 0x9e3779b97f4a7c15ull;
  const auto hop = [&] {
    if (all->over) return;
    ++visits;
    context& to = all->pick();
    if (&to != &ctx) switch_context(ctx, to, thread_exception_state(), nullptr);
  };
  for (;;) {
    if (all->over) switch_context(ctx, all->thread.ctx, thread_exception_state(), nullptr);
    hop();
    try {
      throw number;
    } catch (std::uint32_t mine) {
      hop();
      if (mine != number) ADD_FAILURE() << "somebody else's exception";
      try {
        throw std::to_string(number);
      } catch (const std::string& text) {
        hop();
        if (text != std::to_string(number)) ADD_FAILURE() << "somebody else's exception";
      }
    }
    for (auto s : secret) {
      if (s != number * 0x9e3779b97f4a7c15ull) ADD_FAILURE() << "a stack was overwritten";
    }
  }
}

TEST(Context, RandomSwitchesKeepStacksAndExceptionsApart) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  ring r;
  r.random.seed(seed);
  r.left = 20'000;
  for (std::uint32_t i = 0; i < 50; ++i) {
    r.members.push_back(std::make_unique<member>());
    r.members.back()->all = &r;
    r.members.back()->number = i;
  }
  r.expected.resize(r.members.size());
  context& first = r.pick();
  switch_context(r.thread.ctx, first, thread_exception_state(), nullptr);
  r.over = true;
  for (const auto& m : r.members) {
    EXPECT_EQ(m->visits, r.expected[m->number]);
    if (m->visits != 0) switch_context(r.thread.ctx, m->ctx, thread_exception_state(), nullptr);  // out of its handlers
  }
  EXPECT_EQ(std::current_exception(), nullptr);
}

}  // namespace
