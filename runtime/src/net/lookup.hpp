// lookup: from the text of an address to the endpoints it stands for.
#pragma once

#include "socket.hpp"

#include <weft/net/endpoint.hpp>
#include <weft/net/resolver.hpp>
#include <weft/sched/clock.hpp>

#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

namespace weft::inline v0::net {

// What ":80", an address without a host, means.
enum class absent_host { this_machine, every_interface };

// lookup returns at least one endpoint, in the order in which they are to be tried, or none and the reason in `f`,
// whose operation is `operation` ("dial"). It ends when `until` has come (timed_out), and when a stop of the caller or
// one of its stop_links does (operation_canceled); see find_addresses.
std::vector<endpoint> lookup(std::string_view address, std::string_view operation, absent_host absent,
                             sched::nanotime until, failure& f);

// find_addresses looks a host up, numeric or by name, with weft::resolver if that is linked, else with the system. A
// stop of the caller ends it, unless it is in getaddrinfo in a blocking region or on a thread without a runtime.
std::error_code find_addresses(std::string_view host, const resolver_options& options, std::vector<endpoint>& found);

// find_port looks a port up, numeric or by name.
std::error_code find_port(std::string_view service, std::uint16_t& port);

// The options of lookups that are given none.
std::shared_ptr<const resolver_options> resolver_defaults();

}  // namespace weft::inline v0::net
