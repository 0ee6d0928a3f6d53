#include "fault_handler.hpp"

#include "current.hpp"
#include "report_line.hpp"
#include "sanitizers.hpp"
#include "scheduler.hpp"
#include "stack_guard.hpp"
#include "worker.hpp"

#include <weft/sched/fault.hpp>
#include <weft/sched/spin_lock.hpp>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

namespace weft::inline v0::sched {

namespace {

constexpr int signals[] = {SIGSEGV, SIGBUS};
constexpr std::size_t count_of_signals = sizeof signals / sizeof signals[0];

// Process-wide, as dispositions are.
constinit spin_lock holders_lock;
constinit unsigned holders = 0;  // guarded by holders_lock
// Written under holders_lock while the handler is not installed.
constinit struct sigaction before[count_of_signals]{};

// --- A question by another thread

// States     idle
//            asked     the handler may take it      set: who asks        left: the handler; who asked, giving up (-> idle)
//            taken     the handler writes frames    set: the handler     left: the handler
//            answered                               set: the handler     left: who asked (-> idle)
// Ownership  running and frames belong to the handler while `taken`, else to who asked
// Orderings  each change releases what was written, and acquires
// Not here   whom the signal reaches: one that was blocked for long comes when somebody else is asked, so the handler looks
//            at `of` before it takes the question
enum class question_state : std::uint32_t { idle, asked, taken, answered };
struct question {
  std::atomic<question_state> state{question_state::idle};
  std::atomic<const worker*> of{nullptr};
  const fiber* running = nullptr;
  frame_list* frames = nullptr;
};
constinit question asked;

void* interrupted_at(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  return reinterpret_cast<void*>(context.uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return reinterpret_cast<void*>(context.uc_mcontext.pc);
#else
  return nullptr;
#endif
}

const std::byte* stack_pointer_of(const ucontext_t& context) noexcept {
#if defined(__x86_64__)
  return reinterpret_cast<const std::byte*>(context.uc_mcontext.gregs[REG_RSP]);
#elif defined(__aarch64__)
  return reinterpret_cast<const std::byte*>(context.uc_mcontext.sp);
#else
  return nullptr;
#endif
}

// Whether the stack pointer is on f's stack. A worker says that it runs f from shortly before it is there.
bool is_on_stack_of(const fiber& f, const std::byte* stack_pointer) noexcept {
  return stack_pointer >= f.stack_bottom && stack_pointer < f.stack_bottom + f.pool->usable();
}

bool answer(const siginfo_t& info, const ucontext_t& context) noexcept {
  if (info.si_code != SI_QUEUE || info.si_pid != ::getpid() || info.si_value.sival_ptr != &asked) return false;
  const worker* const w = current_worker();
  if (asked.of.load(std::memory_order_relaxed) != w) return true;  // the state tells whether it still is, just below
  question_state expected = question_state::asked;
  if (!asked.state.compare_exchange_strong(expected, question_state::taken, std::memory_order_acquire)) return true;
  if (asked.of.load(std::memory_order_relaxed) == w && w->running() == asked.running &&
      is_on_stack_of(*asked.running, stack_pointer_of(context))) {
    frames_above(interrupted_at(context), *asked.frames);
  }
  asked.state.store(question_state::answered, std::memory_order_release);
  return true;
}

// --- Overflow

// Whether f, which runs here, has come to the end of its stack: it touched its guard, and its stack pointer is there. A wild
// pointer may hit a guard from anywhere else.
bool overflowed(const fiber& f, const void* address, const std::byte* stack_pointer) noexcept {
  constexpr std::size_t near = 4096;  // what is pushed, or probed, before the stack pointer is moved
  const auto* const at = static_cast<const std::byte*>(address);
  return at < f.stack_bottom && at >= f.stack_bottom - guard_size && stack_pointer < f.stack_bottom + near;
}

// The first and the last frames of a walk: where it was, and where it came from.
struct both_ends {
  static constexpr std::size_t first_ones = 24;
  static constexpr std::size_t last_ones = 8;

  const void* from;
  bool begun = false;
  std::size_t count = 0;
  const void* first[first_ones];
  const void* last[last_ones];

  bool add(const void* pc) noexcept {
    begun = begun || pc == from || from == nullptr;
    if (!begun) return true;
    (count < first_ones ? first[count] : last[count % last_ones]) = pc;
    ++count;
    return count < 1'000'000;  // a stack of a gigabyte; the walk may be led astray by what it reads
  }
};

void report_frames(const void* from) noexcept {
  both_ends seen{};
  seen.from = from;
  walk([](void* context, const void* pc) noexcept { return static_cast<both_ends*>(context)->add(pc); }, &seen);
  for (std::size_t i = 0; i < seen.count; ++i) {
    if (i == both_ends::first_ones && seen.count > both_ends::first_ones + both_ends::last_ones) {
      const std::size_t skipped = seen.count - both_ends::first_ones - both_ends::last_ones;
      report_line() << "weft:     ... " << std::uint64_t{skipped} << " more ...";
      i += skipped;
    }
    const void* const pc = i < both_ends::first_ones ? seen.first[i] : seen.last[i % both_ends::last_ones];
    // The first is where it happened, the others are where calls return to.
    (report_line() << "weft:     #" << std::uint64_t{i} << " ").code(pc, i == 0 ? code_address::exact : code_address::return_address);
  }
}

void report_overflow(const fiber& f, const char* how, const void* address, const void* from) noexcept {
  char name[fiber_name::capacity];
  f.name.copy_to(name);
  const std::size_t size = f.pool->usable();
  report_line() << "weft: fatal: stack overflow of fiber " << f.id.load(std::memory_order_relaxed) << " '"
                << std::string_view(name) << "': " << how << " " << address << ", "
                << static_cast<std::uint64_t>(f.stack_bottom - static_cast<const std::byte*>(address))
                << " bytes below its stack of " << std::uint64_t{size / 1024} << " KiB (" << f.stack_bottom << " to "
                << static_cast<const void*>(f.stack_bottom + size) << ")";
  if (const void* const site = f.spawned_at.load(std::memory_order_relaxed)) {
    (report_line() << "weft:   spawned at ").code(site, code_address::return_address);
  }
  report_line() << "weft:   frames, innermost first:";
  report_frames(from);
  report_line() << "weft:   spawn_options::stack_size or runtime_options::stack_size gives it more";
}

// --- The disposition from before

void restore(int number) noexcept {
  for (std::size_t i = 0; i < count_of_signals; ++i) {
    if (signals[i] == number) ::sigaction(number, &before[i], nullptr);
  }
}

// pass_on does what would have happened without us. A fault happens again when the handler returns; a signal that was sent
// does not, and is sent again.
void pass_on(int number, siginfo_t* info, void* context) noexcept {
  struct sigaction previous {};
  for (std::size_t i = 0; i < count_of_signals; ++i) {
    if (signals[i] == number) previous = before[i];
  }
  const bool sent = info->si_code <= 0;
  if ((previous.sa_flags & SA_SIGINFO) == 0 && previous.sa_handler == SIG_IGN && sent) return;
  if ((previous.sa_flags & SA_SIGINFO) == 0 && (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)) {
    struct sigaction fall {};
    fall.sa_handler = SIG_DFL;
    ::sigaction(number, &fall, nullptr);
    if (sent) ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), number, info);
    return;
  }
  sigset_t own;
  if ((previous.sa_flags & SA_NODEFER) != 0) {
    sigset_t this_one;
    sigemptyset(&this_one);
    sigaddset(&this_one, number);
    pthread_sigmask(SIG_UNBLOCK, &this_one, &own);
    pthread_sigmask(SIG_BLOCK, &previous.sa_mask, nullptr);
  } else {
    pthread_sigmask(SIG_BLOCK, &previous.sa_mask, &own);
  }
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(number, info, context);
  } else {
    previous.sa_handler(number);
  }
  if ((previous.sa_flags & SA_RESETHAND) != 0) {
    for (std::size_t i = 0; i < count_of_signals; ++i) {
      if (signals[i] == number) before[i].sa_flags = 0, before[i].sa_handler = SIG_DFL;
    }
  }
  pthread_sigmask(SIG_SETMASK, &own, nullptr);
}

