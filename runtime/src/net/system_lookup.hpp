// system_lookup: getaddrinfo, which blocks, where nothing else may block.
#pragma once

#include <weft/net/endpoint.hpp>

#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

namespace weft::inline v0::net {

// system_lookup appends the addresses of `host`. It fails with operation_canceled as soon as a stop of the caller
// stands: the call goes on, on a fiber of its own that is left behind. In a blocking region, and without a runtime, it
// blocks the thread instead.
std::error_code system_lookup(const std::string& host, endpoint::family family, std::vector<endpoint>& found);

// system_port looks a service's port up. Blocks the thread, in a blocking region.
std::error_code system_port(const std::string& service, std::uint16_t& port);

}  // namespace weft::inline v0::net
