// Channels in every interleaving: channel.cpp and channel_state.hpp, down to the selection and the park.
#include "item.hpp"
#include "stage.hpp"

#include <weft/channel.hpp>
#include <weft/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace weft;
using namespace weft::testing;

// What became of the values; written by the actor that the event is of.
template <std::size_t capacity>
struct world : stage {
  channel<item> c{capacity};
  std::vector<int> sent;
  std::vector<int> received;
  int kept = 0;     // values that came back from a closed channel
  int ended = 0;    // receives that saw the end
  int stopped = 0;  // operations
  hand_link::source stop;

  void send(int value) {
    item x(value);
    std::error_code ec;
    c.send(std::move(x), ec);
    if (!ec) {
      sent.push_back(value);
      if (x.value() != 0) model::fail("a value that was sent is still there");
    } else {
      if (x.value() != value) model::fail("a value that was not sent has gone");
      ++(ec == errc::closed ? kept : stopped);
    }
  }
  void try_send(int value) {
    item x(value);
    const bool done = c.try_send(std::move(x));
    if (done) sent.push_back(value);
    if ((x.value() == 0) != done) model::fail("a value is neither here nor there");
  }
  // receive is false at the end.
  bool receive() {
    std::error_code ec;
    if (std::optional<item> x = c.receive(ec)) {
      received.push_back(x->value());
      return true;
    }
    ++(ec ? stopped : ended);
    return false;
  }
  std::size_t outcomes() const { return sent.size() + static_cast<std::size_t>(kept + stopped); }

  std::string expect(const std::vector<int>& values) const {
    return received == values ? "" : "received " + list(received);
  }
  // With several senders or receivers the order in which they note something down is not the channel's.
  std::string expect_in_any_order(std::vector<int> values) const {
    std::vector<int> all = received;
    std::sort(all.begin(), all.end());
    std::sort(values.begin(), values.end());
    return all == values ? "" : "expected " + list(values) + ", received " + list(received);
  }
};
using direct = world<0>;
using buffered = world<1>;

const auto send_1 = [](auto& w) { w.send(1); };
const auto send_2 = [](auto& w) { w.send(2); };
const auto receive = [](auto& w) { w.receive(); };
const auto drain = [](auto& w) {
  while (w.receive()) continue;
};
const auto close = [](auto& w) { w.c.close(); };
const auto stop = [](auto& w) { w.stop.fire(); };

// covers G92
TEST(ChannelModel, AValueGoesFromHandToHand) {
  cast<direct>().waiter("sender", send_1).waiter("receiver", receive).play([](direct& w) { return w.expect({1}); });
}

// covers G92 G96
TEST(ChannelModel, ValuesComeInTheOrderInWhichTheyWereSent) {
  const auto send_all = [](auto& w) {
    for (const int i : {1, 2, 3, 4}) w.send(i);
  };
  const auto receive_all = [](auto& w) {
    for (int i = 0; i < 4; ++i) w.receive();
  };
  const auto check = [](auto& w) { return w.expect({1, 2, 3, 4}); };
  cast<direct>().waiter("sender", send_all).waiter("receiver", receive_all).play(check);
  cast<buffered>().waiter("sender", send_all).waiter("receiver", receive_all).play(check);
}

// covers G98
TEST(ChannelModel, EachValueGoesToOneReceiver) {
  const auto check = [](auto& w) { return w.expect_in_any_order({1, 2}); };
  const auto send_both = [](auto& w) { w.send(1), w.send(2); };
  const auto receive_both = [](auto& w) { w.receive(), w.receive(); };
  cast<direct>().waiter("receiver", receive).waiter("receiver 2", receive).waiter("sender", send_both).play(check);
  cast<buffered>().waiter("receiver", receive).waiter("receiver 2", receive).waiter("sender", send_both).play(check);
  cast<direct>().waiter("sender", send_1).waiter("sender 2", send_2).waiter("receiver", receive_both).play(check);
  cast<buffered>().waiter("sender", send_1).waiter("sender 2", send_2).waiter("receiver", receive_both).play(check);
}

