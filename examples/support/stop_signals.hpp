// SIGINT and SIGTERM as an orderly end.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace support {

// stop_signals blocks both signals in the calling thread, and so in all that it starts, and waits for them on a thread
// of its own. Made in main, before any other thread. After the first signal the second ends the process as usual.
class stop_signals {
 public:
  stop_signals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    thread_ = std::thread([this] { wait(); });
  }

  ~stop_signals() {
    ending_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;

  // While it exists, the action is called, on the thread of stop_signals, if a signal comes, or at once if one came.
  class [[nodiscard]] action {
   public:
    explicit action(stop_signals& owner) : owner_(owner) {}
    ~action() { owner_.set({}); }
    action(const action&) = delete;
    action& operator=(const action&) = delete;

   private:
    stop_signals& owner_;
  };

  action on_stop(std::function<void()> call) {
    set(std::move(call));
    return action(*this);
  }

  bool stopped() const { return stopped_; }

 private:
  void wait() {
    int signal = 0;
    sigwait(&set_, &signal);
    if (ending_) return;
    stopped_ = true;
    {
      const std::lock_guard lock(mutex_);
      if (call_) call_();
    }
    // A second signal, if the orderly end takes too long.
    sigwait(&set_, &signal);
    if (ending_) return;
    ::signal(signal, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    raise(signal);
  }

  void set(std::function<void()> call) {
    const std::lock_guard lock(mutex_);
    call_ = std::move(call);
    if (call_ && stopped_) call_();
  }

  sigset_t set_;
  std::atomic<bool> ending_{false};
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;  // guards call_
  std::function<void()> call_;
  std::thread thread_;
};

}  // namespace support