void on_fault(int number, siginfo_t* info, void* context) noexcept {
  const keep_errno kept;
  const auto& at = *static_cast<const ucontext_t*>(context);
  if (answer(*info, at)) return;
  worker* const w = current_worker();
  const fiber* const f = w == nullptr ? nullptr : w->running();
  if (f != nullptr && info->si_code > 0 && overflowed(*f, info->si_addr, stack_pointer_of(at))) {
    report_overflow(*f, "access to", info->si_addr, interrupted_at(at));
    // The instruction is tried again, and faults again, without us: the core has the fiber's registers.
    restore(number);
    return;
  }
  pass_on(number, info, context);
}

bool is_ours(const struct sigaction& a) noexcept {
  return (a.sa_flags & SA_SIGINFO) != 0 && a.sa_sigaction == &on_fault;
}

// Whether a signal comes to our handler first. One that was installed over it since would take a question for a fault, and
// the process to be lost.
bool reaches_us(int number) noexcept {
  struct sigaction found {};
  return ::sigaction(number, nullptr, &found) == 0 && is_ours(found);
}

bool debugger_attached() noexcept {
  std::FILE* const status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return false;
  char line[128];
  int tracer = 0;
  while (std::fgets(line, sizeof line, status) != nullptr && std::sscanf(line, "TracerPid: %d", &tracer) != 1) {
  }
  std::fclose(status);
  return tracer != 0;
}

}  // namespace