// covers G98
TEST(ChannelModel, TwoSendersAndTwoReceivers) {
  const auto check = [](auto& w) { return w.expect_in_any_order({1, 2}); };
  cast<direct>()
      .waiter("sender", send_1)
      .waiter("sender 2", send_2)
      .waiter("receiver", receive)
      .waiter("receiver 2", receive)
      .play(check);
  cast<buffered>()
      .waiter("sender", send_1)
      .waiter("sender 2", send_2)
      .waiter("receiver", receive)
      .waiter("receiver 2", receive)
      .play(check);
}

// covers G94 G95 G97 G101
TEST(ChannelModel, CloseLeavesAValueEitherSentOrKept) {
  const auto check = [](auto& w) -> std::string {
    if (w.outcomes() != 2 || w.stopped != 0) return "a value was neither sent nor kept";
    if (w.ended != 1) return "no end";
    return w.expect(w.sent);
  };
  const auto send_both = [](auto& w) { w.send(1), w.send(2); };
  cast<direct>().waiter("sender", send_both).waiter("receiver", drain).other("closer", close).play(check);
  cast<buffered>().waiter("sender", send_both).waiter("receiver", drain).other("closer", close).play(check);
}

// covers G94 G101
TEST(ChannelModel, CloseWakesEachWhoWaits) {
  cast<direct>().waiter("receiver", receive).waiter("receiver 2", receive).other("closer", close).play([](direct& w) {
    return w.ended == 2 ? "" : "not everybody saw the end";
  });
  cast<direct>().waiter("sender", send_1).waiter("sender 2", send_2).other("closer", close).play([](direct& w) {
    return w.kept == 2 ? "" : "not everybody has the value still";
  });
  cast<buffered>().waiter("sender", send_1).waiter("sender 2", send_2).other("closer", close).play([](buffered& w) {
    return w.outcomes() == 2 && w.kept >= 1 ? "" : "not everybody has an answer";
  });
}

// covers G94
TEST(ChannelModel, OnlyOneCloseDoes) {
  struct closed_twice : direct {
    int refused = 0;
  };
  const auto try_close = [](closed_twice& w) {
    try {
      w.c.close();
    } catch (const io_error&) {
      ++w.refused;
    }
  };
  cast<closed_twice>()
      .waiter("receiver", receive)
      .other("closer", try_close)
      .other("closer 2", try_close)
      .play([](closed_twice& w) { return w.refused == 1 && w.ended == 1 ? "" : "not one close"; });
}

// Whoever was stopped has taken nothing, and given nothing away.
TEST(ChannelModel, AStoppedReceiveLeavesTheValue) {
  cast<direct>()
      .waiter("receiver",
              [](direct& w) {
                const hand_link link(w.stop);
                w.receive();
              })
      .other("sender", [](direct& w) { w.try_send(1); })
      .other("stopper", stop)
      .play([](direct& w) -> std::string {
        if (w.received.size() + static_cast<std::size_t>(w.stopped) != 1) return "neither received nor stopped";
        return w.expect(w.sent);
      });
}

TEST(ChannelModel, AStoppedSendKeepsTheValue) {
  const auto check = [](auto& w) -> std::string {
    if (w.outcomes() != 1) return "neither sent nor stopped";
    return w.expect(w.sent);
  };
  const auto send = [](auto& w) {
    const hand_link link(w.stop);
    w.send(1);
  };
  const auto try_receive = [](auto& w) {
    if (std::optional<item> x = w.c.try_receive()) w.received.push_back(x->value());
  };
  cast<direct>().waiter("sender", send).other("receiver", try_receive).other("stopper", stop).play(check);
}

