// channel_state: a channel behind its handles, and its operations. Included by channel.hpp.
#pragma once

#include <weft/detail/channel_base.hpp>
#include <weft/export.hpp>
#include <weft/sched/clock.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>

#include <cstddef>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <system_error>
#include <utility>

namespace weft::inline v0::detail {

// channel_state is a channel with its elements: a ring in the same memory, behind it. Elements move under the lock, so
// that the order in which they come out is that in which they went in: a move that suspends, uses the
// channel or stops somebody who waits at it is a deadlock.
//
// Invariants, whenever the lock is free, counting those in the queues whose wait is not over:
//   I1 receivers wait only while the ring is empty, senders only while it is full; not both, but for one and the same
//      selection
//   I2 of a closed channel nobody is in the queues
template <class T>
class channel_state final : public channel_base {
 public:
  static channel_state* make(std::size_t capacity) {
    constexpr std::size_t most = std::numeric_limits<std::ptrdiff_t>::max() / 2;
    if (capacity > (most - ring_offset()) / sizeof(T)) throw_channel_too_large(capacity);
    void* const place = ::operator new(ring_offset() + capacity * sizeof(T), alignment());
    return ::new (place) channel_state(capacity);
  }
  void drop() noexcept {
    if (let_go()) destroy();
  }
  // come_back ends what wait_locked began, for whoever was not told that it has been ended.
  void come_back() noexcept {
    if (stop_waiting()) destroy();
  }

  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t count() noexcept {
    const std::lock_guard guard(lock);
    return count_;
  }

  // put and take do what can be done at once. The lock is held; `wake` is delivered once it is not, also if an element
  // throws as it moves: nothing has moved then. pending: nothing could be done.
  sched::verdict put(T& value, sched::wake_list& wake) {
    if (closed) return sched::verdict::closed;
    if (sched::wait_node* const n = receivers.claim()) {
      hand_over(*n, wake, [&] { static_cast<std::optional<T>*>(n->element)->emplace(std::move(value)); });
      return sched::verdict::done;
    }
    if (count_ == capacity_) return sched::verdict::pending;
    ::new (static_cast<void*>(at(head_ + count_))) T(std::move(value));
    ++count_;
    return sched::verdict::done;
  }
  sched::verdict take(std::optional<T>& value, sched::wake_list& wake) {
    if (count_ > 0) {
      value.emplace(std::move(*at(head_)));
      std::destroy_at(at(head_));
      head_ = head_ + 1 == capacity_ ? 0 : head_ + 1;
      --count_;
      while (sched::wait_node* const n = senders.claim()) {
        if (refill(*n)) {
          finish_locked(*n, wake, sched::verdict::done);
          break;
        }
        wake.add(*n, sched::verdict::again);  // it meets its exception by itself
      }
      return sched::verdict::done;
    }
    if (sched::wait_node* const n = senders.claim()) {
      hand_over(*n, wake, [&] { value.emplace(std::move(*static_cast<T*>(n->element))); });
      return sched::verdict::done;
    }
    return closed ? sched::verdict::closed : sched::verdict::pending;
  }

 private:
  static constexpr std::align_val_t alignment() noexcept { return std::align_val_t{alignof(channel_state)}; }
  static constexpr std::size_t ring_offset() noexcept {
    return (sizeof(channel_state) + alignof(T) - 1) / alignof(T) * alignof(T);
  }

  explicit channel_state(std::size_t capacity) noexcept : capacity_(capacity) {}
  ~channel_state() = default;
  void destroy() noexcept {
    for (; count_ > 0; --count_) std::destroy_at(at(head_++));
    this->~channel_state();
    ::operator delete(static_cast<void*>(this), alignment());
  }

  // The place of the i-th element, counted from the ring's begin, once around at most.
  T* at(std::size_t i) noexcept {
    auto* const ring = reinterpret_cast<std::byte*>(this) + ring_offset();
    return std::launder(reinterpret_cast<T*>(ring) + (i >= capacity_ ? i - capacity_ : i));
  }

  // hand_over moves an element to or from the waiter of n, which has been claimed.
  template <class Move>
  void hand_over(sched::wait_node& n, sched::wake_list& wake, Move move) {
    try {
      move();
    } catch (...) {
      wake.add(n, sched::verdict::again);
      throw;
    }
    finish_locked(n, wake, sched::verdict::done);
  }

  // refill puts a claimed sender's element into the place that has become free; false if it throws.
  bool refill(sched::wait_node& n) noexcept {
    try {
      ::new (static_cast<void*>(at(head_ + count_))) T(std::move(*static_cast<T*>(n.element)));
    } catch (...) {
      return false;
    }
    ++count_;
    return true;
  }

