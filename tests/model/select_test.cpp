// select in every interleaving: of all that could go on, exactly one case has; the others' values are where they were.
#include "item.hpp"
#include "stage.hpp"

#include <weft/error.hpp>
#include <weft/select.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

constexpr std::size_t nobody = 99;

template <std::size_t capacity>
struct world : stage {
  channel<item> a{capacity};  // its lock comes first
  channel<item> b{capacity};
  hand_link::source stop;
  std::size_t won[2] = {nobody, nobody};  // by two who select
  std::vector<int> received;              // by the first
  std::vector<int> received_2;            // by the second
  bool sent = false;
  int ended = 0;
  bool stopped = false;

  auto into(std::vector<int>& values) {
    return [this, &values](std::optional<item> x) {
      if (x) {
        values.push_back(x->value());
      } else {
        ++ended;
      }
    };
  }
  void receive(channel<item>& from) {
    if (std::optional<item> x = from.receive()) {
      received.push_back(x->value());
    } else {
      ++ended;
    }
  }
  void try_send(channel<item>& to, int value) {
    item x(value);
    sent = to.try_send(std::move(x));
    if ((x.value() == 0) != sent) model::fail("a value is neither here nor there");
  }
  std::string expect(const std::vector<int>& values) const {
    return received == values ? "" : "received " + list(received) + ", expected " + list(values);
  }
};
using direct = world<0>;
using buffered = world<1>;

// Both orders in which a select of two looks at its cases.
const std::vector<void (*)(stage&)> shuffles = {[](stage&) {}, [](stage& s) { s.shuffle_anew(); }};

// Whoever lost has its value still: the next receive finds it.
// covers H108 H109
TEST(SelectModel, OneOfTwoSendersWins) {
  for (const auto shuffle : shuffles) {
    const auto receive_both = [shuffle](auto& w) {
      shuffle(w);
      w.won[0] = select(on_receive(w.a, w.into(w.received)), on_receive(w.b, w.into(w.received)));
      if (w.received.size() != 1) model::fail("not one case was made");
      w.receive(w.won[0] == 0 ? w.b : w.a);
    };
    const auto check = [](auto& w) { return w.won[0] == 0 ? w.expect({1, 2}) : w.expect({2, 1}); };
    const auto send_a = [](auto& w) { w.a.send(item(1)); };
    const auto send_b = [](auto& w) { w.b.send(item(2)); };
    cast<direct>().waiter("selector", receive_both).waiter("to a", send_a).waiter("to b", send_b).play(check);
    cast<buffered>().waiter("selector", receive_both).waiter("to a", send_a).waiter("to b", send_b).play(check);
  }
}

// covers H108 H109
TEST(SelectModel, OneOfTwoReceiversWins) {
  for (const auto shuffle : shuffles) {
    cast<direct>()
        .waiter("selector",
                [shuffle](direct& w) {
                  shuffle(w);
                  item x(1), y(2);
                  w.won[0] = select(on_send(w.a, std::move(x)), on_send(w.b, std::move(y)));
                  if ((x.value() == 0) == (y.value() == 0)) model::fail("not one value was sent");
                  if (w.won[0] == 0) w.b.send(std::move(y));
                  if (w.won[0] == 1) w.a.send(std::move(x));
                })
        .waiter("from a", [](direct& w) { w.receive(w.a); })
        .waiter("from b", [](direct& w) { w.received_2.push_back(w.b.receive()->value()); })
        .play([](direct& w) { return w.received_2 == std::vector{2} ? w.expect({1}) : "b got something else"; });
  }
}

// covers H108 H110
TEST(SelectModel, ASenderOrTheOtherChannelsClose) {
  for (const auto shuffle : shuffles) {
    cast<direct>()
        .waiter("selector",
                [shuffle](direct& w) {
                  shuffle(w);
                  w.won[0] = select(on_receive(w.a, w.into(w.received)), on_receive(w.b, w.into(w.received)));
                  if (w.received.size() + static_cast<std::size_t>(w.ended) != 1) model::fail("not one case was made");
                  w.receive(w.won[0] == 0 ? w.b : w.a);
                })
        .waiter("to a", [](direct& w) { w.a.send(item(1)); })
        .other("closer", [](direct& w) { w.b.close(); })
        .play([](direct& w) { return w.ended == 1 ? w.expect({1}) : "not one end"; });
  }
}

// covers H110
TEST(SelectModel, ASendToAChannelThatIsClosedKeepsTheValue) {
  cast<direct>()
      .waiter("selector",
              [](direct& w) {
                item x(1);
                try {
                  w.won[0] = select(on_send(w.a, std::move(x)), on_receive(w.b));
                } catch (const io_error&) {
                  ++w.ended;
                }
                if ((x.value() == 0) != (w.won[0] == 0)) model::fail("the value is neither here nor there");
              })
      .waiter("from a",
              [](direct& w) {
                if (std::optional<item> x = w.a.receive()) w.received.push_back(x->value());
              })
      .other("closer", [](direct& w) { w.a.close(); })
      .play([](direct& w) -> std::string {
        if ((w.won[0] == 0) == (w.ended == 1)) return "neither sent nor refused";
        return w.won[0] == 0 ? w.expect({1}) : w.expect({});
      });
}

// covers H108
TEST(SelectModel, AStopLeavesTheValue) {
  cast<direct>()
      .waiter("selector",
              [](direct& w) {
                const hand_link link(w.stop);
                try {
                  w.won[0] = select(on_receive(w.b, w.into(w.received)), on_receive(w.a, w.into(w.received)));
                } catch (const canceled_error&) {
                  w.stopped = true;
                }
              })
      .other("to a", [](direct& w) { w.try_send(w.a, 1); })
      .other("stopper", [](direct& w) { w.stop.fire(); })
      .play([](direct& w) -> std::string {
        if ((w.won[0] == 1) == w.stopped) return "neither received nor stopped";
        return w.sent ? w.expect({1}) : w.expect({});
      });
}

