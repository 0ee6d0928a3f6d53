// reader and writer: what a type must have to be a stream of bytes for the functions and classes of weft::io.
//
// They all have their calls in the four forms of io/calls.hpp: after the operands and options follow nothing, a
// std::error_code&, a std::stop_token, or both. Their declarations say `How&&... how` for that. An io_error tells the
// stream that failed, if it is one of weft's.
#pragma once

#include <weft/buffer.hpp>
#include <weft/error.hpp>
#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/sched/park.hpp>

#include <concepts>
#include <cstddef>
#include <stop_token>
#include <system_error>
#include <type_traits>

namespace weft::inline v0::io {

// A reader gives what is there, at most the buffer's size, and waits only while there is nothing; 0 is the end of the
// stream, unless the buffer is empty. The form with an error_code sets it on every return and throws nothing; bytes may
// come with an error. tcp_conn is one, and every other stream of weft's, and those below; a type of the user's may be.
template <class R>
concept reader = requires(R& r, mutable_buffer b, std::error_code& ec) {
  { r.read_some(b) } -> std::same_as<std::size_t>;
  { r.read_some(b, ec) } -> std::same_as<std::size_t>;
};

// A writer takes everything, or fails. The form with an error_code sets it on every return, throws nothing, and returns
// how many bytes it took, all of them if there was no error.
template <class W>
concept writer = requires(W& w, const_buffer b, std::error_code& ec) {
  w.write(b);
  { w.write(b, ec) } -> std::same_as<std::size_t>;
};

namespace detail {

template <class T>
concept handle = std::derived_from<T, handle_calls<T>>;

struct no_name {
  failed_operation describe() const { return {}; }
};

template <class T>
auto name_of(const T& t) noexcept {
  if constexpr (requires {
                  { access::name(t).describe() } -> std::same_as<failed_operation>;
                }) {
    return access::name(t);
  } else {
    return no_name{};
  }
}

[[noreturn]] WEFT_API void fail(const std::error_code& code, const char* operation, failed_operation object,
                                std::size_t transferred);

// raiser throws for a call on a stream whose name it took before the call.
template <class Name>
struct raiser {
  const char* operation;
  Name name;
  template <class Result>
  [[noreturn]] void operator()(const std::error_code& code, const Result& result) const {
    std::size_t transferred = 0;
    if constexpr (std::integral<Result> && !std::same_as<Result, bool>) transferred = result;
    fail(code, operation, name.describe(), transferred);
  }
};

template <class T>
auto raise_for(const char* operation, const T& stream) noexcept {
  return raiser<decltype(name_of(stream))>{operation, name_of(stream)};
}

// What may follow a call's operands.
template <class... How>
inline constexpr bool is_form = sizeof...(How) == 0;
template <class A>
inline constexpr bool is_form<A> =
    std::same_as<A, std::error_code&> || std::same_as<std::remove_cvref_t<A>, std::stop_token>;
template <class A, class B>
inline constexpr bool is_form<A, B> =
    std::same_as<std::remove_cvref_t<A>, std::stop_token>&& std::same_as<B, std::error_code&>;

template <class... How>
concept form = is_form<How...>;

template <class... How>
inline constexpr bool reports = (std::same_as<How, std::error_code&> || ...);

// in_form makes call(error_code&), in the form that `how` asks for. make_raiser() gives what throws for its error and
// result.
template <class Call, class MakeRaiser>
auto in_form(Call call, MakeRaiser make_raiser) {
  const auto raise = make_raiser();
  std::error_code ec;
  auto result = call(ec);
  if (ec) [[unlikely]]
    raise(ec, result);
  return result;
}
template <class Call, class MakeRaiser>
auto in_form(Call call, MakeRaiser, std::error_code& ec) noexcept {
  ec.clear();
  return call(ec);
}
template <class Call, class MakeRaiser>
auto in_form(Call call, MakeRaiser make_raiser, const std::stop_token& stop) {
  const sched::stop_link link(stop);
  return in_form(call, make_raiser);
}
template <class Call, class MakeRaiser>
auto in_form(Call call, MakeRaiser make_raiser, const std::stop_token& stop, std::error_code& ec) noexcept {
  const sched::stop_link link(stop);
  return in_form(call, make_raiser, ec);
}

}  // namespace detail

}  // namespace weft::inline v0::io
