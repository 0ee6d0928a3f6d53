#include "frames.hpp"

#include <cstddef>

#include <unwind.h>

namespace weft::inline v0::sched {

namespace {

struct walker {
  bool (*visit)(void* context, const void* pc) noexcept;
  void* context;
};

_Unwind_Reason_Code step(_Unwind_Context* at, void* arg) noexcept {
  const auto& to = *static_cast<walker*>(arg);
  const std::uintptr_t pc = _Unwind_GetIP(at);
  if (pc == 0) return _URC_END_OF_STACK;
  return to.visit(to.context, reinterpret_cast<const void*>(pc)) ? _URC_NO_REASON : _URC_END_OF_STACK;
}

bool add(frame_list& to, const void* pc) noexcept {
  if (to.count == frame_list::capacity) {
    to.more = true;
    return false;
  }
  to.items[to.count++] = pc;
  return true;
}

}  // namespace

void walk(bool (*visit)(void*, const void*) noexcept, void* context) noexcept {
  walker to{visit, context};
  _Unwind_Backtrace(step, &to);
}

void frames_above(const void* pc, frame_list& into) noexcept {
  struct search {
    frame_list& list;
    const void* first;
  } looking{into, pc};
  walk(
      [](void* context, const void* at) noexcept {
        auto& s = *static_cast<search*>(context);
        if (s.first != nullptr && at != s.first) return true;
        s.first = nullptr;
        return add(s.list, at);
      },
      &looking);
}

#if defined(WEFT_OWN_SWITCH)

// A frame that says of itself that it was called by the suspended context: rbx points to what was saved, where the expressions
// find the stack pointer, the place and the frame pointer. The other registers are the compiler's to restore from the frame
// that jumped.
//   rdi  what was saved   rsi, rdx  the arguments of _Unwind_Backtrace
static_assert(offsetof(saved_context, stack) == 0 && offsetof(saved_context, code) == 8 &&
              offsetof(saved_context, frame) == 16);
asm(R"(
  .text
  .p2align 4
  .hidden weft_walk_saved
  .globl weft_walk_saved
  .type weft_walk_saved, @function
weft_walk_saved:
  .cfi_startproc
  endbr64
  pushq %rbx
  movq %rdi, %rbx
  movq %rsi, %rdi
  movq %rdx, %rsi
  .cfi_escape 0x0f, 0x03, 0x73, 0x00, 0x06        # CFA = *(rbx + 0)
  .cfi_escape 0x10, 0x10, 0x02, 0x73, 0x08        # rip at rbx + 8
  .cfi_escape 0x10, 0x06, 0x02, 0x73, 0x10        # rbp at rbx + 16
  call *_Unwind_Backtrace@GOTPCREL(%rip)
  popq %rbx
  ret
  .cfi_endproc
  .size weft_walk_saved, . - weft_walk_saved
)");

extern "C" [[gnu::visibility("hidden")]] int weft_walk_saved(const void* saved, _Unwind_Trace_Fn step, void* arg) noexcept;

void frames_of(const context& suspended, frame_list& into) noexcept {
  struct collection {
    frame_list& list;
    bool own = true;  // the first is the walking function
  } found{into};
  walker to{[](void* context, const void* pc) noexcept {
              auto& c = *static_cast<collection*>(context);
              return c.own ? !(c.own = false) : add(c.list, pc);
            },
            &found};
  weft_walk_saved(&suspended.suspended, step, &to);
}

#else

void frames_of(const context&, frame_list&) noexcept {}

#endif

const std::byte* stack_position_of(const context& suspended) noexcept { return suspended.suspended.stack_position(); }

}  // namespace weft::inline v0::sched