// With a full buffer: the stopped sender's value does not move up when a place becomes free.
// covers G96
TEST(ChannelModel, AFreedPlaceIsNotForWhoWasStopped) {
  struct full : buffered {
    full() { try_send(1); }
  };
  cast<full>()
      .waiter("sender",
              [](full& w) {
                const hand_link link(w.stop);
                w.send(2);
              })
      .waiter("sender 2", [](full& w) { w.send(3); })
      .waiter("receiver",
              [](full& w) {
                w.receive();
                w.receive();
              })
      .other("stopper", stop)
      .play([](full& w) -> std::string {
        std::vector<int> all = w.received;
        if (std::optional<item> x = w.c.try_receive()) all.push_back(x->value());
        if (all.at(0) != 1) return "a newcomer was first";
        std::sort(all.begin(), all.end());
        std::sort(w.sent.begin(), w.sent.end());
        return w.sent == all && w.outcomes() == 3 ? "" : "sent " + list(w.sent) + ", received " + list(all);
      });
}

// The receiver that is stopped leaves the line, the value finds the other.
// covers G103
TEST(ChannelModel, AValuePassesOverWhoIsStopped) {
  cast<direct>()
      .waiter("receiver",
              [](direct& w) {
                const hand_link link(w.stop);
                w.receive();
              })
      .waiter("receiver 2", receive)
      .waiter("sender",
              [](direct& w) {
                w.send(1);
                w.c.close();
              })
      .other("stopper", stop)
      .play([](direct& w) -> std::string {
        if (w.received.size() + static_cast<std::size_t>(w.ended + w.stopped) != 2) return "somebody has no answer";
        return w.expect(w.sent);
      });
}

// The time comes and the value comes: it is one of the two.
TEST(ChannelModel, ATimedReceiveTakesTheValueOrTimesOut) {
  cast<direct>()
      .waiter("receiver",
              [](direct& w) {
                std::error_code ec;
                const std::chrono::steady_clock::time_point when(std::chrono::nanoseconds(5));
                if (std::optional<item> x = w.c.try_receive_until(when, ec)) {
                  w.received.push_back(x->value());
                } else if (ec == std::errc::timed_out) {
                  ++w.stopped;
                }
              })
      .other("sender", [](direct& w) { w.try_send(1); })
      .clock({5})
      .play([](direct& w) -> std::string {
        if (w.received.size() + static_cast<std::size_t>(w.stopped) != 1) return "neither a value nor the time";
        return w.expect(w.sent);
      });
}

// The handles go while the other side is still returning; the last one takes the channel along.
TEST(ChannelModel, NobodyTouchesTheChannelAfterItsLastHandle) {
  struct handles : stage {
    channel<item> c{0};
    sender<item> in{c};
    receiver<item> out{c};
    int received = 0;
    handles() { c = {}; }
  };
  cast<handles>()
      .waiter("sender",
              [](handles& w) {
                const sender<item> mine = std::exchange(w.in, {});
                mine.send(item(1));
              })
      .waiter("receiver",
              [](handles& w) {
                const receiver<item> mine = std::exchange(w.out, {});
                w.received = mine.receive()->value();
              })
      .play([](handles& w) { return w.received == 1 ? "" : "nothing received"; });
}

// Likewise when a parked receiver is stopped: the channel is there until it has left the line.
TEST(ChannelModel, TheChannelOutlivesAReceiverThatLeavesTheLine) {
  struct handles : direct {
    model::atomic<bool> over{false};
    bool parked() const { return c && !detail::channel_access::state(c)->receivers.empty(); }
  };
  cast<handles>()
      .waiter("receiver",
              [](handles& w) {
                {
                  const hand_link link(w.stop);
                  w.receive();
                }
                w.over.store(true, std::memory_order_seq_cst);
              })
      .other("dropper",
             [](handles& w) {
               model::wait_until([&w] { return w.parked() || w.over.load(std::memory_order_seq_cst); });
               w.c = {};
             })
      .other("stopper", stop)
      .play([](handles& w) { return w.stopped == 1 ? "" : "not stopped"; });
}

}  // namespace
