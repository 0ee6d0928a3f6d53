// SIGINT and SIGTERM as an orderly end.
#pragma once

#include <weft/weft.hpp>

#include <csignal>
#include <functional>
#include <system_error>
#include <utility>

namespace support {

// on_stop calls its action, on a fiber, when one of the two comes while it exists. The second ends the process as usual.
class on_stop {
 public:
  explicit on_stop(std::function<void()> action)
      : signals_{SIGINT, SIGTERM}, waiter_(weft::spawn([this, action = std::move(action)] {
          std::error_code ended;
          signals_.wait(ended);
          if (ended) return;
          signals_.close(ended);  // back to what they do by default
          action();
        })) {}

  ~on_stop() {
    std::error_code ignored;
    signals_.close(ignored);
    waiter_.join();
  }

  on_stop(const on_stop&) = delete;
  on_stop& operator=(const on_stop&) = delete;

 private:
  weft::os::signal_set signals_;
  weft::fiber<void> waiter_;
};

}  // namespace support
