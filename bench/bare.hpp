// The floor under every switch: Boost's context functions, with nothing around them. Called on a fiber's stack.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <memory>

namespace bench {

namespace bare = boost::context::detail;

// A stack for the other side, used again and again.
class bare_stack {
 public:
  // make gives a context that begins with entry, as if the stack had never been used.
  bare::fcontext_t make(void (*entry)(bare::transfer_t)) noexcept {
    return bare::make_fcontext(memory_.get() + size, size, entry);
  }

 private:
  static constexpr std::size_t size = 64 * 1024;
  std::unique_ptr<std::byte[]> memory_ = std::make_unique<std::byte[]>(size);
};

// jump_between jumps `jumps` times, to and fro between the caller and one other context.
inline void jump_between(bare_stack& stack, std::size_t jumps) noexcept {
  bare::transfer_t there{stack.make([](bare::transfer_t back) {
                           for (;;) back = bare::jump_fcontext(back.fctx, nullptr);
                         }),
                         nullptr};
  for (std::size_t i = 0; i < jumps; i += 2) there = bare::jump_fcontext(there.fctx, nullptr);
}

// start_and_end makes a context on a warm stack, jumps to it and is jumped back to, `count` times.
inline void start_and_end(bare_stack& stack, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    bare::jump_fcontext(stack.make([](bare::transfer_t back) { bare::jump_fcontext(back.fctx, nullptr); }), nullptr);
  }
}

}  // namespace bench
