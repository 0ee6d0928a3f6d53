// weft::lock_check: stands between the program and pthread's locks, and knows which of them the running fiber holds.
//
// The functions below have the names of pthread's, and are found first: by the program, and by every library that is
// loaded. Each calls the next one of its name, and enters the lock in a table of the thread if a fiber has called. What a
// thread takes while it runs no fiber is not entered, so the table is empty whenever a fiber begins to run: nobody leaves a
// thread with something in it, that is what the check is for.
//
// Who locks may be an allocator, in the middle of its work, or the unwinder. So nothing here allocates or takes a lock, the
// frames are gathered before the lock is taken, and what is locked meanwhile is passed on unseen (`busy`).
//
// Waiting for a condition gives the mutex back and takes it again within the C library. The thread blocks meanwhile and runs no
// other fiber, so nobody can see the difference, and pthread_cond_wait and its kin, of which there are several versions
// under one name, are left alone.
//
// Not for ThreadSanitizer, which learns of locks by functions that it has put in the same place.
#include "held_locks.hpp"
#include "lock_table.hpp"

#include <weft/sched/fatal.hpp>
#include <weft/sched/fiber.hpp>

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <ctime>

// What a program that links the library refers to, so that the linker keeps it.
extern "C" WEFT_API void weft_lock_check_linked() noexcept {}

namespace weft::inline v0::sched {

namespace {

struct per_thread {
  lock_table locks;
  bool busy = false;  // finding out who calls, or what is called
};

// initial-exec: in the first block of the thread, whose address is found without a call, which might allocate.
[[gnu::tls_model("initial-exec")]] constinit thread_local per_thread this_thread;

// A fiber calls from wherever it is: not to be inlined, nor taken for pure. No caller suspends while it has the result.
[[gnu::noinline]] per_thread& self() noexcept {
  per_thread* t = &this_thread;
  asm volatile("" : "+r"(t) : : "memory");
  return *t;
}

std::span<const held_lock> held_by_caller() noexcept { return self().locks.held(); }

// next_function is what the program would have called without us. Looked for before main, or by the first one to lock if that
// is earlier; in either case there are no other threads, or what is found is the same.
template <class... Arguments>
class next_function {
 public:
  constexpr explicit next_function(const char* name) noexcept : name_(name) {}

  void find() noexcept {
    found_.store(reinterpret_cast<type*>(::dlsym(RTLD_NEXT, name_)), std::memory_order_relaxed);
  }
  int operator()(Arguments... arguments) noexcept;

 private:
  using type = int(Arguments...);

  const char* const name_;
  std::atomic<type*> found_{nullptr};
};

constinit next_function<pthread_mutex_t*> mutex_lock("pthread_mutex_lock");
constinit next_function<pthread_mutex_t*> mutex_trylock("pthread_mutex_trylock");
constinit next_function<pthread_mutex_t*, const timespec*> mutex_timedlock("pthread_mutex_timedlock");
constinit next_function<pthread_mutex_t*, clockid_t, const timespec*> mutex_clocklock("pthread_mutex_clocklock");
constinit next_function<pthread_mutex_t*> mutex_unlock("pthread_mutex_unlock");
constinit next_function<pthread_rwlock_t*> rwlock_rdlock("pthread_rwlock_rdlock");
constinit next_function<pthread_rwlock_t*> rwlock_tryrdlock("pthread_rwlock_tryrdlock");
constinit next_function<pthread_rwlock_t*, const timespec*> rwlock_timedrdlock("pthread_rwlock_timedrdlock");
constinit next_function<pthread_rwlock_t*, clockid_t, const timespec*> rwlock_clockrdlock("pthread_rwlock_clockrdlock");
constinit next_function<pthread_rwlock_t*> rwlock_wrlock("pthread_rwlock_wrlock");
constinit next_function<pthread_rwlock_t*> rwlock_trywrlock("pthread_rwlock_trywrlock");
constinit next_function<pthread_rwlock_t*, const timespec*> rwlock_timedwrlock("pthread_rwlock_timedwrlock");
constinit next_function<pthread_rwlock_t*, clockid_t, const timespec*> rwlock_clockwrlock("pthread_rwlock_clockwrlock");
constinit next_function<pthread_rwlock_t*> rwlock_unlock("pthread_rwlock_unlock");
constinit next_function<pthread_spinlock_t*> spin_lock_("pthread_spin_lock");
constinit next_function<pthread_spinlock_t*> spin_trylock("pthread_spin_trylock");
constinit next_function<pthread_spinlock_t*> spin_unlock("pthread_spin_unlock");

template <class... Functions>
void find(Functions&... all) noexcept {
  (all.find(), ...);
}

void find_all() noexcept {
  per_thread& t = self();
  t.busy = true;
  find(mutex_lock, mutex_trylock, mutex_timedlock, mutex_clocklock, mutex_unlock, rwlock_rdlock, rwlock_tryrdlock,
       rwlock_timedrdlock, rwlock_clockrdlock, rwlock_wrlock, rwlock_trywrlock, rwlock_timedwrlock, rwlock_clockwrlock,
       rwlock_unlock, spin_lock_, spin_trylock, spin_unlock);
  t.busy = false;
}

template <class... Arguments>
int next_function<Arguments...>::operator()(Arguments... arguments) noexcept {
  type* f = found_.load(std::memory_order_relaxed);
  if (f == nullptr) [[unlikely]] {
    // An allocator's lock, and that of dlsym, which we are in: there is nobody yet to lock out.
    if (self().busy) return 0;
    find_all();
    f = found_.load(std::memory_order_relaxed);
    if (f == nullptr) fatal("weft::lock_check finds no %s: it needs a program that is linked dynamically", name_);
  }
  return f(arguments...);
}

// taken calls `next`, and notes that the caller holds the lock if that succeeds. `pc` is where the caller's caller goes on.
template <class Next, class Lock, class... More>
int taken(lock_kind kind, const void* pc, Next& next, Lock* lock, More... more) noexcept {
  per_thread& t = self();
  bool by_fiber = false;
  held_lock l;
  if (!t.busy) {
    t.busy = true;
    by_fiber = current_fiber() != nullptr;
    if (by_fiber) {
      l.address = const_cast<const void*>(static_cast<const volatile void*>(lock));
      l.kind = kind;
      if (!t.locks.has(l.address)) l.frame_count = static_cast<std::uint32_t>(frames_from(pc, l.frames));
    }
    t.busy = false;
  }
  const int error = next(lock, more...);
  if (by_fiber && (error == 0 || error == EOWNERDEAD)) t.locks.add(l);
  return error;
}

template <class Next, class Lock>
int given(Next& next, Lock* lock) noexcept {
  const int error = next(lock);
  per_thread& t = self();
  if (error == 0) t.locks.remove(const_cast<const void*>(static_cast<const volatile void*>(lock)));
  return error;
}

// Before the constructors of the program.
[[gnu::constructor(101)]] void begin() noexcept {
  find_all();
  register_held_locks(held_by_caller);
}

}  // namespace

}  // namespace weft::inline v0::sched

