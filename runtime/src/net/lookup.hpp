// lookup: from the text of an address to the endpoints it stands for.
#pragma once

#include "socket.hpp"

#include <weft/net/endpoint.hpp>

#include <string_view>
#include <vector>

namespace weft::inline v0::net {

// What ":80", an address without a host, means.
enum class absent_host { this_machine, every_interface };

// lookup returns at least one endpoint, in the order in which they are to be tried, or none and the reason in `f`,
// whose operation is `operation` ("dial"). Names go to getaddrinfo, which blocks the thread while other
// fibers go on.
std::vector<endpoint> lookup(std::string_view address, std::string_view operation, absent_host absent, failure& f);

}  // namespace weft::inline v0::net
