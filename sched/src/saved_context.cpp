#include "saved_context.hpp"

namespace weft::inline v0::sched {

#if defined(WEFT_OWN_SWITCH)

// The first frame of a stack: rdi is the message, rbp the entry. Who walks the stack stops here, since it says that nobody has
// called it. No call leads to the entry: the processor would wait for a return from it, and expect all others one place too
// late.
asm(R"(
  .text
  .p2align 4
  .hidden weft_enter_context
  .globl weft_enter_context
  .type weft_enter_context, @function
weft_enter_context:
  .cfi_startproc
  .cfi_undefined rip
  endbr64
  movq %rbp, %rax
  xorl %ebp, %ebp
  leaq 1f(%rip), %rcx
  pushq %rcx
  .cfi_adjust_cfa_offset 8
  jmpq *%rax
1:
  ud2
  .cfi_endproc
  .size weft_enter_context, . - weft_enter_context
)");

#else

namespace {

WEFT_UNINSTRUMENTED void enter(boost::context::detail::transfer_t t) {
  const auto* const note = static_cast<const jump_note*>(t.data);
  note->from->suspended = t.fctx;
  note->to->entry(note->message);
}

}  // namespace

void save_entry(saved_context& c, std::byte* bottom, std::byte* top, context_entry entry) noexcept {
  c = {boost::context::detail::make_fcontext(top, static_cast<std::size_t>(top - bottom), enter), entry};
}

#endif

}  // namespace weft::inline v0::sched
