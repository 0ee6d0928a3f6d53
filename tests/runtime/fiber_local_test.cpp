// fiber_local, inherited.
#include "tcp_pair.hpp"

#include <weft/weft.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using testing_support::on_fibers;
using testing_support::scaled;
using weft::binding;
using weft::fiber_local;
using weft::inherited;

fiber_local<int> number;
fiber_local<std::string> text([] { return std::string("initial"); });

// covers M11
TEST(FiberLocal, EachFiberHasItsOwnWhereverItRuns) {
  on_fibers([] {
    std::vector<weft::fiber<>> all;
    for (int i = 0; i < scaled(200); ++i) {
      all.push_back(weft::spawn([i] {
        EXPECT_EQ(number.get_if(), nullptr);
        EXPECT_EQ(*number, 0);
        EXPECT_EQ(*text, "initial");
        *number = i;
        int* const mine = &*number;
        *text += std::to_string(i);
        for (int k = 0; k < 10; ++k) weft::this_fiber::yield();
        weft::blocking([i] { EXPECT_EQ(*number, i); });
        EXPECT_EQ(number.get_if(), mine);
        EXPECT_EQ(*mine, i);
        EXPECT_EQ(*text, "initial" + std::to_string(i));
        EXPECT_EQ(text->size(), 7 + std::to_string(i).size());
      }));
    }
    for (auto& f : all) f.join();
    EXPECT_EQ(number.get_if(), nullptr);
  });
}

// What is told of values that end.
std::vector<int> ended;  // of one fiber or thread at a time
struct tells {
  int id;
  ~tells() { ended.push_back(id); }
};
fiber_local<std::unique_ptr<tells>> one;
fiber_local<std::unique_ptr<tells>> two;

// covers M11
TEST(FiberLocal, ValuesEndWithTheirFiberTheLastMadeFirst) {
  on_fibers([] {
    ended.clear();
    weft::spawn([] {
      *one = std::make_unique<tells>(tells{1});
      ended.clear();
      *two = std::make_unique<tells>(tells{2});
      ended.clear();
    }).join();
    EXPECT_EQ(ended, (std::vector{2, 1}));
    // The destructor may wait, and use others.
    struct late {
      ~late() {
        weft::this_fiber::yield();
        *two = std::make_unique<tells>(tells{3});
        ended.clear();
      }
    };
    static fiber_local<late> waits;
    ended.clear();
    weft::spawn([] { static_cast<void>(*waits); }).join();
    EXPECT_EQ(ended, (std::vector{3}));
  });
}

TEST(FiberLocal, APlainThreadHasItsOwnAsWell) {
  ended.clear();
  std::thread([] {
    *number = 5;
    *one = std::make_unique<tells>(tells{4});
    ended.clear();
  }).join();
  EXPECT_EQ(ended, (std::vector{4}));
  EXPECT_EQ(number.get_if(), nullptr);
  std::thread([] { EXPECT_EQ(number.get_if(), nullptr); }).join();
}

TEST(FiberLocal, AValueThatCannotBeMadeIsNotThere) {
  static bool refuse = true;
  static fiber_local<int> fragile([]() -> int {
    if (refuse) throw std::runtime_error("not now");
    return *number + 1;  // one may use another
  });
  on_fibers([] {
    EXPECT_THROW(static_cast<void>(*fragile), std::runtime_error);
    EXPECT_EQ(fragile.get_if(), nullptr);
    refuse = false;
    EXPECT_EQ(*fragile, 1);
  });
}

TEST(FiberLocal, AVariableMayGoBeforeItsValues) {
  on_fibers([] {
    ended.clear();
    weft::spawn([] {
      {
        fiber_local<std::unique_ptr<tells>> brief;
        *brief = std::make_unique<tells>(tells{6});
        ended.clear();
      }
      EXPECT_TRUE(ended.empty());
    }).join();
    EXPECT_EQ(ended, (std::vector{6}));
  });
}

