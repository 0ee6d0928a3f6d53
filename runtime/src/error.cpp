#include <weft/error.hpp>

#include "io_error.hpp"

#include <weft/net/resolver.hpp>
#include <weft/netpoll/descriptor.hpp>

#include <cerrno>
#include <new>
#include <utility>

namespace weft::inline v0 {

namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "weft"; }

  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::closed:
        return "closed";
      case errc::no_runtime:
        return "no runtime: the caller is neither a fiber nor inside runtime::enter()";
      case errc::not_pollable:
        return "not pollable: the system cannot tell when to go on";
      case errc::end_of_stream:
        return "unexpected end of the stream";
      case errc::too_long:
        return "longer than the limit";
    }
    return "unknown error " + std::to_string(value);
  }
};

// cause words a code as the end of a line: as the system does, but without its capital letter. A deadline of ours and
// the network's own timeout have the same std::errc and are told apart.
std::string cause(const std::error_code& code) {
  if (code == make_error_code(std::errc::timed_out) && code.category() == std::generic_category()) return "i/o timeout";
  std::string text = code.message();
  const auto is_upper = [&](std::size_t i) { return i < text.size() && text[i] >= 'A' && text[i] <= 'Z'; };
  if (is_upper(0) && !is_upper(1)) text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

bool is_one_of(const std::error_code& code, std::initializer_list<int> values) noexcept {
  if (code.category() != std::system_category() && code.category() != std::generic_category()) return false;
  for (const int v : values) {
    if (code.value() == v) return true;
  }
  return false;
}

}  // namespace

const std::error_category& error_category() noexcept {
  // Never destroyed: static destructors of the application may still report errors.
  alignas(category) static unsigned char storage[sizeof(category)];
  static const std::error_category& instance = *new (storage) category;
  return instance;
}

std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), error_category()}; }

bool is_timeout(const std::error_code& code) noexcept {
  return is_one_of(code, {ETIMEDOUT, EAGAIN}) || code == net::lookup_errc::timed_out;
}
bool is_temporary(const std::error_code& code) noexcept {
  return is_timeout(code) || is_one_of(code, {EINTR, EMFILE, ENFILE, ECONNABORTED}) ||
         code == net::lookup_errc::server_misbehaving;
}
bool is_closed(const std::error_code& code) noexcept { return code == errc::closed; }

std::string failed_operation::to_string() const {
  std::string text = operation;
  if (!network.empty()) text += " " + network;
  if (!source.empty() && !target.empty()) return text + " " + source + "->" + target;
  if (!source.empty() || !target.empty()) text += " " + source + target;
  return text;
}

struct io_error::details {
  failed_operation operation;
  std::string text;
};

io_error::io_error(std::error_code code, failed_operation operation, std::size_t transferred)
    : std::system_error(code), transferred_(transferred) {
  auto made = std::make_shared<details>();
  made->text = operation.to_string() + ": " + cause(code);
  made->operation = std::move(operation);
  details_ = std::move(made);
}
io_error::io_error(std::error_code code, std::string_view operation, std::size_t transferred)
    : io_error(code, failed_operation{std::string(operation), {}, {}, {}}, transferred) {}
io_error::~io_error() = default;

const char* io_error::what() const noexcept { return details_->text.c_str(); }
const failed_operation& io_error::operation() const noexcept { return details_->operation; }

canceled_error::canceled_error(std::string_view operation, std::size_t transferred)
    : std::system_error(std::make_error_code(std::errc::operation_canceled)),
      text_(std::make_shared<const std::string>(std::string(operation) + ": " + cause(code()))),
      transferred_(transferred) {}
canceled_error::~canceled_error() = default;

const char* canceled_error::what() const noexcept { return text_->c_str(); }

std::error_code to_error_code(int poll_error) noexcept {
  switch (poll_error) {
    case poll::ok:
      return {};
    case poll::closed:
      return errc::closed;
    case poll::timed_out:
      return std::make_error_code(std::errc::timed_out);
    case poll::not_pollable:
      return errc::not_pollable;
    case poll::canceled:
      return std::make_error_code(std::errc::operation_canceled);
    default:
      return {poll_error, std::system_category()};
  }
}

void throw_failure(std::error_code code, failed_operation what, std::size_t transferred) {
  if (code == std::errc::operation_canceled) throw canceled_error(what.to_string(), transferred);
  throw io_error(code, std::move(what), transferred);
}

void throw_canceled(const char* what) { throw canceled_error(what); }

}  // namespace weft::inline v0
