#include <weft/error.hpp>

#include "io_error.hpp"

#include <weft/netpoll/descriptor.hpp>

#include <new>

namespace weft::inline v0 {

namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "weft"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::closed: return "closed";
      case errc::no_runtime: return "no runtime: the caller is neither a fiber nor inside runtime::enter()";
      case errc::not_pollable: return "not pollable: the system cannot tell when to go on";
    }
    return "unknown error " + std::to_string(value);
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  // Never destroyed: static destructors of the application may still report errors.
  alignas(category) static unsigned char storage[sizeof(category)];
  static const std::error_category& instance = *new (storage) category;
  return instance;
}

std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), error_category()}; }

io_error::io_error(std::error_code code, const std::string& what, std::size_t transferred)
    : std::system_error(code, what), transferred_(transferred) {}
io_error::~io_error() = default;

canceled_error::canceled_error(const std::string& what, std::size_t transferred)
    : std::system_error(std::make_error_code(std::errc::operation_canceled), what), transferred_(transferred) {}
canceled_error::~canceled_error() = default;

std::error_code to_error_code(int poll_error) noexcept {
  switch (poll_error) {
    case poll::ok: return {};
    case poll::closed: return errc::closed;
    case poll::timed_out: return std::make_error_code(std::errc::timed_out);
    case poll::not_pollable: return errc::not_pollable;
    case poll::canceled: return std::make_error_code(std::errc::operation_canceled);
    default: return {poll_error, std::system_category()};
  }
}

void throw_io_error(int poll_error, const std::string& what, std::size_t transferred) {
  if (poll_error == poll::canceled) throw canceled_error(what, transferred);
  throw io_error(to_error_code(poll_error), what, transferred);
}

void throw_canceled(const char* what) { throw canceled_error(what); }

}  // namespace weft::inline v0
