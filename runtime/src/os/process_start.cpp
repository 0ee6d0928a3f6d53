// Starting a program, without the hazards of fork.
#include "../adopt.hpp"
#include "../io_error.hpp"
#include "process_state.hpp"

#include <weft/fiber.hpp>
#include <weft/os/native_fd.hpp>
#include <weft/os/process.hpp>
#include <weft/sched/blocking.hpp>
#include <weft/sched/sys.hpp>

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

extern char** environ;

namespace weft::inline v0::os {

using sched::sys_call;

struct stdio_access {
  using kind = stdio::kind;
  static kind kind_of(const stdio& s) noexcept { return s.kind_; }
  static int number_of(const stdio& s) noexcept { return s.number_; }
};

namespace {

using kind = stdio_access::kind;

// What posix_spawn is told, freed with it.
struct spawn_plan {
  spawn_plan() noexcept {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~spawn_plan() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  spawn_plan(const spawn_plan&) = delete;
  spawn_plan& operator=(const spawn_plan&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

// The two ends of what a standard stream is connected to.
struct stream_ends {
  native_fd childs;
  native_fd ours;  // of a pipe
};

// Sources are put out of the way of 0, 1 and 2, which are overwritten one after the other.
int out_of_the_way(int fd, native_fd& to) noexcept {
  const long r = sys_call(::fcntl, fd, F_DUPFD_CLOEXEC, 3);
  if (r >= 0) to.reset(static_cast<int>(r));
  return r < 0 ? static_cast<int>(-r) : 0;
}

int open_stream(const stdio& how, bool is_input, stream_ends& ends) noexcept {
  switch (stdio_access::kind_of(how)) {
    case kind::inherit:
    case kind::merged:
      return 0;
    case kind::number:
      return out_of_the_way(stdio_access::number_of(how), ends.childs);
    case kind::null: {
      const long r = sys_call(::open, "/dev/null", O_CLOEXEC | (is_input ? O_RDONLY : O_WRONLY));
      if (r < 0) return static_cast<int>(-r);
      const native_fd opened(static_cast<int>(r));
      return out_of_the_way(opened.get(), ends.childs);
    }
    case kind::pipe: {
      int fds[2];
      if (const long r = sys_call(::pipe2, fds, O_CLOEXEC); r < 0) return static_cast<int>(-r);
      const native_fd far(fds[is_input ? 0 : 1]);
      ends.ours.reset(fds[is_input ? 1 : 0]);
      // Of this end alone: the program expects a pipe that blocks.
      if (const long r = sys_call(::fcntl, ends.ours.get(), F_SETFL, O_NONBLOCK); r < 0) return static_cast<int>(-r);
      return out_of_the_way(far.get(), ends.childs);
    }
  }
  return EINVAL;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& t : texts) pointers.push_back(t.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_of(const process_options& options) {
  std::vector<std::string> all;
  const auto replaced = [&](const char* entry) {
    for (const auto& [name, value] : options.environment) {
      if (std::strncmp(entry, name.c_str(), name.size()) == 0 && entry[name.size()] == '=') return true;
    }
    return false;
  };
  if (options.inherit_environment) {
    for (char** e = environ; *e != nullptr; ++e) {
      if (!replaced(*e)) all.emplace_back(*e);
    }
  }
  for (const auto& [name, value] : options.environment) all.push_back(name + "=" + value);
  return all;
}

int plan_streams(spawn_plan& plan, const std::array<stream_ends, 3>& streams, const process_options& options) noexcept {
  int error = 0;
  for (int i = 0; i < 3 && error == 0; ++i) {
    const int from = streams[static_cast<std::size_t>(i)].childs.get();
    if (from >= 0) error = posix_spawn_file_actions_adddup2(&plan.actions, from, i);
  }
  if (error == 0 && stdio_access::kind_of(options.err) == kind::merged) {
    error = posix_spawn_file_actions_adddup2(&plan.actions, 1, 2);
  }
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  if (error == 0 && !options.inherit_descriptors) error = posix_spawn_file_actions_addclosefrom_np(&plan.actions, 3);
#endif
  if (error == 0 && !options.directory.empty()) {
    error = posix_spawn_file_actions_addchdir_np(&plan.actions, options.directory.c_str());
  }
  return error;
}

// Workers block most signals, and an application may ignore some: a program starts with neither.
int plan_attributes(spawn_plan& plan, const process_options& options) noexcept {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  int error = posix_spawnattr_setsigmask(&plan.attributes, &none);
  if (error == 0) error = posix_spawnattr_setsigdefault(&plan.attributes, &all);
  if (error == 0 && options.new_group) {
    flags |= POSIX_SPAWN_SETPGROUP;
    error = posix_spawnattr_setpgroup(&plan.attributes, 0);
  }
  if (options.new_session) flags |= POSIX_SPAWN_SETSID;
  return error == 0 ? posix_spawnattr_setflags(&plan.attributes, flags) : error;
}

int spawn_child(std::span<const std::string> argv, const process_options& options,
                const std::array<stream_ends, 3>& streams, pid_t& pid) {
  spawn_plan plan;
  int error = plan_streams(plan, streams, options);
  if (error == 0) error = plan_attributes(plan, options);
  if (error != 0) return error;
  std::vector<std::string> arguments(argv.begin(), argv.end());
  std::vector<std::string> variables = environment_of(options);
  const std::vector<char*> argument_pointers = pointers_to(arguments);
  const std::vector<char*> variable_pointers = pointers_to(variables);
  const sched::blocking_region others_go_on;
  const auto call = options.search_path ? posix_spawnp : posix_spawn;
  return call(&pid, arguments.front().c_str(), &plan.actions, &plan.attributes, argument_pointers.data(),
              variable_pointers.data());
}

template <class Handle>
int adopt_end(const std::shared_ptr<poll::poller>& poller, native_fd& end, Handle& h) noexcept {
  return end ? adopt(poller, end.release(), poll::kind::other, h) : 0;
}

// The child is not reaped yet, so that its number still means it. Null, and no error, on kernels without pidfds.
int open_pidfd(const std::shared_ptr<poll::poller>& poller, pid_t pid, poll::descriptor_ptr& d) noexcept {
#ifdef SYS_pidfd_open
  const long fd = sys_call(::syscall, long{SYS_pidfd_open}, pid, 0);
  if (fd == -ENOSYS || fd == -EPERM) return 0;
  if (fd < 0) return static_cast<int>(-fd);
  sys_call(::fcntl, static_cast<int>(fd), F_SETFL, O_NONBLOCK);
  int error = 0;
  d = poll::descriptor::open(poller, static_cast<int>(fd), poll::kind::other, error);
  if (d == nullptr) sys_call(::close, static_cast<int>(fd));
  return error;
#else
  return 0;
#endif
}

process start(std::span<const std::string> argv, const process_options& options, std::error_code& ec) {
  process child;
  const std::shared_ptr<poll::poller> poller = current_poller();
  if (poller == nullptr || argv.empty()) {
    ec = poller == nullptr ? std::error_code(errc::no_runtime) : std::make_error_code(std::errc::invalid_argument);
    return child;
  }
  std::array<stream_ends, 3> streams;
  int error = open_stream(options.in, true, streams[0]);
  if (error == 0) error = open_stream(options.out, false, streams[1]);
  if (error == 0) error = open_stream(options.err, false, streams[2]);
  auto state = std::make_shared<process::state>();
  if (error == 0) error = spawn_child(argv, options, streams, state->pid);
  if (error == 0) {
    child = process_access::make(state);  // from here on it is reaped, whatever fails
    error = open_pidfd(poller, state->pid, state->pidfd);
    if (error == 0) error = adopt_end(poller, streams[0].ours, child.in());
    if (error == 0) error = adopt_end(poller, streams[1].ours, child.out());
    if (error == 0) error = adopt_end(poller, streams[2].ours, child.err());
    if (error != 0) (void)state->kill(SIGKILL);
  }
  ec = to_error_code(error);
  return error == 0 ? std::move(child) : process();
}

// read_up_to reads a stream to its end; false if there is more than `limit`.
bool read_up_to(pipe_reader& from, std::size_t limit, std::string& to) {
  std::array<char, 16 * 1024> buffer;
  while (const std::size_t n = from.read_some(buffer)) {
    if (n > limit - to.size()) return false;
    to.append(buffer.data(), n);
  }
  return true;
}

}  // namespace

process start_process(std::span<const std::string> argv, const process_options& options, std::error_code& ec) {
  return start(argv, options, ec);
}

process start_process(std::span<const std::string> argv, const process_options& options) {
  std::error_code ec;
  process child = start(argv, options, ec);
  if (ec) throw_failure(ec, {"start", "process", {}, argv.empty() ? std::string() : argv.front()});
  return child;
}

captured run_process(std::span<const std::string> argv, std::string_view input, std::size_t limit) {
  process_options options;
  options.in = input.empty() ? stdio::null() : stdio::pipe();
  options.out = options.err = stdio::pipe();
  process child = start_process(argv, options);
  captured result;
  bool fits = true;
  {
    const auto read = [&](pipe_reader& from, std::string& to) {
      if (read_up_to(from, limit, to)) return;
      fits = false;
      std::error_code gone;
      child.kill(SIGKILL, gone);
    };
    auto feeding = spawn([&] {
      std::error_code unread;  // a child may not care for all of its input
      child.in().write(input, unread);
      child.in().close(unread);
    });
    auto errors = spawn([&] { read(child.err(), result.err); });
    read(child.out(), result.out);
    errors.join();
    feeding.join();
  }
  result.status = child.wait();
  if (!fits) throw_failure(errc::too_long, {"read output of", "process", {}, argv.front()});
  return result;
}

}  // namespace weft::inline v0::os
