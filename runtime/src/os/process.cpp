#include <weft/os/process.hpp>

#include "../io_error.hpp"
#include "../whole_lock.hpp"
#include "process_state.hpp"

#include <weft/fiber.hpp>
#include <weft/sched/blocking.hpp>
#include <weft/sched/deadline_link.hpp>
#include <weft/sched/park.hpp>
#include <weft/sched/scheduler.hpp>
#include <weft/sched/sys.hpp>

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <utility>

namespace weft::inline v0::os {

using sched::sys_call;

namespace {

exit_status status_of(int value, const rusage& used) noexcept {
  const auto micros = [](const timeval& t) {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  exit_status s;
  if (WIFSIGNALED(value)) {
    s.signal = WTERMSIG(value);
    s.core_dumped = WCOREDUMP(value);
  } else {
    s.code = WEXITSTATUS(value);
  }
  s.user_time = micros(used.ru_utime);
  s.system_time = micros(used.ru_stime);
  return s;
}

failed_operation describe(const char* operation, int pid) {
  return {operation, "process", {}, pid != 0 ? std::to_string(pid) : std::string()};
}

}  // namespace

bool process::state::try_reap() noexcept {
  const whole_lock lock(mutex);
  if (ended || error != 0) return true;
  int value = 0;
  rusage used{};
  const long r = sys_call(::wait4, pid, &value, WNOHANG, &used);
  if (r == 0) return false;
  if (r > 0) {
    ended = status_of(value, used);
  } else if (r != -EINTR) {
    error = static_cast<int>(-r);
  }
  return ended || error != 0;
}

int process::state::wait(exit_status& status) noexcept {
  while (!try_reap()) {
    if (sched::stop_requested()) return poll::canceled;
    if (pidfd != nullptr) {
      if (const int failed = pidfd->wait_ready(poll::mode::read); failed != poll::ok) return failed;
    } else {
      siginfo_t ignored;
      const sched::blocking_region others_go_on;
      sys_call(::waitid, P_PID, static_cast<id_t>(pid), &ignored, WEXITED | WNOWAIT);
    }
  }
  const whole_lock lock(mutex);
  if (ended) status = *ended;
  return error;
}

// Under the lock the child is not reaped, so that its number is its own.
int process::state::kill(int signal) noexcept {
  const whole_lock lock(mutex);
  if (ended || error != 0) return ESRCH;
  return static_cast<int>(-sys_call(::kill, pid, signal));
}

process::process() noexcept = default;
process::process(process&&) noexcept = default;
process& process::operator=(process&& other) noexcept {
  if (this != &other) {
    process old(std::move(*this));
    state_ = std::move(other.state_);
    in_ = std::move(other.in_);
    out_ = std::move(other.out_);
    err_ = std::move(other.err_);
  }
  return *this;
}

process::~process() {
  if (state_ == nullptr || state_->try_reap() || sched::current_scheduler() == nullptr) return;
  try {
    go([s = std::move(state_)] {
      exit_status ignored;
      (void)s->wait(ignored);
    });
  } catch (const std::system_error&) {
    // No fiber to be had: the child stays a zombie until this process ends.
  }
}

int process::pid() const noexcept { return state_ != nullptr ? state_->pid : 0; }

exit_status process::wait(std::error_code& ec) noexcept {
  exit_status status;
  const std::shared_ptr<state> s = state_;
  ec = to_error_code(s != nullptr ? s->wait(status) : int{poll::closed});
  return status;
}

exit_status process::wait() {
  const int number = pid();
  std::error_code ec;
  const exit_status status = wait(ec);
  if (ec) throw_failure(ec, describe("wait for", number));
  return status;
}

std::optional<exit_status> process::wait_until(sched::nanotime deadline) {
  const int number = pid();
  std::error_code ec;
  exit_status status;
  bool passed = false;
  if (state_ == nullptr) throw_failure(to_error_code(poll::closed), describe("wait for", number));
  sched::scheduler* const timers = state_->pidfd != nullptr ? state_->pidfd->scheduler() : sched::current_scheduler();
  if (timers == nullptr) throw_failure(errc::no_runtime, describe("wait for", number));
  {
    const sched::deadline_link link(deadline, timers);
    status = wait(ec);
    passed = link.passed();
  }
  if (!ec) return status;
  if (passed && ec == std::errc::operation_canceled && !sched::stop_requested()) return std::nullopt;
  throw_failure(ec, describe("wait for", number));
}

void process::kill(int signal, std::error_code& ec) noexcept {
  const std::shared_ptr<state> s = state_;
  ec = to_error_code(s != nullptr ? s->kill(signal) : int{poll::closed});
}

void process::kill(int signal) {
  const int number = pid();
  std::error_code ec;
  kill(signal, ec);
  if (ec) throw_failure(ec, describe("kill", number));
}

}  // namespace weft::inline v0::os
