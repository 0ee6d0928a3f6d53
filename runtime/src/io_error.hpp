// The one place where the codes of netpoll become those of the API.
#pragma once

#include <cstddef>
#include <string>
#include <system_error>

namespace weft::inline v0 {

// to_error_code turns 0, an errno value or one of poll::error into a std::error_code.
std::error_code to_error_code(int poll_error) noexcept;

// throw_io_error throws canceled_error for poll::canceled, else io_error. `what` names the operation and the endpoint;
// `transferred` is what the call had moved before it failed. REQUIRES: poll_error != 0.
[[noreturn]] void throw_io_error(int poll_error, const std::string& what, std::size_t transferred = 0);

// throw_canceled throws canceled_error; `what` names the call.
[[noreturn]] void throw_canceled(const char* what);

}  // namespace weft::inline v0