  const std::size_t capacity_;
  alignas(T) alignas(std::size_t) std::size_t head_ = 0;  // guarded by lock
  std::size_t count_ = 0;            // guarded by lock
};

// channel_lock holds a channel's lock, and wakes whom an operation has ended the wait of when it lets go of it.
class channel_lock {
 public:
  explicit channel_lock(channel_base& c) noexcept : channel_(&c) { c.lock.lock(); }
  ~channel_lock() {
    if (channel_ == nullptr) return;
    channel_->lock.unlock();
    wake.deliver();
  }
  channel_lock(const channel_lock&) = delete;
  channel_lock& operator=(const channel_lock&) = delete;
  void release() noexcept { channel_ = nullptr; }

  sched::wake_list wake;

 private:
  channel_base* channel_;
};

// channel_ref is a counted reference to a channel, or null.
template <class T>
class channel_ref {
 public:
  using state = channel_state<T>;

  constexpr channel_ref() noexcept = default;
  explicit channel_ref(state* owned) noexcept : state_(owned) {}
  channel_ref(const channel_ref& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->refer();
  }
  channel_ref(channel_ref&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  channel_ref& operator=(channel_ref other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~channel_ref() {
    if (state_ != nullptr) state_->drop();
  }
  state* get() const noexcept { return state_; }
  friend bool operator==(const channel_ref&, const channel_ref&) noexcept = default;

 private:
  state* state_ = nullptr;
};

// wait_pin keeps a channel for somebody who has waited at it, and is to try again: its handles may have gone.
template <class T>
class wait_pin {
 public:
  wait_pin() noexcept = default;
  ~wait_pin() {
    if (channel_ != nullptr) channel_->come_back();
  }
  wait_pin(const wait_pin&) = delete;
  wait_pin& operator=(const wait_pin&) = delete;

  // pass_on_locked makes it the pin of a wait that begins.
  void pass_on_locked(channel_state<T>& c) noexcept {
    if (std::exchange(channel_, nullptr) == nullptr) c.wait_locked();
  }
  void come_back(channel_state<T>& c) noexcept { channel_ = &c; }

 private:
  channel_state<T>* channel_ = nullptr;
};

// wait_at parks the caller, whose element that is, in a queue of the channel, whose lock it holds. False: it is to try
// again. After true the channel may be gone.
template <class T>
[[gnu::always_inline]] inline bool wait_at(channel_state<T>& s, sched::wait_queue& queue, void* element, sched::wait_reason why, wait_pin<T>& pin,
             sched::verdict& v) noexcept {
  sched::lone_node n;
  n.element = element;
  pin.pass_on_locked(s);
  queue.push(n);
  v = sched::wait_in(queue, n, s.lock, {why, &s});
  if (v == sched::verdict::done || v == sched::verdict::closed) return true;
  pin.come_back(s);
  return false;
}

// The two operations, with the wait around them.
template <class T>
sched::verdict send_to(channel_state<T>* s, T& value) {
  if (s == nullptr) {
    wait_for_a_stop(sched::wait_reason::channel_send);
    return sched::verdict::canceled;
  }
  for (wait_pin<T> pin;;) {
    if (sched::stop_requested()) return sched::verdict::canceled;
    channel_lock held(*s);
    sched::verdict v = s->put(value, held.wake);
    if (v != sched::verdict::pending) return v;
    held.release();
    if (wait_at(*s, s->senders, std::addressof(value), sched::wait_reason::channel_send, pin, v)) return v;
  }
}
template <class T>
sched::verdict receive_from(channel_state<T>* s, std::optional<T>& value) {
  if (s == nullptr) {
    wait_for_a_stop(sched::wait_reason::channel_receive);
    return sched::verdict::canceled;
  }
  for (wait_pin<T> pin;;) {
    if (sched::stop_requested()) return sched::verdict::canceled;
    channel_lock held(*s);
    sched::verdict v = s->take(value, held.wake);
    if (v != sched::verdict::pending) return v;
    held.release();
    if (wait_at(*s, s->receivers, std::addressof(value), sched::wait_reason::channel_receive, pin, v)) return v;
  }
}
template <class T>
sched::verdict try_send_to(channel_state<T>* s, T& value) {
  if (s == nullptr) return sched::verdict::pending;
  channel_lock held(*s);
  return s->put(value, held.wake);
}
template <class T>
sched::verdict try_receive_from(channel_state<T>* s, std::optional<T>& value) {
  if (s == nullptr) return sched::verdict::pending;
  channel_lock held(*s);
  return s->take(value, held.wake);
}

// in_time makes an operation that waits, until a time; pending: the time came first.
template <class Operation>
sched::verdict in_time(sched::nanotime until, Operation operation) {
  sched::verdict v;
  bool passed = false;
  {
    const sched::deadline_link link(until);
    v = operation();
    passed = link.passed();
  }
  return v == sched::verdict::canceled && passed && !sched::stop_requested() ? sched::verdict::pending : v;
}

WEFT_API std::error_code code_of(sched::verdict v) noexcept;

// channel_access reaches what the handles keep to themselves.
struct channel_access {
  template <class H>
  static const auto& ref(const H& h) noexcept {
    return h.ref_;
  }
  template <class H>
  static auto* state(const H& h) noexcept {
    return h.state();
  }
};

}  // namespace weft::inline v0::detail
