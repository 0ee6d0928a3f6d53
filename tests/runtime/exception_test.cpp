// Exceptions in flight across suspensions.
#include "runtime_fixture.hpp"

#include <support/ferry.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using testing_support::default_workers;
using testing_support::ferry;
using testing_support::on_fibers;
using testing_support::with_workers;

// suspend takes the fiber through a switch, and with several workers often to another thread.
void suspend(int i) {
  if (i % 3 == 0) {
    weft::this_fiber::sleep_for(10us);
  } else {
    weft::this_fiber::yield();
  }
}

void catch_and_suspend(int i) {
  const std::string mine = std::to_string(i);
  try {
    throw std::runtime_error(mine);
  } catch (const std::runtime_error& e) {
    suspend(i);
    ASSERT_EQ(e.what(), mine);
    ASSERT_EQ(std::uncaught_exceptions(), 0);
    try {
      suspend(i + 1);
      throw;  // the one that is handled here, not another fiber's
    } catch (const std::runtime_error& again) {
      suspend(i + 2);
      ASSERT_EQ(again.what(), mine);
      try {
        throw std::logic_error(mine + "/inner");
      } catch (const std::logic_error& inner) {
        suspend(i);
        ASSERT_EQ(inner.what(), mine + "/inner");
        ASSERT_NE(std::current_exception(), nullptr);
      }
      suspend(i + 1);
      ASSERT_EQ(again.what(), mine);
    }
  }
  ASSERT_EQ(std::current_exception(), nullptr);
}

struct suspends_while_unwinding {
  int i;
  ~suspends_while_unwinding() {
    EXPECT_EQ(std::uncaught_exceptions(), 1);
    suspend(i);
    EXPECT_EQ(std::uncaught_exceptions(), 1);
    // A whole throw and catch of its own, during the unwinding.
    try {
      throw i;
    } catch (int caught) {
      EXPECT_EQ(std::uncaught_exceptions(), 1);
      suspend(i + 1);
      EXPECT_EQ(caught, i);
    }
    EXPECT_EQ(std::uncaught_exceptions(), 1);
  }
};

void unwind_and_suspend(int i) {
  try {
    suspends_while_unwinding guard{i};
    throw std::runtime_error(std::to_string(i));
  } catch (const std::runtime_error& e) {
    ASSERT_EQ(e.what(), std::to_string(i));
    ASSERT_EQ(std::uncaught_exceptions(), 0);
  }
}

// covers L157
TEST(Exception, EachFiberHasItsOwn) {
  on_fibers([] {
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 64; ++i) {
      all.push_back(weft::spawn([i] {
        for (int k = 0; k < 50; ++k) {
          catch_and_suspend(i + k);
          unwind_and_suspend(i + k);
          suspend(k);
          ASSERT_EQ(std::uncaught_exceptions(), 0);
        }
      }));
    }
    for (auto& f : all) f.join();
  });
}

// covers L157
TEST(Exception, AFreshFiberStartsWithoutAny) {
  on_fibers([] {
    try {
      throw std::runtime_error("the parent's");
    } catch (const std::runtime_error&) {
      weft::spawn([] {
        EXPECT_EQ(std::current_exception(), nullptr);
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      }).join();
      EXPECT_NE(std::current_exception(), nullptr);
    }
  });
}

// covers L157
TEST(Exception, TravelsFromFiberToFiber) {
  on_fibers([] {
    struct chain {
      static void throw_at_depth(int depth) {
        if (depth == 0) throw std::domain_error("deep");
        weft::spawn([depth] { throw_at_depth(depth - 1); }).join();
      }
    };
    EXPECT_THROW(chain::throw_at_depth(50), std::domain_error);
  });
}

// Ways to suspend, for one piece of code: a yield; a sleep; a change of the thread, for certain; a call that blocks.
using suspension = std::function<void()>;

