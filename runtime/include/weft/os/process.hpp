// Child processes.
#pragma once

#include <weft/export.hpp>
#include <weft/os/pipe.hpp>

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace weft::inline v0::os {

// exit_status is how a process ended, and what it used.
struct exit_status {
  int code = 0;    // what it returned; 0 if a signal ended it
  int signal = 0;  // the signal that ended it, or 0
  bool core_dumped = false;
  std::chrono::microseconds user_time{0};
  std::chrono::microseconds system_time{0};

  bool success() const noexcept { return code == 0 && signal == 0; }
};

// stdio says what one of the standard streams of a child is.
class stdio {
 public:
  static stdio inherit() noexcept { return stdio(kind::inherit); }  // what this process has
  static stdio null() noexcept { return stdio(kind::null); }        // /dev/null
  static stdio pipe() noexcept { return stdio(kind::pipe); }        // a pipe, whose other end the process object has
  static stdio merged() noexcept { return stdio(kind::merged); }    // of err: wherever out goes
  static stdio use(int number) noexcept {                           // a duplicate of a number of this process
    stdio s(kind::number);
    s.number_ = number;
    return s;
  }

 private:
  friend struct stdio_access;
  enum class kind { inherit, null, pipe, merged, number };
  explicit stdio(kind k) noexcept : kind_(k) {}

  kind kind_;
  int number_ = -1;
};

struct process_options {
  explicit process_options() = default;

  stdio in = stdio::inherit();
  stdio out = stdio::inherit();
  stdio err = stdio::inherit();
  std::string directory;                                         // to start in; empty: this process's
  bool inherit_environment = true;                               // start from this process's variables
  std::vector<std::pair<std::string, std::string>> environment;  // added, or in the place of those of the same name
  bool search_path = true;                                       // a program name without '/' is looked for in PATH
  bool new_group = false;            // in a process group of its own: the terminal's ^C does not reach it
  bool new_session = false;          // in a session of its own, without a terminal
  bool inherit_descriptors = false;  // those of the application that are not close-on-exec
};

// process is a child that was started: a movable handle. wait() reaps it. A handle that goes without that leaves the
// child running and has it reaped when it ends, as long as its runtime lives. Waiting blocks no thread (it waits for a
// pidfd; on kernels without, Linux before 5.3, in a blocking region), and no handler for SIGCHLD is installed; a
// program that reaps children by itself, or ignores SIGCHLD, takes the status away: wait() then says
// std::errc::no_child_process. Any fiber or thread may wait, kill and use the pipes at once.
class WEFT_API process {
 public:
  struct state;  // internal

  process() noexcept;  // every call gives errc::closed
  process(process&&) noexcept;
  process& operator=(process&&) noexcept;
  ~process();

  int pid() const noexcept;  // 0: no process

  // wait returns how the child ended, waiting for that; again as often as asked.
  exit_status wait();
  exit_status wait(std::error_code& ec) noexcept;
  exit_status wait(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return wait();
  }
  exit_status wait(const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return wait(ec);
  }
  // wait_for gives up after a while: nothing then.
  template <class Rep, class Period>
  std::optional<exit_status> wait_for(std::chrono::duration<Rep, Period> time) {
    return wait_until(weft::detail::to_nanotime(time));
  }

  // kill sends a signal, never to another process that got the number meanwhile; to a child that has been reaped it is
  // std::errc::no_such_process.
  void kill(int signal);
  void kill(int signal, std::error_code& ec) noexcept;

  // The other ends of those streams that are pipes; the others give errc::closed.
  pipe_writer& in() noexcept { return in_; }
  pipe_reader& out() noexcept { return out_; }
  pipe_reader& err() noexcept { return err_; }

 private:
  friend struct process_access;

  std::optional<exit_status> wait_until(sched::nanotime deadline);

  std::shared_ptr<state> state_;
  pipe_writer in_;
  pipe_reader out_;
  pipe_reader err_;
};

// start_process runs a program with its arguments, argv[0] first, which is also the program. The child has the default
// signal mask and dispositions, and no descriptor beyond the three streams. It is made without copying this process
// (posix_spawn), which blocks the thread until the program has been loaded, while other fibers go on; what is wrong
// with the program is reported here: "start process /a/b: no such file or directory". Needs a runtime:
// errc::no_runtime.
[[nodiscard]] WEFT_API process start_process(std::span<const std::string> argv, const process_options& options);
[[nodiscard]] WEFT_API process start_process(std::span<const std::string> argv, const process_options& options,
                                             std::error_code& ec);
[[nodiscard]] inline process start_process(std::initializer_list<std::string> argv) {
  return start_process(std::span(argv.begin(), argv.size()), process_options());
}
[[nodiscard]] inline process start_process(std::initializer_list<std::string> argv, const process_options& options) {
  return start_process(std::span(argv.begin(), argv.size()), options);
}

// captured is what run_process brought back.
struct captured {
  exit_status status;
  std::string out;
  std::string err;
};

// run_process starts a program, gives it `input`, and returns when it has ended, with what it wrote: at most `limit`
// bytes of each stream, errc::too_long and an end to the child if there is more.
[[nodiscard]] WEFT_API captured run_process(std::span<const std::string> argv, std::string_view input = {},
                                            std::size_t limit = std::size_t{64} << 20);
[[nodiscard]] inline captured run_process(std::initializer_list<std::string> argv, std::string_view input = {}) {
  return run_process(std::span(argv.begin(), argv.size()), input);
}

}  // namespace weft::inline v0::os
