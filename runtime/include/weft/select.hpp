// select: wait for the first of several things.
#pragma once

#include <weft/channel.hpp>
#include <weft/detail/channel_base.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/netpoll/watcher.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/selection.hpp>
#include <weft/sched/wait_queue.hpp>
#include <weft/time.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

namespace detail {

enum class case_kind : std::uint8_t { channel, clock, readiness, timeout, stop, otherwise };

// select_case is one case of a select, without its types.
struct select_case {
  case_kind kind = case_kind::channel;
  // Of a channel's case, and of a clock's; null for a null channel, which is never ready.
  channel_base* channel = nullptr;
  sched::wait_queue channel_base::* queue = nullptr;
  sched::verdict (*attempt)(select_case& self, sched::wake_list& wake) = nullptr;  // under the channel's lock
  void (*pin)(channel_base& c, bool on) noexcept = nullptr;
  sched::wait_node node;
  sched::verdict outcome = sched::verdict::pending;
  poll::watcher* watched = nullptr;  // of a readiness
  sched::nanotime when = sched::never;  // of a timeout
  std::stop_token token;                // of a stop
};

// select_scratch is the room that a select of n cases needs beside them.
struct select_scratch {
  select_case** cases;     // n of them, as written
  channel_base** locks;    // room for n
  std::uint16_t* order;    // room for n
  std::size_t n;
};

// select_one waits for one of the cases and returns which; for a channel's case the transfer has been made, and
// `outcome` tells whether the channel was closed. Throws canceled_error, and what an element throws that moves.
WEFT_API std::size_t select_one(const select_scratch& s);

template <class T>
void pin_channel(channel_base& c, bool on) noexcept {
  auto& state = static_cast<channel_state<T>&>(c);
  on ? state.refer() : state.drop();
}

template <class T, class F>
struct receive_case : select_case {
  receive_case(channel_state<T>* c, F f) : handler(std::move(f)) {
    channel = c;
    queue = &channel_base::receivers;
    node.element = std::addressof(value);
    attempt = [](select_case& self, sched::wake_list& wake) {
      return static_cast<channel_state<T>*>(self.channel)->take(static_cast<receive_case&>(self).value, wake);
    };
    pin = &pin_channel<T>;
  }
  receive_case(const receive_case&) = delete;  // its node is found by its address
  receive_case& operator=(const receive_case&) = delete;
  void run() { std::invoke(handler, std::move(value)); }

  std::optional<T> value;
  F handler;
};

template <class T, class F>
struct send_case : select_case {
  // The value is the caller's, or a copy of it.
  send_case(channel_state<T>* c, T* v, std::optional<T> copied, F f) : copy(std::move(copied)), handler(std::move(f)) {
    channel = c;
    queue = &channel_base::senders;
    node.element = copy ? std::addressof(*copy) : v;
    attempt = [](select_case& self, sched::wake_list& wake) {
      return static_cast<channel_state<T>*>(self.channel)->put(*static_cast<T*>(self.node.element), wake);
    };
    pin = &pin_channel<T>;
  }
  send_case(const send_case&) = delete;
  send_case& operator=(const send_case&) = delete;
  void run() {
    if (outcome == sched::verdict::closed) throw_channel_failure("send to", outcome);
    std::invoke(handler);
  }

  std::optional<T> copy;
  F handler;
};

template <class F>
struct clock_case : select_case {
  clock_case(clock_state& clock, F f) : handler(std::move(f)) {
    kind = case_kind::clock;
    channel = &clock;
    queue = &channel_base::receivers;
    attempt = [](select_case& self, sched::wake_list&) {
      auto& mine = static_cast<clock_case&>(self);
      mine.tick = static_cast<clock_state*>(mine.channel)->take_locked();
      return mine.tick ? sched::verdict::done : sched::verdict::pending;
    };
  }
  clock_case(const clock_case&) = delete;
  clock_case& operator=(const clock_case&) = delete;
  void run() {
    if constexpr (std::is_invocable_v<F&, clock_state::time_point>) {
      std::invoke(handler, *tick);
    } else {
      std::invoke(handler);
    }
  }

  std::optional<clock_state::time_point> tick;
  F handler;
};

template <class F>
struct readiness_case : select_case {
  readiness_case(poll::descriptor* d, poll::mode m, F f) : watch(d, m), handler(std::move(f)) {
    kind = case_kind::readiness;
    watched = &watch;
  }
  readiness_case(const readiness_case&) = delete;
  readiness_case& operator=(const readiness_case&) = delete;
  void run() { std::invoke(handler); }

  poll::watcher watch;
  F handler;
};

template <class F>
struct plain_case : select_case {
  plain_case(case_kind k, F f) : handler(std::move(f)) { kind = k; }
  void run() { std::invoke(handler); }