// Another variable at the same place is another variable.
TEST(FiberLocal, AVariablesPlaceMayBeUsedAgain) {
  on_fibers([] {
    alignas(fiber_local<int>) std::byte place[sizeof(fiber_local<int>)];
    for (int i = 0; i < 3; ++i) {
      auto* const variable = new (place) fiber_local<int>;
      EXPECT_EQ(**variable, 0);
      **variable = 7;
      variable->~fiber_local();
    }
  });
}

const inherited<std::string> request;
const inherited<int> user;

// covers M12
TEST(Inherited, IsSeenByWhoeverIsStartedInside) {
  on_fibers([] {
    EXPECT_EQ(request.get(), nullptr);
    weft::fiber<> later;
    weft::event over;
    {
      const binding b(request, "r-1");
      EXPECT_EQ(*request.get(), "r-1");
      EXPECT_EQ(user.get(), nullptr);
      {
        const binding inner(request, std::string("r-2"));
        const binding u(user, 7);
        EXPECT_EQ(*request.get(), "r-2");
        EXPECT_EQ(*user.get(), 7);
        later = weft::spawn([] {
          EXPECT_EQ(*request.get(), "r-2");
          EXPECT_EQ(*user.get(), 7);
          const binding mine(user, 8);
          weft::spawn([] {
            EXPECT_EQ(*request.get(), "r-2");
            EXPECT_EQ(*user.get(), 8);
          }).join();
        });
        weft::task_group<> group;
        group.spawn([] { EXPECT_EQ(*user.get(), 7); });
        group.join();
        weft::go([&] {
          EXPECT_EQ(*request.get(), "r-2");
          over.set();
        });
        over.wait();
      }
      EXPECT_EQ(*request.get(), "r-1");
      EXPECT_EQ(user.get(), nullptr);
    }
    EXPECT_EQ(request.get(), nullptr);
    later.join();  // it kept what it was started with
    weft::spawn([] { EXPECT_EQ(request.get(), nullptr); }).join();
  });
}

TEST(Inherited, OfAPlainThreadGoesToTheFibersItStarts) {
  weft::runtime rt;
  const binding b(request, "from outside");
  rt.spawn([] { EXPECT_EQ(*request.get(), "from outside"); }).join();
  std::thread([] { EXPECT_EQ(request.get(), nullptr); }).join();
}

// One value, however many see it; it goes with the last of them.
TEST(Inherited, IsSharedAndFreed) {
  struct counted {
    std::atomic<int>* live;
    explicit counted(std::atomic<int>* n) : live(n) { ++*live; }
    counted(const counted&) = delete;
    ~counted() { --*live; }
  };
  static const inherited<counted> shared;
  on_fibers([] {
    std::atomic<int> live = 0;
    std::vector<weft::fiber<>> all;
    testing_support::gate open;
    {
      const binding<counted> b(shared, &live);
      for (int i = 0; i < scaled(500); ++i) {
        all.push_back(weft::spawn([&] {
          EXPECT_EQ(shared.get()->live, &live);
          open.pass();
        }));
      }
    }
    EXPECT_EQ(live, 1);
    open.open();
    for (auto& f : all) f.join();
    EXPECT_EQ(live, 0);
  });
}

TEST(Inherited, AFiberThatCannotStartGivesItBack) {
  struct refuses {
    refuses() = default;
    refuses(const refuses&) { throw std::runtime_error("cannot be copied"); }
    void operator()() const {}
  };
  on_fibers([] {
    const auto value = std::make_shared<int>(1);
    static const inherited<std::shared_ptr<int>> holds;
    {
      const binding b(holds, value);
      const refuses f;
      EXPECT_THROW(static_cast<void>(weft::spawn(f)), std::runtime_error);
      weft::spawn([] {}).join();
    }
    EXPECT_EQ(value.use_count(), 1);
  });
}

}  // namespace
