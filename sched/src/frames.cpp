#include "frames.hpp"

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

#if defined(__x86_64__)

// A frame that says of itself that it was called by the suspended context: where its registers are saved is described from
// the address that the switch left, which rbx holds. Boost builds its switch with a slot for a stack guard, as Debian does,
// or without; everything but the control words then lies one word lower.
//   rdi what the switch left   rsi, rdx  the arguments of _Unwind_Backtrace
asm(R"(
  .text
  .macro weft_define_walk name, shift
  .p2align 4
  .hidden \name
  .globl \name
  .type \name, @function
\name:
  .cfi_startproc
  endbr64
  pushq %rbx
  movq %rdi, %rbx
  movq %rsi, %rdi
  movq %rdx, %rsi
  .cfi_def_cfa %rbx, 0x40 + \shift
  .cfi_offset %rbp, -0x10
  .cfi_offset %rbx, -0x18
  .cfi_offset %r15, -0x20
  .cfi_offset %r14, -0x28
  .cfi_offset %r13, -0x30
  .cfi_offset %r12, -0x38
  call *_Unwind_Backtrace@GOTPCREL(%rip)
  popq %rbx
  ret
  .cfi_endproc
  .size \name, . - \name
  .endm
  weft_define_walk weft_walk_saved, 0
  weft_define_walk weft_walk_saved_guarded, 8
)");

extern "C" {
[[gnu::visibility("hidden")]] int weft_walk_saved(const void* saved, _Unwind_Trace_Fn step, void* arg) noexcept;
[[gnu::visibility("hidden")]] int weft_walk_saved_guarded(const void* saved, _Unwind_Trace_Fn step, void* arg) noexcept;
}

namespace {

using walk_saved = int (*)(const void*, _Unwind_Trace_Fn, void*) noexcept;

walk_saved how_to_walk() noexcept {
  static const walk_saved found = []() noexcept -> walk_saved {
    switch (saved_return_address()) {
      case 0x38:
        return weft_walk_saved;
      case 0x40:
        return weft_walk_saved_guarded;
      default:
        return nullptr;
    }
  }();
  return found;
}

}  // namespace

void frames_of(const context& suspended, frame_list& into) noexcept {
  const walk_saved walk_from = how_to_walk();
  if (walk_from == nullptr) return;
  struct collection {
    frame_list& list;
    bool own = true;  // the first is the walking function
  } found{into};
  walker to{[](void* context, const void* pc) noexcept {
              auto& c = *static_cast<collection*>(context);
              return c.own ? !(c.own = false) : add(c.list, pc);
            },
            &found};
  walk_from(suspended.suspended, step, &to);
}

#else

void frames_of(const context&, frame_list&) noexcept {}

#endif

const std::byte* stack_position_of(const context& suspended) noexcept {
  return static_cast<const std::byte*>(suspended.suspended);
}

}  // namespace weft::inline v0::sched