  F handler;
};

struct nothing_to_do {
  template <class... Args>
  void operator()(Args&&...) const noexcept {}
};

template <class Case>
concept case_of_select = std::is_base_of_v<select_case, std::remove_cvref_t<Case>>;

}  // namespace detail

// select waits until one of its cases can go on, and makes exactly that one: the transfer, then, with no lock held, its
// handler, which may wait and throw. If several can go on, each is as likely as the others. Returns the number of the
// case, from 0, as written.
//
//     weft::select(weft::on_receive(requests, [&](std::optional<request> r) { ... }),   // nothing: closed
//                  weft::on_send(answers, std::move(a), [&] { ... }),   // a is moved from only if it is sent
//                  weft::on_timeout(100ms, [&] { ... }),
//                  weft::on_stop(token, [&] { ... }));
//
// Other cases: on_tick, of a timer or ticker; on_readable and on_writable, of a connection or anything else that has a
// descriptor. otherwise(f) is what happens if no other case can go on at this moment; such a select never waits. A
// timeout does not come before what can go on. A null channel is never ready. A select that has nothing to wait for
// waits for ever. Throws canceled_error if a stop of the caller stands, unless it has an otherwise(); errc::closed if
// it sends to a closed channel, also one that is closed meanwhile. Nothing is allocated. Fibers and plain threads.
template <detail::case_of_select... Cases>
std::size_t select(Cases&&... cases) {
  constexpr std::size_t n = sizeof...(Cases);
  detail::select_case* all[n + 1] = {&cases...};
  detail::channel_base* locks[n + 1];
  std::uint16_t order[n + 1];
  const std::size_t won = detail::select_one({all, locks, order, n});
  std::size_t i = 0;
  static_cast<void>(((i++ == won ? (cases.run(), true) : false) || ...));
  return won;
}

// The cases. Each is for one select, in whose call it is made. The handler may be left out.
// on_receive: f takes a std::optional<T>, nothing for the end; by rvalue reference, an element is not moved again.
template <class Handle, class F = detail::nothing_to_do>
[[nodiscard]] auto on_receive(const Handle& from, F f = {}) {
  return detail::receive_case<typename Handle::value_type, F>(detail::channel_access::state(from), std::move(f));
}
// on_send: an rvalue is moved from only if it is sent; an lvalue is copied now.
template <class Handle, class U, class F = detail::nothing_to_do>
  requires std::is_convertible_v<U&&, typename Handle::value_type>
[[nodiscard]] auto on_send(const Handle& to, U&& value, F f = {}) {
  using T = typename Handle::value_type;
  if constexpr (std::is_same_v<U, T>) {
    return detail::send_case<T, F>(detail::channel_access::state(to), std::addressof(value), std::nullopt,
                                   std::move(f));
  } else {
    return detail::send_case<T, F>(detail::channel_access::state(to), nullptr,
                                   std::optional<T>(std::in_place, std::forward<U>(value)), std::move(f));
  }
}
// on_tick: of a timer or ticker; f takes the time when the tick was due, or nothing.
template <class Clock, class F = detail::nothing_to_do>
[[nodiscard]] auto on_tick(Clock& clock, F f = {}) {
  return detail::clock_case<F>(detail::clock_access::state(clock), std::move(f));
}
// on_readable, on_writable: when a read, an accept, or a write, would not have to wait: for data or room, a connection,
// the stream's end, an error, a deadline that has passed, the close of the handle. Nothing is read or written; somebody
// else may be quicker to. Any number may wait so for one handle, beside its readers and writers. The handle need not
// outlive the select.
template <class Handle, class F = detail::nothing_to_do>
[[nodiscard]] auto on_readable(const Handle& of, F f = {}) {
  return detail::readiness_case<F>(io::access::descriptor(of), poll::mode::read, std::move(f));
}
template <class Handle, class F = detail::nothing_to_do>
[[nodiscard]] auto on_writable(const Handle& of, F f = {}) {
  return detail::readiness_case<F>(io::access::descriptor(of), poll::mode::write, std::move(f));
}
// on_timeout: a duration from now, or a steady time point.
template <class When, class F = detail::nothing_to_do>
[[nodiscard]] auto on_timeout(const When& when, F f = {}) {
  detail::plain_case<F> c(detail::case_kind::timeout, std::move(f));
  c.when = detail::to_nanotime(when);
  return c;
}
// on_stop: when a stop of the token is, or has been, requested.
template <class F = detail::nothing_to_do>
[[nodiscard]] auto on_stop(std::stop_token token, F f = {}) {
  detail::plain_case<F> c(detail::case_kind::stop, std::move(f));
  c.token = std::move(token);
  return c;
}
template <class F = detail::nothing_to_do>
[[nodiscard]] auto otherwise(F f = {}) {
  return detail::plain_case<F>(detail::case_kind::otherwise, std::move(f));
}

}  // namespace weft::inline v0
