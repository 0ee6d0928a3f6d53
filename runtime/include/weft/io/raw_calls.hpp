// System calls of the user's own on a handle, with the library's waiting around them.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>

#include <concepts>
#include <stop_token>
#include <system_error>

namespace weft::inline v0::io {

namespace detail {

// An attempt that came to nothing yet, as poll::descriptor::call wants to hear it.
WEFT_API long not_yet() noexcept;

template <class F>
concept attempt = requires(F& f, int fd) {
  { f(fd) } noexcept -> std::convertible_to<bool>;
};

}  // namespace detail

// raw_calls makes system calls that have no function here. Each takes a noexcept function of the descriptor's number,
// which is not released meanwhile. The function does not suspend and does not close the number.
template <class H>
class raw_calls {
 public:
  // read_with and write_with call f(fd), and again whenever the descriptor may be ready, until it returns true. It is
  // one read or write among the others: in turn, subject to deadlines, stops and close. f tells by false that its
  // system call would have blocked.
  template <detail::attempt F>
  void read_with(F f) {
    detail::throwing(self(), "read", trying(poll::mode::read, f));
  }
  template <detail::attempt F>
  void read_with(F f, std::error_code& ec) noexcept {
    detail::reporting(self(), ec, trying(poll::mode::read, f));
  }
  template <detail::attempt F>
  void read_with(F f, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    read_with(f);
  }
  template <detail::attempt F>
  void read_with(F f, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    read_with(f, ec);
  }
  template <detail::attempt F>
  void write_with(F f) {
    detail::throwing(self(), "write", trying(poll::mode::write, f));
  }
  template <detail::attempt F>
  void write_with(F f, std::error_code& ec) noexcept {
    detail::reporting(self(), ec, trying(poll::mode::write, f));
  }
  template <detail::attempt F>
  void write_with(F f, const std::stop_token& stop) {
    const sched::stop_link link(stop);
    write_with(f);
  }
  template <detail::attempt F>
  void write_with(F f, const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    write_with(f, ec);
  }

  // control calls f(fd) once, beside whatever reads and writes.
  template <std::invocable<int> F>
  void control(F f) {
    detail::throwing(self(), "control", once(f));
  }
  template <std::invocable<int> F>
  void control(F f, std::error_code& ec) noexcept {
    detail::reporting(self(), ec, once(f));
  }

 protected:
  raw_calls() noexcept = default;
  ~raw_calls() = default;
  raw_calls(raw_calls&&) noexcept = default;
  raw_calls& operator=(raw_calls&&) noexcept = default;

 private:
  const H& self() const noexcept { return static_cast<const H&>(*this); }

  template <class F>
  static auto trying(poll::mode m, F& f) noexcept {
    return [m, &f](poll::descriptor& d) {
      return d
          .call(
              m, poll::turns::ordered,
              [](void* attempt, int fd) -> long { return (*static_cast<F*>(attempt))(fd) ? 0 : detail::not_yet(); }, &f)
          .error;
    };
  }
  template <class F>
  static auto once(F& f) noexcept {
    return [&f](poll::descriptor& d) {
      return static_cast<int>(d.with_fd(
          [](void* use, int fd) -> long {
            (*static_cast<F*>(use))(fd);
            return 0;
          },
          &f));
    };
  }
};

}  // namespace weft::inline v0::io
