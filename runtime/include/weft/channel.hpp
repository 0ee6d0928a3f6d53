// channel: values from fiber to fiber, one at a time.
#pragma once

#include <weft/detail/channel_state.hpp>
#include <weft/detail/time_span.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>
#include <optional>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

// What a channel may carry: what can be moved; a move may throw.
template <class T>
concept channel_element = std::is_object_v<T> && std::is_move_constructible_v<T> && std::is_destructible_v<T>;

namespace detail {

// The operations of a channel's handles; H has state().
template <class H, class T>
class send_calls {
 public:
  // send waits until a receiver has taken the value, or the buffer. It is moved from only when that happens; an lvalue
  // is copied before. Throws io_error with errc::closed if the channel is closed, before or meanwhile, and
  // canceled_error if a stop of the caller stands. On a null channel it waits for ever.
  void send(T&& value) const { check("send to", send_to(state(), value)); }
  void send(T&& value, const std::stop_token& stop) const {
    const sched::stop_link link(stop);
    send(std::move(value));
  }
  void send(T&& value, std::error_code& ec) const { ec = code_of(send_to(state(), value)); }
  void send(T&& value, const std::stop_token& stop, std::error_code& ec) const {
    const sched::stop_link link(stop);
    send(std::move(value), ec);
  }
  void send(const T& value) const
    requires std::is_copy_constructible_v<T>
  {
    send(T(value));
  }
  void send(const T& value, const std::stop_token& stop) const
    requires std::is_copy_constructible_v<T>
  {
    send(T(value), stop);
  }
  void send(const T& value, std::error_code& ec) const
    requires std::is_copy_constructible_v<T>
  {
    send(T(value), ec);
  }
  void send(const T& value, const std::stop_token& stop, std::error_code& ec) const
    requires std::is_copy_constructible_v<T>
  {
    send(T(value), stop, ec);
  }

  // try_send sends if that needs no wait, and tells whether it did; the other two wait at most so long.
  [[nodiscard]] bool try_send(T&& value) const { return sent(try_send_to(state(), value)); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_send_for(T&& value, const std::chrono::duration<Rep, Period>& time) const {
    return send_until(value, to_nanotime(time));
  }
  template <class Duration>
  [[nodiscard]] bool try_send_until(
      T&& value, const std::chrono::time_point<std::chrono::steady_clock, Duration>& when) const {
    return send_until(value, to_nanotime(when));
  }
  [[nodiscard]] bool try_send(const T& value) const
    requires std::is_copy_constructible_v<T>
  {
    return try_send(T(value));
  }

  // close lets the receivers have what is in the buffer, and then the end; whoever waits is woken. Throws errc::closed
  // the second time, std::errc::invalid_argument on a null channel.
  void close() const {
    if (state() == nullptr) throw_null_channel("close");
    if (!state()->shut()) throw_channel_failure("close", sched::verdict::closed);
  }

 protected:
  send_calls() noexcept = default;
  ~send_calls() = default;
  send_calls(const send_calls&) noexcept = default;
  send_calls& operator=(const send_calls&) noexcept = default;

 private:
  channel_state<T>* state() const noexcept { return static_cast<const H&>(*this).state(); }
  static void check(const char* operation, sched::verdict v) {
    if (v != sched::verdict::done) [[unlikely]]
      throw_channel_failure(operation, v);
  }
  static bool sent(sched::verdict v) {
    if (v == sched::verdict::pending) return false;
    check("send to", v);
    return true;
  }
  bool send_until(T& value, sched::nanotime until) const {
    if (const sched::verdict v = try_send_to(state(), value); v != sched::verdict::pending) return sent(v);
    return sent(in_time(until, [&] { return send_to(state(), value); }));
  }
};

template <class H, class T>
class receive_calls {
 public:
  // receive waits for a value; nothing is the end: the channel is closed, and its buffer drained. Throws canceled_error
  // if a stop of the caller stands. On a null channel it waits for ever.
  std::optional<T> receive() const {
    std::optional<T> value;
    check(receive_from(state(), value));
    return value;
  }
  std::optional<T> receive(const std::stop_token& stop) const {
    const sched::stop_link link(stop);
    return receive();
  }
  // With a code, std::errc::operation_canceled in it tells a stop from the end.
  std::optional<T> receive(std::error_code& ec) const {
    std::optional<T> value;
    ec = end_or(receive_from(state(), value));
    return value;
  }
  std::optional<T> receive(const std::stop_token& stop, std::error_code& ec) const {
    const sched::stop_link link(stop);
    return receive(ec);
  }

  // try_receive gives what is there, without a wait; the others wait at most so long. Nothing may also be the end: with
  // a code, std::errc::operation_would_block, or std::errc::timed_out, tells.
  std::optional<T> try_receive() const {
    std::optional<T> value;
    static_cast<void>(try_receive_from(state(), value));
    return value;
  }
  std::optional<T> try_receive(std::error_code& ec) const {
    std::optional<T> value;
    ec = {};
    if (try_receive_from(state(), value) == sched::verdict::pending) {
      ec = std::make_error_code(std::errc::operation_would_block);
    }
    return value;
  }
  template <class Rep, class Period>
  std::optional<T> try_receive_for(const std::chrono::duration<Rep, Period>& time) const {
    std::optional<T> value;
    check(receive_until(value, to_nanotime(time)));
    return value;
  }
  template <class Rep, class Period>
  std::optional<T> try_receive_for(const std::chrono::duration<Rep, Period>& time, std::error_code& ec) const {
    std::optional<T> value;
    ec = end_or(receive_until(value, to_nanotime(time)));
    return value;
  }
  template <class Duration>
  std::optional<T> try_receive_until(
      const std::chrono::time_point<std::chrono::steady_clock, Duration>& when) const {
    std::optional<T> value;
    check(receive_until(value, to_nanotime(when)));
    return value;
  }
  template <class Duration>
  std::optional<T> try_receive_until(const std::chrono::time_point<std::chrono::steady_clock, Duration>& when,
                                     std::error_code& ec) const {
    std::optional<T> value;
    ec = end_or(receive_until(value, to_nanotime(when)));
    return value;
  }

