// blocking: run code that blocks its thread, while other fibers go on.
#pragma once

#include <weft/export.hpp>
#include <weft/sched/blocking.hpp>

#include <functional>
#include <type_traits>
#include <utility>

namespace weft::inline v0 {

// blocking calls f(args...) on the calling thread and stack and returns its result, or lets its exception through.
// Meanwhile other workers take over what this one would have run, so f may block the thread: read a file, resolve a
// name, compress, call into a foreign library. Inside f the caller stays the same fiber, but weft's own waits block
// the thread. As many calls run at one time as runtime_options::blocking_threads says; further ones wait.
// On a plain thread, and inside another blocking(), it simply calls f.
template <class F, class... Args>
  requires std::is_invocable_v<F, Args...>
std::invoke_result_t<F, Args...> blocking(F&& f, Args&&... args) {
  const sched::blocking_region region;
  return std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace weft::inline v0
