// gdb, with the script that the library brings, on a live process and on a core.
#include "runtime/process_counts.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;

const fs::path program = WEFT_DEBUGGED;

// What a shell command writes on both outputs.
std::string output_of(const std::string& command) {
  std::FILE* const from = ::popen((command + " 2>&1 < /dev/null").c_str(), "r");
  std::string text;
  std::array<char, 4096> part;
  while (const std::size_t n = std::fread(part.data(), 1, part.size(), from)) text.append(part.data(), n);
  ::pclose(from);
  return text;
}

// gdb without anybody's settings; each command is one argument.
struct gdb_run {
  std::string target;  // a program and a core, or -p PID
  std::string how = "-iex 'add-auto-load-safe-path " + program.parent_path().string() + ":" WEFT_LIBRARY_DIR "'";

  std::string operator()(const std::vector<std::string>& commands) const {
    std::string line = "timeout -k 5 120 gdb -nx -q -batch -iex 'set width 0' -iex 'set debuginfod enabled off' " + how +
                       " " + target;
    for (const std::string& c : commands) line += " -ex '" + c + "'";
    return output_of(line);
  }
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string line_with(const std::string& text, std::string_view part) {
  for (const std::string& line : lines_of(text)) {
    if (contains(line, part)) return line;
  }
  return "";
}

// The program that is looked at, until it is told to leave.
class debugged {
 public:
  explicit debugged(const char* what, const fs::path& in = fs::temp_directory_path(), const fs::path& image = program) {
    std::array<int, 2> out;
    if (::pipe2(out.data(), O_CLOEXEC) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
      ::getrlimit(RLIMIT_CORE, &unlimited);
      unlimited.rlim_cur = unlimited.rlim_max;
      ::setrlimit(RLIMIT_CORE, &unlimited);
      if (::chdir(in.c_str()) != 0) ::_exit(126);
      ::execl(image.c_str(), image.c_str(), what, nullptr);
      ::_exit(127);
    }
    ::close(out[1]);
    char byte;
    while (::read(out[0], &byte, 1) == 1 && byte != '\n') {
    }
    ready_ = byte == '\n';
    ::close(out[0]);
  }
  ~debugged() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }
  debugged(const debugged&) = delete;
  debugged& operator=(const debugged&) = delete;

  bool ready() const { return ready_; }
  pid_t pid() const { return pid_; }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  // leave tells it to end by itself, and returns how it has ended.
  int leave() {
    ::kill(pid_, SIGTERM);
    return wait();
  }

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
};

struct core_file {
  fs::path directory;
  fs::path file;
  std::string why_none;

  core_file() {
    std::string name = (fs::temp_directory_path() / "weft-core-XXXXXX").string();
    directory = ::mkdtemp(name.data());
    if (testing_support::sanitized) {
      why_none = "the sanitizer's memory is too large for a core";
      return;
    }
    debugged dies("abort", directory);
    dies.wait();
    if (find()) return;
    // core_pattern leads elsewhere: gdb can write one too.
    debugged lives("wait", directory);
    const std::string said = gdb_run{"-p " + std::to_string(lives.pid())}(
        {"generate-core-file " + (directory / "core").string()});
    if (!find()) why_none = "neither the system nor gdb writes a core: " + said;
  }
  ~core_file() { fs::remove_all(directory); }
  core_file(const core_file&) = delete;
  core_file& operator=(const core_file&) = delete;

 private:
  bool find() {
    for (const auto& entry : fs::directory_iterator(directory)) {
      if (entry.path().filename().string().starts_with("core")) file = entry.path();
    }
    return !file.empty();
  }
};

class GdbTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { core_.emplace(); }
  static void TearDownTestSuite() { core_.reset(); }

  void SetUp() override {
    if (!contains(output_of("gdb -nx -batch -ex 'python print(6 * 7)'"), "42")) GTEST_SKIP() << "no gdb with Python";
#if !defined(__x86_64__) || defined(WEFT_PORTABLE_SWITCH)
    GTEST_SKIP() << "what a switch saves is known for x86-64 only";
#endif
  }

  static std::optional<core_file> core_;
};

std::optional<core_file> GdbTest::core_;

class GdbOnCore : public GdbTest {
 protected:
  void SetUp() override {
    GdbTest::SetUp();
    if (!IsSkipped() && core_->file.empty()) GTEST_SKIP() << core_->why_none;
  }
  gdb_run gdb() const { return {program.string() + " " + core_->file.string()}; }
  const std::string& list() const {
    static const std::string text = gdb()({"info fibers"});
    return text;
  }
};

class GdbOnProcess : public GdbTest {
 protected:
  void SetUp() override {
    GdbTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(live_.ready());
    const std::string said = gdb()({"info inferiors"});
    if (!contains(said, "process " + std::to_string(live_.pid()))) GTEST_SKIP() << "cannot attach: " << said;
  }
  gdb_run gdb() const { return {"-p " + std::to_string(live_.pid())}; }

  debugged live_{"wait"};
};