int hold_fault_handler() noexcept {
  const std::lock_guard guard(holders_lock);
  if (holders != 0) {
    ++holders;
    return 0;
  }
  struct sigaction mine {};
  mine.sa_sigaction = on_fault;
  mine.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&mine.sa_mask);
  for (std::size_t i = 0; i < count_of_signals; ++i) {
    struct sigaction found {};
    ::sigaction(signals[i], nullptr, &found);
    // Ours still: somebody who had installed another over it has put it back since.
    if (!is_ours(found)) before[i] = found;
    if (const long error = sys_call(::sigaction, signals[i], &mine, nullptr); error != 0) {
      return static_cast<int>(-error);
    }
  }
  holders = 1;
  return 0;
}

void release_fault_handler() noexcept {
  const std::lock_guard guard(holders_lock);
  if (--holders != 0) return;
  for (std::size_t i = 0; i < count_of_signals; ++i) {
    struct sigaction found {};
    ::sigaction(signals[i], nullptr, &found);
    // Another handler over ours calls ours: it stays, and passes on.
    if (is_ours(found)) ::sigaction(signals[i], &before[i], nullptr);
  }
}

signal_stack::signal_stack() noexcept {
  constexpr std::size_t size = 64 * 1024;
  constexpr std::size_t guard = 4096;
  constexpr std::size_t enough = 32 * 1024;
  stack_t there{};
  if (::sigaltstack(nullptr, &there) == 0 && (there.ss_flags & SS_DISABLE) == 0 && there.ss_size >= enough) return;
  void* const memory =
      ::mmap(nullptr, guard + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;
  ::mprotect(memory, guard, PROT_NONE);
  stack_t mine{};
  mine.ss_sp = static_cast<std::byte*>(memory) + guard;
  mine.ss_size = size;
  if (::sigaltstack(&mine, nullptr) != 0) {
    ::munmap(memory, guard + size);
    return;
  }
  memory_ = memory;
}

signal_stack::~signal_stack() {
  if (memory_ == nullptr) return;
  stack_t none{};
  none.ss_flags = SS_DISABLE;
  ::sigaltstack(&none, nullptr);
  ::munmap(memory_, 4096 + 64 * 1024);
}

void interrupt_for_frames(const worker& w, const fiber& f, frame_list& into) noexcept {
  constexpr nanotime patience = 100'000'000;
  const pid_t tid = w.tid.load(std::memory_order_acquire);
  if (tid == static_cast<pid_t>(::syscall(SYS_gettid))) return frames_above(nullptr, into);
#if defined(WEFT_TSAN)
  // Its runtime takes a SIGSEGV for one of the thread's own doing, and calls the handler in the middle of its own work.
  constexpr bool can_interrupt = false;
#else
  constexpr bool can_interrupt = true;
#endif
  // The handler of this worker's own scheduler: another's may be gone when the signal comes.
  if (!can_interrupt || tid == 0 || !w.home->options.fault_handler || !reaches_us(SIGSEGV) || debugger_attached()) return;
  static std::mutex one_at_a_time;
  const std::lock_guard guard(one_at_a_time);
  asked.of.store(&w, std::memory_order_relaxed);
  asked.running = &f;
  asked.frames = &into;
  asked.state.store(question_state::asked, std::memory_order_release);
  siginfo_t info{};
  info.si_signo = SIGSEGV;
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = &asked;
  const bool sent = sys_call(::syscall, SYS_rt_tgsigqueueinfo, ::getpid(), tid, SIGSEGV, &info) == 0;
  for (const nanotime until = after(patience); asked.state.load(std::memory_order_acquire) != question_state::answered;) {
    question_state unanswered = question_state::asked;
    if ((!sent || now() > until) &&
        asked.state.compare_exchange_strong(unanswered, question_state::idle, std::memory_order_acquire)) {
      return;
    }
    const timespec moment{0, 20'000};
    ::nanosleep(&moment, nullptr);
  }
  asked.state.store(question_state::idle, std::memory_order_relaxed);
}

void check_fault(const void* buffer, std::size_t size) noexcept {
  worker* const w = current_worker();
  const fiber* const f = w == nullptr ? nullptr : w->running();
  if (f == nullptr) return;
  const auto* const first = static_cast<const std::byte*>(buffer);
  const std::byte* const guard = f->stack_bottom - guard_size;
  if (first >= f->stack_bottom || first + size <= guard) return;
  report_overflow(*f, "a system call found the buffer at", first < guard ? guard : first, nullptr);
  // As the fault would have been.
  raise(SIGSEGV);
}

}  // namespace weft::inline v0::sched