// under_each runs body on as many fibers as the suspension allows, once for each way to suspend.
template <class Body>
void under_each(Body body) {
  const auto many = [&](const char* name, int fibers, const suspension& stop) {
    const bool failed = ::testing::Test::HasFailure();
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < fibers; ++i) all.push_back(weft::spawn([&body, &stop, i] { body(i, stop); }));
    for (auto& f : all) f.join();
    // No SCOPED_TRACE: it is the thread's.
    if (!failed && ::testing::Test::HasFailure()) ADD_FAILURE() << "that was with a fiber that " << name;
  };
  on_fibers(
      [&] {
        many("yields", 16, [] { weft::this_fiber::yield(); });
        many("sleeps", 16, [] { weft::this_fiber::sleep_for(10us); });
        many("blocks", 16, [] { weft::blocking([] { std::this_thread::yield(); }); });
        ferry over;
        weft::mutex one_at_a_time;
        many("changes its thread", 3, [&] {
          const std::lock_guard lock(one_at_a_time);
          EXPECT_TRUE(over.cross());
          over.let_go();
        });
      },
      with_workers(std::max(2u, default_workers())));
}

// is tells whether e is the runtime_error of that text.
bool is(const std::exception_ptr& e, const std::string& text) {
  try {
    std::rethrow_exception(e);
  } catch (const std::runtime_error& r) {
    return r.what() == text;
  } catch (...) {
    return false;
  }
}

// covers L157
TEST(Exception, CurrentExceptionIsTheSameAfterASuspension) {
  under_each([](int i, const suspension& stop) {
    const std::string mine = std::to_string(i);
    try {
      throw std::runtime_error(mine);
    } catch (...) {
      const std::exception_ptr before = std::current_exception();
      stop();
      EXPECT_EQ(std::current_exception(), before);
      EXPECT_TRUE(is(std::current_exception(), mine));
      try {
        throw std::runtime_error(mine + "/inner");
      } catch (...) {
        stop();
        EXPECT_NE(std::current_exception(), before);
        EXPECT_TRUE(is(std::current_exception(), mine + "/inner"));
      }
      stop();
      EXPECT_EQ(std::current_exception(), before);
    }
    EXPECT_EQ(std::current_exception(), nullptr);
  });
}

// Throws and catches inside of a destructor that an unwinding calls, to the given depth, and suspends at each point.
struct unwinds {
  int depth;
  const suspension& stop;
  ~unwinds() {
    const int outer = std::uncaught_exceptions();
    stop();
    EXPECT_EQ(std::uncaught_exceptions(), outer);
    if (depth > 0) {
      try {
        unwinds inner{depth - 1, stop};
        throw depth;
      } catch (int caught) {
        EXPECT_EQ(caught, depth);
        stop();
        EXPECT_EQ(std::uncaught_exceptions(), outer);
      }
    }
    EXPECT_EQ(std::uncaught_exceptions(), outer);
  }
};

// covers L157
TEST(Exception, AnUnwindingInsideAnUnwindingIsCounted) {
  under_each([](int i, const suspension& stop) {
    int most = 0;
    struct counts {
      int& most;
      ~counts() { most = std::max(most, std::uncaught_exceptions()); }
    };
    try {
      unwinds outer{3, stop};
      throw std::runtime_error(std::to_string(i));
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), std::to_string(i));
      stop();
      EXPECT_EQ(std::uncaught_exceptions(), 0);
      try {
        counts c{most};
        stop();
        throw;
      } catch (const std::runtime_error& again) {
        EXPECT_EQ(&again, &e);
        EXPECT_EQ(most, 1);
      }
    }
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    EXPECT_EQ(std::current_exception(), nullptr);
  });
}

// covers L157
TEST(Exception, OthersThatThrowMeanwhileDoNotCount) {
  on_fibers([] {
    weft::event unwinding, both_unwind, other_is_done;
    weft::fiber<void> other = weft::spawn([&] {
      unwinding.wait();
      EXPECT_EQ(std::uncaught_exceptions(), 0);
      struct guard {
        weft::event& e;
        ~guard() {
          EXPECT_EQ(std::uncaught_exceptions(), 1);
          e.set();
          for (int k = 0; k < 10; ++k) weft::this_fiber::yield();
          EXPECT_EQ(std::uncaught_exceptions(), 1);
        }
      };
      for (int k = 0; k < 100; ++k) {
        try {
          const guard g{both_unwind};
          throw k;
        } catch (int caught) {
          EXPECT_EQ(caught, k);
          EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
      }
      other_is_done.set();
    });
    struct guard {
      weft::event &mine, &both, &done;
      ~guard() {
        EXPECT_EQ(std::uncaught_exceptions(), 1);
        mine.set();
        both.wait();  // the other one is in the same place
        EXPECT_EQ(std::uncaught_exceptions(), 1);
        done.wait();  // and has left it many times
        EXPECT_EQ(std::uncaught_exceptions(), 1);
      }
    };
    try {
      const guard g{unwinding, both_unwind, other_is_done};
      throw std::runtime_error("slow");
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "slow");
    }
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    other.join();
  });
}

