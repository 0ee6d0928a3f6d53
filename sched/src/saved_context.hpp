// saved_context: what is kept of a suspended flow of control, and the jump from one to another.
//
// On x86-64 it is our own; elsewhere, and with WEFT_PORTABLE_SWITCH, Boost.Context's, for which this is the only place.
#pragma once

#include "sanitizers.hpp"

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(WEFT_PORTABLE_SWITCH)
#define WEFT_OWN_SWITCH 1
#else
#include <boost/context/detail/fcontext.hpp>
#endif

namespace weft::inline v0::sched {

// What a fresh flow of control runs, with the message of the jump that began it. It doesn't return.
using context_entry = void (*)(void* message);

// Either switch has save_entry(context, bottom, top, entry): a jump to the context then begins entry(message) on the stack
// [bottom, top), with the control words of the caller.
#if defined(WEFT_OWN_SWITCH)

// Of the registers that a call preserves, the compiler saves around a jump those that it uses: to it, the jump changes them
// all. The frame pointer it cannot be told of, and the control words of floating point it doesn't know.
struct saved_context {
  void* stack = nullptr;  // null: nothing was suspended here yet
  void* code = nullptr;
  void* frame = nullptr;  // rbp; before the first arrival, the entry
  std::uint32_t sse_control = 0;
  std::uint16_t x87_control = 0;

  bool empty() const noexcept { return stack == nullptr; }
  const std::byte* stack_position() const noexcept { return static_cast<const std::byte*>(stack); }
};

// Of MXCSR: the lower six bits are status, which whoever computes next may find as somebody has left them. Loading the
// register costs more than the rest of a switch, so it is not done for their sake.
inline constexpr std::uint32_t sse_status = 0x3f;

// jump saves where the caller is in `from`, goes on at `to`, and returns when somebody jumps back: with their message, maybe
// on another thread. Whoever arrives may jump to `from` at once. REQUIRES: the function that calls it is not inlined.
[[gnu::always_inline]] WEFT_UNINSTRUMENTED inline void* jump(saved_context& from, const saved_context& to, void* message) noexcept {
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(from.sse_control), "=m"(from.x87_control));
  if (((from.sse_control ^ to.sse_control) & ~sse_status) != 0 || from.x87_control != to.x87_control) [[unlikely]] {
    asm volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(to.sse_control), "m"(to.x87_control));
  }
  saved_context* leaving = &from;
  const saved_context* going = &to;
  // The red zone stays untouched: nothing is pushed.
  asm volatile(
      "leaq 1f(%%rip), %%rax\n\t"
      "movq %%rsp, %c[stack](%[leaving])\n\t"
      "movq %%rax, %c[code](%[leaving])\n\t"
      "movq %%rbp, %c[frame](%[leaving])\n\t"
      "movq %c[stack](%[going]), %%rsp\n\t"
      "movq %c[frame](%[going]), %%rbp\n\t"
      "jmpq *%c[code](%[going])\n"
      "1:"
      : "+D"(message), [leaving] "+S"(leaving), [going] "+d"(going)
      : [stack] "i"(offsetof(saved_context, stack)), [code] "i"(offsetof(saved_context, code)),
        [frame] "i"(offsetof(saved_context, frame))
      : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc", "st", "st(1)", "st(2)",
        "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
        "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#if defined(__AVX512F__)
        ,
        "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28",
        "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#endif
  );
  return message;
}

extern "C" [[gnu::visibility("hidden")]] void weft_enter_context();

// Field by field: copied as a whole, it would wait for the store of the control words.
inline void save_entry(saved_context& c, std::byte*, std::byte* top, context_entry entry) noexcept {
  c.stack = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15});
  c.code = reinterpret_cast<void*>(&weft_enter_context);
  c.frame = reinterpret_cast<void*>(entry);
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(c.sse_control), "=m"(c.x87_control));
}

#else

struct saved_context {
  boost::context::detail::fcontext_t suspended = nullptr;
  context_entry entry = nullptr;  // before the first arrival

  bool empty() const noexcept { return suspended == nullptr; }
  const std::byte* stack_position() const noexcept { return static_cast<const std::byte*>(suspended); }
};

// What a jump carries: Boost tells whoever arrives where the other one stopped.
struct jump_note {
  saved_context* from;
  const saved_context* to;
  void* message;
};

// jump leaves the caller for `to`, and returns when somebody jumps back: with their message, maybe on another thread. Once
// the other side has arrived, `from` is where it goes on.
WEFT_UNINSTRUMENTED inline void* jump(saved_context& from, const saved_context& to, void* message) noexcept {
  jump_note note{&from, &to, message};
  const boost::context::detail::transfer_t t = boost::context::detail::jump_fcontext(to.suspended, &note);
  const auto* const left = static_cast<const jump_note*>(t.data);
  left->from->suspended = t.fctx;
  return left->message;
}

void save_entry(saved_context& c, std::byte* bottom, std::byte* top, context_entry entry) noexcept;

#endif

}  // namespace weft::inline v0::sched
