// Signals of the system, waited for as for messages.
#pragma once

#include <weft/export.hpp>
#include <weft/io/calls.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stop_token>
#include <system_error>
#include <utility>

namespace weft::inline v0::os {

namespace detail {

struct signal_slot;

struct signal_slot_release {
  WEFT_API void operator()(signal_slot* s) const noexcept;
};

struct signal_name {
  WEFT_API failed_operation describe() const;
};

}  // namespace detail

// signal_set receives the given signals of this process while it exists: what they would do otherwise (end the process,
// say) they don't do. Every set that names a signal gets it. A signal that comes again before it was taken counts once.
//
// It installs a handler for each of its signals, and puts back what was there before when the last set that names a
// signal has gone; what was sent before that and not taken is dropped. The threads of a runtime block signals that are sent to the process, so another thread, as a rule
// the first, has to have them open. Executed programs start without the handlers. Up to 64 sets may exist.
// Deadlines and close: io/calls.hpp. Any fiber or thread may wait; each signal goes to one of them.
class WEFT_API signal_set : public io::handle_calls<signal_set>, public io::readable_calls<signal_set> {
 public:
  signal_set() noexcept = default;  // every call gives errc::closed

  // Throws std::errc::invalid_argument for a number that is no signal, or one that cannot be waited for: SIGKILL,
  // SIGSTOP and those of the program's own faults. Needs a runtime: errc::no_runtime.
  explicit signal_set(std::initializer_list<int> signals);

  signal_set(signal_set&&) noexcept = default;
  signal_set& operator=(signal_set&& other) noexcept {
    std::swap(slot_, other.slot_);
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  // close lets go of the signals, and ends every call that waits. The number cannot be released: the handler knows it.
  void close();
  void close(std::error_code& ec) noexcept;
  int release() = delete;

  // wait returns the number of a signal that came. try_wait returns 0 if none did.
  int wait();
  int wait(std::error_code& ec) noexcept;
  int wait(const std::stop_token& stop) {
    const sched::stop_link link(stop);
    return wait();
  }
  int wait(const std::stop_token& stop, std::error_code& ec) noexcept {
    const sched::stop_link link(stop);
    return wait(ec);
  }
  int try_wait() noexcept;

 private:
  friend struct io::access;
  detail::signal_name name() const noexcept { return {}; }

  // In this order: the handler lets go of the slot before its descriptor is closed.
  poll::descriptor_ptr descriptor_;
  std::unique_ptr<detail::signal_slot, detail::signal_slot_release> slot_;
};

}  // namespace weft::inline v0::os