// covers H108 H113
TEST(SelectModel, ATimeoutLeavesTheValue) {
  cast<direct>()
      .waiter("selector",
              [](direct& w) {
                const std::chrono::steady_clock::time_point when(std::chrono::nanoseconds(5));
                w.won[0] = select(on_timeout(when), on_receive(w.a, w.into(w.received)));
              })
      .other("to a", [](direct& w) { w.try_send(w.a, 1); })
      .clock({5})
      .play([](direct& w) -> std::string {
        if ((w.won[0] == 1) != (w.received.size() == 1)) return "won by a case that was not made";
        return w.sent ? w.expect({1}) : w.expect({});
      });
}

// Two selects that could each end the other's wait: one value passes, in one direction.
// covers H107 H108
TEST(SelectModel, TwoSelectsMeetOnce) {
  for (const auto shuffle : shuffles) {
    const auto check = [](direct& w) -> std::string {
      if (w.won[0] == w.won[1]) return "they do not agree";
      return w.won[0] == 0 ? w.expect({}) : w.expect({2});
    };
    cast<direct>()
        .waiter("one",
                [](direct& w) {
                  item x(1);
                  w.won[0] = select(on_send(w.a, std::move(x)), on_receive(w.b, w.into(w.received)));
                })
        .waiter("two",
                [shuffle](direct& w) {
                  shuffle(w);
                  item x(2);
                  w.won[1] = select(on_send(w.b, std::move(x)), on_receive(w.a, w.into(w.received_2)));
                })
        .play(check);
  }
}

// On one and the same channel: neither meets itself.
// covers H107
TEST(SelectModel, ASelectOfBothDirectionsOfAChannelNeverMeetsItself) {
  for (const auto shuffle : shuffles) {
    cast<direct>()
        .waiter("one",
                [](direct& w) {
                  item x(1);
                  w.won[0] = select(on_send(w.a, std::move(x)), on_receive(w.a, w.into(w.received)));
                })
        .waiter("two",
                [shuffle](direct& w) {
                  shuffle(w);
                  item x(2);
                  w.won[1] = select(on_receive(w.a, w.into(w.received_2)), on_send(w.a, std::move(x)));
                })
        .play([](direct& w) -> std::string {
          if (w.won[0] != w.won[1]) return "both sent, or both received";
          if (w.won[0] == 0) return w.received_2 == std::vector{1} ? "" : "two got " + list(w.received_2);
          return w.expect({2});
        });
  }
}

// A value that is in a or in b at every moment.
// covers H104
TEST(SelectModel, OtherwiseOnlyIfNothingCouldGoOnAtOneMoment) {
  for (const auto shuffle : shuffles) {
    struct moved : buffered {
      moved() { static_cast<void>(b.try_send(item(1))); }
    };
    cast<moved>()
        .waiter("selector",
                [shuffle](moved& w) {
                  shuffle(w);
                  w.won[0] =
                      select(on_receive(w.a, w.into(w.received)), on_receive(w.b, w.into(w.received)), otherwise());
                })
        .other("mover",
               [](moved& w) {
                 static_cast<void>(w.a.try_send(item(2)));
                 static_cast<void>(w.b.try_receive());
               })
        .play([](moved& w) { return w.won[0] < 2 && w.received.size() == 1 ? "" : "nothing could go on"; });
  }
}

// The handles go while the other side is still returning.
TEST(SelectModel, NobodyTouchesTheChannelsAfterTheirLastHandles) {
  struct handles : direct {
    receiver<item> out = a;
    sender<item> in = a;
    handles() { a = {}; }
  };
  cast<handles>()
      .waiter("selector",
              [](handles& w) {
                const receiver<item> from = std::exchange(w.out, {});
                const channel<item> other = std::exchange(w.b, {});
                w.won[0] = select(on_receive(from, w.into(w.received)), on_send(other, item(2)));
              })
      .waiter("to a",
              [](handles& w) {
                const sender<item> to = std::exchange(w.in, {});
                to.send(item(1));
              })
      .play([](handles& w) { return w.expect({1}); });
}

// And when the value goes through a buffer: whoever takes it may end both channels, though the select still has them
// locked.
TEST(SelectModel, TheChannelsMayGoAsSoonAsTheValueIsTaken) {
  for (const bool into_b : {false, true}) {
    cast<buffered>()
        .waiter("selector",
                [into_b](buffered& w) {
                  w.won[0] = select(on_receive(into_b ? w.a : w.b), on_send(into_b ? w.b : w.a, item(1)));
                })
        .waiter("taker",
                [into_b](buffered& w) {
                  w.received.push_back((into_b ? w.b : w.a).receive()->value());
                  w.a = {};
                  w.b = {};
                })
        .play([](buffered& w) { return w.won[0] == 1 ? w.expect({1}) : "the other case"; });
  }
}

// And while it is parked: the channels are there until it has left their lines.
TEST(SelectModel, TheChannelsOutliveASelectThatWaits) {
  struct dropped : direct {
    bool parked() const { return b && !detail::channel_access::state(b)->receivers.empty(); }
  };
  cast<dropped>()
      .waiter("selector", [](dropped& w) { w.won[0] = select(on_receive(w.a, w.into(w.received)), on_receive(w.b)); })
      .other("dropper",
             [](dropped& w) {
               model::wait_until([&w] { return w.parked(); });
               w.try_send(w.a, 1);
               w.b = {};
               w.a = {};
             })
      .play([](dropped& w) { return w.won[0] == 0 ? w.expect({1}) : "the other case"; });
}

}  // namespace
