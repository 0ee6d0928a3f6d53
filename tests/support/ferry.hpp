// ferry: takes a fiber to another thread for certain. Built on what is installed, so that it works with a shared library.
#pragma once

#include <weft/sched/clock.hpp>
#include <weft/sched/park.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace testing_support {

// kernel_thread is the calling thread as the kernel knows it; nothing that a compiler could remember.
[[gnu::noinline]] inline long kernel_thread() {
  const long id = ::syscall(SYS_gettid);
  asm volatile("" ::: "memory");
  return id;
}

// For one fiber at a time, in a runtime with at least two workers.
class ferry {
 public:
  ferry() : thread_([this] { serve(); }) {}
  ~ferry() {
    let_go();
    post(end);
    thread_.join();
  }
  ferry(const ferry&) = delete;
  ferry& operator=(const ferry&) = delete;

  // cross parks the calling fiber with a commit that keeps its thread busy, while a plain thread makes it runnable: so it
  // comes back on another worker. The thread that it left does nothing else until the next cross() or let_go(). False if
  // nobody resumed the fiber for 20 s.
  [[nodiscard]] bool cross() {
    let_go();
    const long before = kernel_thread();
    auto d = std::make_unique<departure>(*this);  // not on the stack: nothing of the fiber's is touched by the commit
    weft::sched::park({leave, d.get()}, weft::sched::wait_reason::none);
    d->resumed.store(true);
    held_ = std::move(d);
    return kernel_thread() != before;
  }

  // let_go gives the thread that is held back to its worker.
  void let_go() {
    if (held_ == nullptr) return;
    held_->free.store(true);
    while (!held_->left.load()) ::sched_yield();
    held_.reset();
  }

 private:
  struct departure {
    explicit departure(ferry& f) : over(f) {}
    ferry& over;
    std::atomic<bool> resumed{false};
    std::atomic<bool> free{false};
    std::atomic<bool> left{false};
  };

  static constexpr std::uintptr_t end = 1;  // no waiter's bits

  static bool leave(weft::sched::waiter self, void* object, std::uintptr_t) noexcept {
    auto& d = *static_cast<departure*>(object);
    const weft::sched::nanotime patience = weft::sched::after(20'000'000'000);
    d.over.post(self.bits());
    while (!d.free.load() && (d.resumed.load() || weft::sched::now() < patience)) ::sched_yield();
    d.left.store(true);
    return true;
  }

  void post(std::uintptr_t what) noexcept {
    posted_.store(what);
    posted_.notify_one();
  }
  void serve() {
    for (;;) {
      posted_.wait(0);
      const std::uintptr_t what = posted_.exchange(0);
      if (what == end) return;
      if (what != 0) weft::sched::ready(weft::sched::waiter::from_bits(what));
    }
  }

  std::atomic<std::uintptr_t> posted_{0};
  std::unique_ptr<departure> held_;
  std::thread thread_;
};

}  // namespace testing_support