  // Range-for receives until the end.
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(const receive_calls& from) : from_(&from) { ++*this; }
    T& operator*() const noexcept { return *value_; }
    iterator& operator++() {
      value_.reset();
      check(receive_from(from_->state(), value_));
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return !i.value_; }

   private:
    const receive_calls* from_ = nullptr;
    mutable std::optional<T> value_;
  };
  iterator begin() const { return iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 protected:
  receive_calls() noexcept = default;
  ~receive_calls() = default;
  receive_calls(const receive_calls&) noexcept = default;
  receive_calls& operator=(const receive_calls&) noexcept = default;

 private:
  channel_state<T>* state() const noexcept { return static_cast<const H&>(*this).state(); }
  static void check(sched::verdict v) {
    if (v == sched::verdict::canceled) [[unlikely]]
      throw_channel_failure("receive from", v);
  }
  // The code of what came in place of a value; pending: the time.
  static std::error_code end_or(sched::verdict v) noexcept {
    if (v == sched::verdict::pending) return std::make_error_code(std::errc::timed_out);
    return v == sched::verdict::closed ? std::error_code() : code_of(v);
  }
  // Into the place where it stays: a value that has left the channel is not moved again.
  sched::verdict receive_until(std::optional<T>& value, sched::nanotime until) const {
    const sched::verdict v = try_receive_from(state(), value);
    return v != sched::verdict::pending ? v : in_time(until, [&] { return receive_from(state(), value); });
  }
};

}  // namespace detail

// channel<T> passes values from senders to receivers, with Go's rules: in the order in which they were sent, each to
// one receiver. Without a buffer (capacity 0) a send waits for its receiver; with one it waits while the buffer is
// full. A handle, copied like a shared_ptr: copies are the same channel, and the last one to go takes the values left
// along. A default-constructed handle is null.
//
// Thread-safe: fibers, of any runtime, and plain threads. A timed call on a fiber or inside runtime::enter() costs a
// timer. Elements may throw as they move; nothing is lost then, and the exception comes out of a call that would have
// moved it. They move under the channel's lock: no move may suspend, use the channel, or stop somebody who waits at it.
template <channel_element T>
class channel : public detail::send_calls<channel<T>, T>, public detail::receive_calls<channel<T>, T> {
 public:
  using value_type = T;

  constexpr channel() noexcept = default;
  // Throws std::bad_alloc, or std::errc::not_enough_memory for a capacity that no memory could hold.
  explicit channel(std::size_t capacity) : ref_(detail::channel_state<T>::make(capacity)) {}

  explicit operator bool() const noexcept { return ref_.get() != nullptr; }
  // size is how many values are in the buffer, at some moment during the call.
  std::size_t size() const noexcept { return ref_.get() != nullptr ? ref_.get()->count() : 0; }
  std::size_t capacity() const noexcept { return ref_.get() != nullptr ? ref_.get()->capacity() : 0; }

  // Whether both are the same channel.
  friend bool operator==(const channel& a, const channel& b) noexcept { return a.ref_ == b.ref_; }

 private:
  template <class H, class U>
  friend class detail::send_calls;
  template <class H, class U>
  friend class detail::receive_calls;
  friend struct detail::channel_access;

  detail::channel_state<T>* state() const noexcept { return ref_.get(); }

  detail::channel_ref<T> ref_;
};

// sender and receiver are a channel's two ends, for whoever may only do the one.
template <channel_element T>
class sender : public detail::send_calls<sender<T>, T> {
 public:
  using value_type = T;

  constexpr sender() noexcept = default;
  sender(const channel<T>& c) noexcept : ref_(detail::channel_access::ref(c)) {}  // NOLINT: a channel is one

  explicit operator bool() const noexcept { return ref_.get() != nullptr; }
  friend bool operator==(const sender& a, const sender& b) noexcept { return a.ref_ == b.ref_; }

 private:
  template <class H, class U>
  friend class detail::send_calls;
  friend struct detail::channel_access;

  detail::channel_state<T>* state() const noexcept { return ref_.get(); }

  detail::channel_ref<T> ref_;
};

template <channel_element T>
class receiver : public detail::receive_calls<receiver<T>, T> {
 public:
  using value_type = T;

  constexpr receiver() noexcept = default;
  receiver(const channel<T>& c) noexcept : ref_(detail::channel_access::ref(c)) {}  // NOLINT: a channel is one

  explicit operator bool() const noexcept { return ref_.get() != nullptr; }
  friend bool operator==(const receiver& a, const receiver& b) noexcept { return a.ref_ == b.ref_; }

 private:
  template <class H, class U>
  friend class detail::receive_calls;
  friend struct detail::channel_access;

  detail::channel_state<T>* state() const noexcept { return ref_.get(); }

  detail::channel_ref<T> ref_;
};

}  // namespace weft::inline v0
