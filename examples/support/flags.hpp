// What the examples share: their command lines, and how they report what went wrong.
#pragma once

#include <sys/resource.h>

#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace support {

// flags reads "--name VALUE" and "--name=VALUE" into variables that hold the defaults. --help prints the list and exits
// with 0; a mistake prints one line and exits with 2.
class flags {
 public:
  flags(std::string program, std::string purpose) : program_(std::move(program)), purpose_(std::move(purpose)) {}

  flags& text(std::string name, std::string value_name, std::string help, std::string& value) {
    return add(std::move(name), std::move(value_name), help + (value.empty() ? "" : " (" + value + ")"),
               [&value](std::string_view given) {
                 value = given;
                 return !given.empty();
               });
  }

  template <class Number>
  flags& number(std::string name, std::string value_name, std::string help, Number& value, Number least, Number most) {
    return add(std::move(name), std::move(value_name), std::move(help), [&value, least, most](std::string_view given) {
      const char* const end = given.data() + given.size();
      const auto [stop, error] = std::from_chars(given.data(), end, value);
      return error == std::errc() && stop == end && value >= least && value <= most;
    });
  }

  // A name alone.
  flags& toggle(std::string name, std::string help, bool& value) {
    return add(std::move(name), "", std::move(help), [&value](std::string_view) { return value = true; });
  }

  // What stands without a name before it: from `least` to `most` values.
  flags& rest(std::string value_name, std::vector<std::string>& values, std::size_t least = 0,
              std::size_t most = std::numeric_limits<std::size_t>::max()) {
    rest_name_ = std::move(value_name);
    rest_ = &values;
    least_ = least;
    most_ = most;
    return *this;
  }

  void parse(int argc, char** argv) const {
    for (int i = 1; i < argc; ++i) {
      const std::string_view argument = argv[i];
      if (argument == "--help" || argument == "-h") help();
      if (!argument.starts_with("-") && rest_ != nullptr && rest_->size() < most_) {
        rest_->emplace_back(argument);
        continue;
      }
      const std::size_t equals = argument.find('=');
      const flag* const f = find(argument.substr(0, equals));
      if (f == nullptr) fail("unknown argument " + std::string(argument));
      std::string_view value;
      if (f->value_name.empty()) {
        if (equals != std::string_view::npos) fail(f->name + " takes no value");
      } else if (equals != std::string_view::npos) {
        value = argument.substr(equals + 1);
      } else if (++i < argc) {
        value = argv[i];
      } else {
        fail(f->name + " needs a value: " + f->value_name);
      }
      if (!f->set(value)) fail("bad value for " + f->name + ": " + std::string(value));
    }
    if (rest_ != nullptr && rest_->size() < least_) fail(rest_name_ + " is missing");
  }

  [[noreturn]] void fail(const std::string& problem) const {
    std::fprintf(stderr, "%s: %s (see --help)\n", program_.c_str(), problem.c_str());
    std::exit(2);
  }

 private:
  struct flag {
    std::string name;
    std::string value_name;
    std::string help;
    std::function<bool(std::string_view)> set;
  };

  flags& add(std::string name, std::string value_name, std::string help, std::function<bool(std::string_view)> set) {
    list_.push_back({std::move(name), std::move(value_name), std::move(help), std::move(set)});
    return *this;
  }

  const flag* find(std::string_view name) const {
    for (const flag& f : list_) {
      if (f.name == name) return &f;
    }
    return nullptr;
  }

  [[noreturn]] void help() const {
    std::printf("%s: %s\n\nUsage: %s%s%s\n", program_.c_str(), purpose_.c_str(), program_.c_str(),
                list_.empty() ? "" : " [OPTIONS]", rest_usage().c_str());
    for (const flag& f : list_) {
      std::printf("  %-24s %s\n", (f.name + " " + f.value_name).c_str(), f.help.c_str());
    }
    std::exit(0);
  }

  std::string rest_usage() const {
    if (rest_ == nullptr) return "";
    const std::string name = rest_name_ + (most_ > 1 ? "..." : "");
    return " " + (least_ > 0 ? name : "[" + name + "]");
  }

  std::string program_;
  std::string purpose_;
  std::string rest_name_;
  std::vector<std::string>* rest_ = nullptr;
  std::size_t least_ = 0;
  std::size_t most_ = 0;
  std::vector<flag> list_;
};

// report_errors calls main(); an exception becomes one line on standard error and the exit status 1.
template <class Main>
int report_errors(const char* program, Main&& main) {
  try {
    return main();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", program, e.what());
    return 1;
  }
}

// A program that serves thousands of connections wants as many descriptors as it may have.
inline void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace support