namespace sched = weft::sched;

// Those that take are not inlined, though a whole program is optimised: the frames begin with their caller.
extern "C" {

[[gnu::noinline]] WEFT_API int pthread_mutex_lock(pthread_mutex_t* m) noexcept {
  return sched::taken(sched::lock_kind::mutex, __builtin_return_address(0), sched::mutex_lock, m);
}
[[gnu::noinline]] WEFT_API int pthread_mutex_trylock(pthread_mutex_t* m) noexcept {
  return sched::taken(sched::lock_kind::mutex, __builtin_return_address(0), sched::mutex_trylock, m);
}
[[gnu::noinline]] WEFT_API int pthread_mutex_timedlock(pthread_mutex_t* m, const timespec* until) noexcept {
  return sched::taken(sched::lock_kind::mutex, __builtin_return_address(0), sched::mutex_timedlock, m, until);
}
[[gnu::noinline]] WEFT_API int pthread_mutex_clocklock(pthread_mutex_t* m, clockid_t clock,
                                                       const timespec* until) noexcept {
  return sched::taken(sched::lock_kind::mutex, __builtin_return_address(0), sched::mutex_clocklock, m, clock, until);
}
WEFT_API int pthread_mutex_unlock(pthread_mutex_t* m) noexcept {
  return sched::given(sched::mutex_unlock, m);
}

[[gnu::noinline]] WEFT_API int pthread_rwlock_rdlock(pthread_rwlock_t* l) noexcept {
  return sched::taken(sched::lock_kind::read_lock, __builtin_return_address(0), sched::rwlock_rdlock, l);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_tryrdlock(pthread_rwlock_t* l) noexcept {
  return sched::taken(sched::lock_kind::read_lock, __builtin_return_address(0), sched::rwlock_tryrdlock, l);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_timedrdlock(pthread_rwlock_t* l, const timespec* until) noexcept {
  return sched::taken(sched::lock_kind::read_lock, __builtin_return_address(0), sched::rwlock_timedrdlock, l, until);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_clockrdlock(pthread_rwlock_t* l, clockid_t clock,
                                                          const timespec* until) noexcept {
  return sched::taken(sched::lock_kind::read_lock, __builtin_return_address(0), sched::rwlock_clockrdlock, l, clock, until);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_wrlock(pthread_rwlock_t* l) noexcept {
  return sched::taken(sched::lock_kind::write_lock, __builtin_return_address(0), sched::rwlock_wrlock, l);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_trywrlock(pthread_rwlock_t* l) noexcept {
  return sched::taken(sched::lock_kind::write_lock, __builtin_return_address(0), sched::rwlock_trywrlock, l);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_timedwrlock(pthread_rwlock_t* l, const timespec* until) noexcept {
  return sched::taken(sched::lock_kind::write_lock, __builtin_return_address(0), sched::rwlock_timedwrlock, l, until);
}
[[gnu::noinline]] WEFT_API int pthread_rwlock_clockwrlock(pthread_rwlock_t* l, clockid_t clock,
                                                          const timespec* until) noexcept {
  return sched::taken(sched::lock_kind::write_lock, __builtin_return_address(0), sched::rwlock_clockwrlock, l, clock, until);
}
WEFT_API int pthread_rwlock_unlock(pthread_rwlock_t* l) noexcept {
  return sched::given(sched::rwlock_unlock, l);
}

[[gnu::noinline]] WEFT_API int pthread_spin_lock(pthread_spinlock_t* l) noexcept {
  return sched::taken(sched::lock_kind::spin_lock, __builtin_return_address(0), sched::spin_lock_, l);
}
[[gnu::noinline]] WEFT_API int pthread_spin_trylock(pthread_spinlock_t* l) noexcept {
  return sched::taken(sched::lock_kind::spin_lock, __builtin_return_address(0), sched::spin_trylock, l);
}
WEFT_API int pthread_spin_unlock(pthread_spinlock_t* l) noexcept {
  return sched::given(sched::spin_unlock, l);
}
}
