// What tests see of a channel from inside: who waits at it.
#pragma once

#include <weft/channel.hpp>
#include <weft/fiber.hpp>

#include <cstddef>

namespace testing_support {

// TEST_await_receivers returns when so many wait to receive, TEST_await_senders when they wait to send.
template <class T>
void TEST_await(const weft::channel<T>& c, weft::sched::wait_queue weft::detail::channel_base::* queue,
                std::size_t n) {
  auto* const state = weft::detail::channel_access::state(c);
  for (std::size_t waiting = 0; waiting != n; weft::this_fiber::yield()) {
    const std::lock_guard guard(state->lock);
    waiting = (state->*queue).size();
  }
}
template <class T>
void TEST_await_receivers(const weft::channel<T>& c, std::size_t n = 1) {
  TEST_await(c, &weft::detail::channel_base::receivers, n);
}
template <class T>
void TEST_await_senders(const weft::channel<T>& c, std::size_t n = 1) {
  TEST_await(c, &weft::detail::channel_base::senders, n);
}

}  // namespace testing_support