// An exception that counts its objects.
struct counted : std::runtime_error {
  explicit counted(std::atomic<int>& n) : std::runtime_error("counted"), objects(&n) { ++*objects; }
  counted(const counted& other) : std::runtime_error(other), objects(other.objects) { ++*objects; }
  ~counted() override { --*objects; }
  std::atomic<int>* objects;
};

// handle rethrows it, suspends in the handler and rethrows again.
void handle(const std::exception_ptr& e, const suspension& stop) {
  try {
    try {
      std::rethrow_exception(e);
    } catch (const counted& c) {
      EXPECT_EQ(c.objects->load(), 1);  // the same object for all
      stop();
      EXPECT_EQ(std::current_exception(), e);
      EXPECT_EQ(std::uncaught_exceptions(), 0);
      throw;
    }
  } catch (const std::runtime_error& r) {
    stop();
    EXPECT_STREQ(r.what(), "counted");
  }
  EXPECT_EQ(std::current_exception(), nullptr);
}

// covers O24
TEST(Exception, OneIsHandledByFibersAndThreadsAtATime) {
  under_each([](int i, const suspension& stop) {
    std::atomic<int> mine{0};
    std::exception_ptr e;
    if (i % 2 == 0) {
      try {
        throw counted(mine);
      } catch (...) {
        stop();
        e = std::current_exception();
      }
    } else {
      std::thread([&] { e = std::make_exception_ptr(counted(mine)); }).join();
    }
    EXPECT_EQ(mine, 1);
    std::vector<weft::fiber<void>> fibers;
    for (int k = 0; k < 4; ++k) fibers.push_back(weft::spawn([e, &stop] { handle(e, stop); }));
    std::thread thread([e] { handle(e, [] { std::this_thread::yield(); }); });
    handle(e, stop);
    for (auto& f : fibers) f.join();
    weft::blocking([&] { thread.join(); });
    EXPECT_EQ(mine, 1);
    // Given away: it ends with the one who handles it last.
    weft::spawn([&stop, last = std::exchange(e, nullptr)]() mutable {
      try {
        std::rethrow_exception(std::exchange(last, nullptr));
      } catch (const counted&) {
        stop();
      }
    }).join();
    EXPECT_EQ(mine, 0);
  });
}

// covers O24
TEST(Exception, TravelsFromRuntimeToRuntimeAndThread) {
  weft::runtime one(with_workers(default_workers()));
  weft::runtime other(with_workers(1));
  std::atomic<int> objects{0};
  for (int k = 0; k < 20; ++k) {
    weft::fiber<void> thrower = one.spawn([&] {
      weft::this_fiber::yield();
      throw counted(objects);
    });
    weft::fiber<void> joiner = other.spawn([&] {
      try {
        thrower.join();
        ADD_FAILURE() << "nothing was thrown";
      } catch (const counted&) {
        weft::this_fiber::yield();
        EXPECT_EQ(objects, 1);
        throw;
      }
    });
    EXPECT_THROW(joiner.join(), counted);
    EXPECT_EQ(objects, 0);
  }
  one.stop();
  other.stop();
}

// An exception that suspends when it is copied, and when it ends.
struct slow {
  slow(int i, const suspension& s) : value(i), stop(&s) {}
  slow(const slow& other) : value(other.value), stop(other.stop) {
    const int uncaught = std::uncaught_exceptions();
    (*stop)();
    EXPECT_EQ(std::uncaught_exceptions(), uncaught);
  }
  slow& operator=(const slow&) = delete;
  ~slow() {
    const int uncaught = std::uncaught_exceptions();
    const std::exception_ptr handled = std::current_exception();
    (*stop)();
    EXPECT_EQ(std::uncaught_exceptions(), uncaught);
    EXPECT_EQ(std::current_exception(), handled);
  }
  int value;
  const suspension* stop;
};

