// What a compiler may make of a function that comes back on another thread. covers L155 L156
//
// One function body asks for the current worker and for the results of failing system calls before and after a
// migration. Built with every optimisation, with and without -fPIC, by each compiler; together with current.cpp, so
// that the compiler sees the accessors' bodies, either in one translation unit or by link-time optimisation.
#if defined(WEFT_TRAP_UNITY)
#include <current.cpp>
#else
#include <current.hpp>
#endif

#include <scheduler.hpp>
#include <worker.hpp>

#include <weft/sched/fiber.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>
#include <weft/sched/sys.hpp>

#include <support/fake_poller.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

using namespace weft;

int failures = 0;

void expect(bool holds, const char* what, int round) {
  if (holds) return;
  std::printf("round %d: %s\n", round, what);
  ++failures;
}

// A commit that makes the fiber runnable and keeps its thread busy until the fiber runs elsewhere.
struct migration {
  std::atomic<bool> resumed{false};
  std::atomic<bool> left{false};
};

bool wait_for(const std::atomic<bool>& flag) {
  const sched::nanotime end = sched::after(20'000'000'000);
  while (!flag.load()) {
    if (sched::now() > end) {
      std::puts("nobody resumed the fiber");
      std::_Exit(2);
    }
    ::sched_yield();
  }
  return true;
}

bool depart_slowly(sched::waiter self, void* object, std::uintptr_t) noexcept {
  auto* m = static_cast<migration*>(object);
  sched::fiber* f = self.as_fiber();
  sched::scheduler* home = f->home;
  home->global.push(f);
  home->wake_for_work();
  wait_for(m->resumed);
  m->left.store(true);
  return true;
}

void migrate() {
  const auto m = std::make_unique<migration>();
  sched::park({depart_slowly, m.get()}, sched::wait_reason::none);
  m->resumed.store(true);
  wait_for(m->left);
}

// The truth, from the kernel.
[[gnu::noinline]] long thread_id() {
  const long id = ::syscall(SYS_gettid);
  asm volatile("" ::: "memory");
  return id;
}

// Calls that fail, as every compiler can see: so that each would read errno for certain, and at one address, if it were
// let.
inline long bad_number(int fd) {
  ::close(fd);
  return -1;
}
inline long bad_whence(int whence) {
  ::lseek(0, 0, whence);
  return -1;
}

// The body under test: everything in one function, inlined as far as the compiler likes.
void body() {
  for (int round = 0; round < 20; ++round) {
    const long thread_before = thread_id();
    sched::worker* worker_before = sched::current_worker();
    sched::thread_record* record_before = sched::current_record();
    sched::scheduler* entered_before = sched::exchange_entered_scheduler(worker_before->home);
    const long bad_descriptor = sched::sys_call(bad_number, -1);
    migrate();
    const long thread_after = thread_id();
    sched::worker* worker_after = sched::current_worker();
    sched::thread_record* record_after = sched::current_record();
    sched::scheduler* entered_after = sched::entered_scheduler();
    const bool runs_this = worker_after->current == sched::current_fiber();
    const long bad_argument = sched::sys_call(bad_whence, 4711);
    const long again = sched::sys_call(bad_number, -1);
    migrate();
    const long still = sched::sys_call(bad_whence, 4711);

    expect(thread_after != thread_before, "it was not migrated", round);
    expect(worker_after != worker_before, "the worker of the thread before", round);
    expect(record_after != record_before, "the record of the thread before", round);
    expect(runs_this, "a worker that runs another fiber", round);
    expect(entered_before == nullptr && entered_after == nullptr, "the other thread entered nothing", round);
    expect(bad_descriptor == -EBADF, "errno before", round);
    expect(bad_argument == -EINVAL || bad_argument == -ESPIPE, "errno after", round);
    expect(again == -EBADF, "errno of the second call after", round);
    expect(still == bad_argument, "errno after the way back", round);
    // Leave nothing entered behind, on either thread.
    for (int i = 0; i < 2; ++i) {
      sched::exchange_entered_scheduler(nullptr);
      migrate();
    }
  }
}

}  // namespace

int main() {
  testing::fake_poller poller;
  int error = 0;
  sched::scheduler_options options;
  options.processors = 2;
  sched::scheduler* s = sched::create_scheduler(options, poller, error);
  if (s == nullptr) return 3;
  sched::fiber* f = sched::create_fiber(
      *s, {}, 1, 1, [](void*) noexcept { body(); }, sched::handle::none);
  if (f == nullptr) return 4;
  sched::start(*f);
  if (!sched::drain(*s, sched::after(60'000'000'000))) return 5;
  sched::destroy_scheduler(s);
  return failures == 0 ? 0 : 1;
}
