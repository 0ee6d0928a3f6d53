#include <weft/debug/stacks.hpp>

#include "code_names.hpp"

#include "runtime_state.hpp"

#include <weft/sched/stack_marks.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>

namespace weft::inline v0::debug {

namespace {

std::size_t suggestion(std::size_t deepest) noexcept {
  constexpr std::size_t least_margin = 16 * 1024;
  constexpr std::size_t page = 4096;
  return (deepest + std::max(deepest / 2, least_margin) + page - 1) / page * page;
}

}  // namespace

std::vector<stack_mark> stack_marks() {
  // Visited under a look at fibers, where nothing may throw or be waited for: collected first, then named.
  std::vector<sched::stack_mark> found;
  weft::detail::runtime_state::for_each([&found](sched::scheduler& s) {
    struct collecting {
      std::vector<sched::stack_mark>& to;
      std::exception_ptr failure;
    } collected{found, nullptr};
    sched::for_each_stack_mark(
        s,
        [](void* context, const sched::stack_mark& m) {
          auto& c = *static_cast<collecting*>(context);
          try {
            c.to.push_back(m);
          } catch (...) {
            c.failure = std::current_exception();
          }
        },
        &collected);
    if (collected.failure) std::rethrow_exception(collected.failure);
  });
  std::stable_sort(found.begin(), found.end(),
                   [](const sched::stack_mark& a, const sched::stack_mark& b) { return a.deepest > b.deepest; });

  code_names names;
  std::vector<stack_mark> marks;
  marks.reserve(found.size());
  for (const sched::stack_mark& m : found) {
    marks.push_back({m.spawned_at != nullptr ? names.of(m.spawned_at) : "(not known)", m.fibers, m.stack_size, m.deepest,
                     suggestion(m.deepest)});
  }
  return marks;
}

std::string stack_marks_text() {
  std::string text = "   deepest  suggested  stack size     fibers  spawned at\n";
  for (const stack_mark& m : stack_marks()) {
    char line[80];
    std::snprintf(line, sizeof line, "%10zu %10zu %11zu %10llu  ", m.deepest, m.suggested, m.stack_size,
                  static_cast<unsigned long long>(m.fibers));
    text.append(line).append(m.spawned_at).append("\n");
  }
  return text;
}

}  // namespace weft::inline v0::debug