// Columns of `info fibers`: id, name, state, time, place, origin.
void expect_list(const std::string& list) {
  struct {
    const char* name;
    const char* state;
    const char* place;
  } const expected[] = {
      {"main", "running on thread ", "until_told_to_leave"},
      {"elsewhere", "sleep ", "wait_elsewhere"},
      {"receiver", "channel receive 0x", "wait_on_channel"},
      {"locker", ", held by fiber 1 'main'", "wait_on_mutex"},
      {"sleeper", "sleep ", "wait_on_clock"},
      {"reader", "read descriptor ", "wait_on_pipe"},
      {"joiner", "join fiber ", "wait_on_fiber"},
      {"blocker", "blocking on thread ", "block_the_thread"},
      {"computer", "running on thread ", "keep_the_worker"},
      {"fresh", "runnable ", "has not run yet"},
  };
  for (const auto& e : expected) {
    const std::string line = line_with(list, std::string("  ") + e.name + "  ");
    EXPECT_TRUE(contains(line, e.state)) << e.name << " in:\n" << list;
    // A sanitizer's read() and usleep() are functions of the program.
    const bool in_sanitizer = testing_support::sanitized && contains(e.state, "on thread");
    EXPECT_TRUE(in_sanitizer || contains(line, e.place)) << e.name << " in:\n" << list;
  }
  EXPECT_TRUE(contains(line_with(list, "  joiner  "), "'receiver'")) << list;
  EXPECT_TRUE(contains(line_with(list, "  reader  "), "debugged.cpp:")) << list;
}

// Each stack of `fiber apply all bt`: where its fiber is, and the beginning of every fiber as the last frame.
void expect_stacks(const std::string& all) {
  std::size_t stacks = 0;
  std::string fiber;
  std::string stack;
  std::string last;
  const auto check = [&] {
    if (fiber.empty() || contains(fiber, "'fresh'")) return;
    ++stacks;
    EXPECT_TRUE(contains(last, "weft_enter_context")) << fiber << "\n" << stack;
    EXPECT_FALSE(contains(stack, "??") || contains(stack, "corrupt") || contains(stack, "Backtrace stopped"))
        << fiber << "\n" << stack;
    for (const auto& [name, function] : {std::pair{"'receiver'", "wait_on_channel"}, {"'locker'", "wait_on_mutex"},
                                         {"'sleeper'", "wait_on_clock"}, {"'elsewhere'", "wait_elsewhere"},
                                         {"'reader'", "wait_on_pipe"}, {"'joiner'", "wait_on_fiber"},
                                         {"'blocker'", "block_the_thread"}, {"'computer'", "keep_the_worker"},
                                         {"'main'", "until_told_to_leave"}}) {
      EXPECT_EQ(contains(fiber, std::string(name) + " ["), contains(stack, function)) << fiber << "\n" << stack;
    }
  };
  for (const std::string& line : lines_of(all)) {
    if (line.starts_with("Fiber ")) {
      check();
      fiber = line;
      stack.clear();
      last.clear();
    } else if (line.starts_with("#")) {
      stack += line + "\n";
      last = line;
    }
  }
  check();
  EXPECT_EQ(stacks, 9u) << all;
  EXPECT_TRUE(contains(all, "'fresh' has not run yet")) << all;
}

// The number of the fiber with that name, from `info fibers`.
std::string number_of(const std::string& list, const std::string& name) {
  std::string line = line_with(list, "  " + name + "  ");
  line.erase(0, line.find_first_of("0123456789"));
  return line.substr(0, line.find(' '));
}

// covers O50
TEST_F(GdbOnCore, EveryFiberIsListedWithWhatItWaitsFor) { expect_list(list()); }

// covers O50
TEST_F(GdbOnCore, EqualStacksAreCountedTogether) {
  const std::string said = gdb()({"info fibers -summary"});
  EXPECT_TRUE(contains(said, "1 fiber [mutex]: ")) << said;
  std::size_t calls = 0;
  for (const std::string& line : lines_of(said)) calls += contains(line, "    ") && contains(line, "wait_on_channel") ? 1 : 0;
  EXPECT_EQ(calls, 21u) << said;
}

// covers O51: at the user's innermost frame
TEST_F(GdbOnCore, AParkedFiberIsShownWithItsLocalsAndNoRegisterIsWritten) {
  const std::string said = gdb()({"info registers", "echo ==\\n",
                                  "fiber " + number_of(list(), "locker"), "info locals",
                                  "fiber " + number_of(list(), "receiver"), "info locals", "up", "info locals", "fiber",
                                  "fiber " + number_of(list(), "computer"), "info locals",
                                  "thread 1", "fiber 0", "echo ==\\n", "info registers"});
  EXPECT_TRUE(contains(said, "token = 815\n")) << said;
  EXPECT_TRUE(contains(said, "token = 4711\n")) << said;
  EXPECT_TRUE(contains(said, "token = 4712\n")) << said;
  EXPECT_TRUE(contains(said, "token = 5\n")) << said;
  EXPECT_TRUE(contains(said, "[Fiber " + number_of(list(), "receiver") + " 'receiver': channel receive 0x")) << said;
  // Between the marks; before the first gdb tells of the core.
  const auto registers = [](const std::string& text) {
    std::string found;
    for (const std::string& line : lines_of(text)) {
      if (line.starts_with("r") && contains(line, " 0x")) found += line + "\n";
    }
    return found;
  };
  const std::size_t first = said.find("==\n");
  const std::size_t second = said.find("==\n", first + 1);
  ASSERT_NE(second, std::string::npos) << said;
  const std::string before = registers(said.substr(0, first));
  EXPECT_TRUE(contains(before, "rip")) << said;
  EXPECT_EQ(before, registers(said.substr(second)));
}

