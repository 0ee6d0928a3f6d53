// The seam between the core and weft::resolver, which lies above it and is linked or not.
#pragma once

#include <weft/export.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/resolver.hpp>
#include <weft/netpoll/poller.hpp>

#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace weft::inline v0::net {

// resolver_function finds the addresses of `host`, a name of 1 to 253 printable characters; none without a code is
// not allowed. Its waits end with a stop of the caller.
using resolver_function = std::error_code (*)(const std::shared_ptr<poll::poller>& poller, const std::string& host,
                                              const resolver_options& options, std::vector<endpoint>& found);

// register_resolver makes `f` the way of all lookups that have a runtime. Called before main.
WEFT_API void register_resolver(resolver_function f) noexcept;

}  // namespace weft::inline v0::net
