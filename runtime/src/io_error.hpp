// The one place where the codes of netpoll become those of the API.
#pragma once

#include <weft/error.hpp>

#include <cstddef>
#include <system_error>

namespace weft::inline v0 {

// to_error_code turns 0, an errno value or one of poll::error into a std::error_code.
std::error_code to_error_code(int poll_error) noexcept;

// throw_failure throws canceled_error if that is what the code says, else io_error. `transferred` is what the call had
// moved before it failed. REQUIRES: code is set.
[[noreturn]] void throw_failure(std::error_code code, failed_operation what, std::size_t transferred = 0);

// throw_canceled throws canceled_error; `what` names the call.
[[noreturn]] void throw_canceled(const char* what);

}  // namespace weft::inline v0