// covers O25
TEST(Exception, ItsOwnCopyingAndItsEndMaySuspend) {
  under_each([](int i, const suspension& stop) {
    try {
      throw std::runtime_error("outer");
    } catch (const std::runtime_error& outer) {
      try {
        const slow thrown(i, stop);
        throw thrown;  // copies it, destroys it while unwinding
      } catch (slow caught) {  // NOLINT: copied again, before the handler is entered
        EXPECT_EQ(caught.value, i);
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      }  // ends twice
      EXPECT_TRUE(is(std::current_exception(), "outer"));
      EXPECT_STREQ(outer.what(), "outer");
    }
    EXPECT_EQ(std::current_exception(), nullptr);
    EXPECT_EQ(std::uncaught_exceptions(), 0);
  });
}

// covers L157
TEST(Exception, OneInsideOfAnotherComesOutWhole) {
  under_each([](int i, const suspension& stop) {
    const std::string mine = std::to_string(i);
    try {
      try {
        throw std::runtime_error(mine);
      } catch (...) {
        stop();
        std::throw_with_nested(std::logic_error(mine + "/around"));
      }
    } catch (const std::logic_error& around) {
      stop();
      EXPECT_EQ(around.what(), mine + "/around");
      try {
        std::rethrow_if_nested(around);
        ADD_FAILURE() << "nothing inside";
      } catch (const std::runtime_error& inside) {
        stop();
        EXPECT_EQ(inside.what(), mine);
      }
    }
  });
}

// covers L157
TEST(Exception, ACallThatBlocksMayThrowInAHandlerAndWhileUnwinding) {
  on_fibers([] {
    struct guard {
      ~guard() {
        EXPECT_THROW(weft::blocking([] { throw std::domain_error("in a destructor"); }), std::domain_error);
        EXPECT_EQ(std::uncaught_exceptions(), 1);
      }
    };
    const auto body = [](int i) {
      for (int k = 0; k < 20; ++k) {
        try {
          const guard g;
          weft::blocking([i] {
            try {
              throw i;
            } catch (int) {
              std::this_thread::yield();
              throw;
            }
          });
        } catch (int caught) {
          EXPECT_EQ(caught, i);
          EXPECT_THROW(weft::blocking([] { throw std::domain_error("in a handler"); }), std::domain_error);
          try {
            throw;
          } catch (int again) {
            EXPECT_EQ(again, i);
          }
        }
      }
    };
    std::vector<weft::fiber<void>> all;
    for (int i = 0; i < 16; ++i) all.push_back(weft::spawn([body, i] { body(i); }));
    for (auto& f : all) f.join();
  });
}

// covers L157
TEST(Exception, ThreadsKeepTheirOwn) {
  weft::runtime rt(with_workers(default_workers()));
  const auto throws = [] {
    for (int k = 0; k < 20; ++k) unwind_and_suspend(k);
    catch_and_suspend(1);
  };
  struct guard {
    weft::runtime& rt;
    decltype(throws)& body;
    ~guard() {
      EXPECT_EQ(std::uncaught_exceptions(), 1);
      rt.spawn(body).join();
      weft::run(body);
      EXPECT_EQ(std::uncaught_exceptions(), 1);
    }
  };
  try {
    const guard g{rt, throws};
    throw std::runtime_error("the thread's");
  } catch (const std::runtime_error& e) {
    rt.spawn(throws).join();
    EXPECT_THROW(rt.spawn([] { throw std::logic_error("the fiber's"); }).join(), std::logic_error);
    weft::run([&] { throws(); });
    EXPECT_STREQ(e.what(), "the thread's");
    EXPECT_TRUE(is(std::current_exception(), "the thread's"));
  }
  EXPECT_EQ(std::current_exception(), nullptr);
  rt.stop();
}

}  // namespace