// covers O51
TEST_F(GdbOnCore, WhatCannotBeShownSaysWhy) {
  const std::string said =
      gdb()({"fiber " + number_of(list(), "fresh"), "fiber 999999", "fiber nonsense", "fiber apply all", "fiber"});
  for (const char* why : {"has not run yet", "No fiber 999999.", "Usage: fiber [ID]", "Usage: fiber apply", "No fiber is shown."}) {
    EXPECT_TRUE(contains(said, why)) << said;
  }
}

// covers O52
TEST_F(GdbOnCore, EveryStackEndsWhereItsFiberBegan) { expect_stacks(gdb()({"fiber apply all bt"})); }

// covers O52
TEST_F(GdbOnCore, ACommandIsAppliedToSomeAndTheSelectionStays) {
  const std::string locker = number_of(list(), "locker");
  const std::string said = gdb()({"fiber " + number_of(list(), "sleeper"),
                                  "fiber apply 3 " + locker + "-" + locker + " print 6 * 7", "frame", "info locals"});
  std::size_t times = 0;
  for (const std::string& line : lines_of(said)) times += line.starts_with("$") && line.ends_with(" = 42") ? 1 : 0;
  EXPECT_EQ(times, 2u) << said;
  EXPECT_TRUE(contains(said.substr(said.find("= 42")), "wait_on_clock")) << said;
  EXPECT_TRUE(contains(said, "token = 1\n")) << said;
}

// covers O53
TEST_F(GdbOnProcess, IsShownAsACoreIsAndGoesOn) {
  const std::string list = gdb()({"info fibers"});
  expect_list(list);
  expect_stacks(gdb()({"fiber apply all bt"}));
  const std::string said = gdb()({"fiber " + number_of(list, "locker"), "info locals"});
  EXPECT_TRUE(contains(said, "token = 815\n")) << said;
  const int status = live_.leave();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// covers O53
TEST_F(GdbOnProcess, GoingOnEndsTheShowAndHarmsNothing) {
  const std::string list = gdb()({"info fibers"});
  const std::string locker = number_of(list, "locker");
  const std::string said = gdb()({"fiber " + locker, "fiber", "shell kill -TERM " + std::to_string(live_.pid()), "continue",
                                  "echo ==\\n", "fiber", "bt"});
  EXPECT_TRUE(contains(said, "[Fiber " + locker + " 'locker'")) << said;
  const std::string after = said.substr(said.find("==\n"));
  EXPECT_TRUE(contains(after, "No fiber is shown.")) << said;
  EXPECT_FALSE(contains(after, "wait_on_mutex")) << said;
  const int status = live_.leave();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

// covers O54
TEST_F(GdbOnCore, TheProgramBringsTheScript) {
  gdb_run run = gdb();
  const std::string loaded = run({"info auto-load python-scripts weft"});
  EXPECT_TRUE(contains(loaded, "Yes") && contains(loaded, "gdb.py")) << loaded;
  run.how = "-iex 'set auto-load safe-path /nowhere'";
  const std::string declined = run({"info fibers"});
  EXPECT_TRUE(contains(declined, "auto-loading has been declined")) << declined;
  EXPECT_FALSE(contains(declined, "receiver")) << declined;
  run.how = "-iex 'set auto-load python-scripts off' -x '" WEFT_GDB_SCRIPT "'";
  EXPECT_TRUE(contains(run({"info fibers"}), "'main'"));
}

// covers O54
TEST_F(GdbOnCore, AProgramWithoutSymbolsStillHasItsFibers) {
  const fs::path bare = core_->directory / "bare";
  if (const std::string said = output_of("strip -o " + bare.string() + " " + program.string()); !fs::exists(bare)) {
    GTEST_SKIP() << "no strip: " << said;
  }
  gdb_run run{bare.string() + " " + core_->file.string(), "-x '" WEFT_GDB_SCRIPT "'"};
  const std::string list = run({"info fibers"});
  EXPECT_TRUE(contains(line_with(list, "  locker  "), ", held by fiber 1 'main'")) << list;
  // The frames need no symbols either: as many as with them.
  const auto frames = [&list](const gdb_run& r) {
    std::size_t n = 0;
    for (const std::string& line : lines_of(r({"fiber " + number_of(list, "receiver"), "bt -frame-info location"}))) {
      n += line.starts_with("#") ? 1 : 0;
    }
    return n;
  };
  EXPECT_GT(frames(run), 21u);
}

}  // namespace
