#include <weft/io/stream.hpp>

#include "../io_error.hpp"

#include <utility>

namespace weft::inline v0::io::detail {

[[gnu::cold, gnu::noinline]] void fail(const std::error_code& code, const char* operation, failed_operation object,
                                       std::size_t transferred) {
  object.operation = operation;
  throw_failure(code, std::move(object), transferred);
}

}  // namespace weft::inline v0::io::detail
